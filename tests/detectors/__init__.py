"""Tests of the detection core."""
