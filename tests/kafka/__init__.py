"""A real Apache Kafka broker for the tests: from Java and Maven, or in a container."""
