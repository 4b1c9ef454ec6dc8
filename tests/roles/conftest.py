"""A cluster for the roles of a test."""

from __future__ import annotations

from tests.engine.conftest import embedded_cluster

__all__ = ["embedded_cluster"]
