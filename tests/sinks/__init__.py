"""Destinations, against the real parts or an HTTP server that misbehaves."""
