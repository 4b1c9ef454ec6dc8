"""The client, against real brokers and in real processes."""
