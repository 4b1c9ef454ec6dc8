"""The embedded broker and store, each in its own process."""
