"""Roles as they are put together."""
