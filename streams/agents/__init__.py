"""The logic of each role as plain state of one input partition; the engine runs it, replay drives it."""
