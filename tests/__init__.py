"""Tests, in the rooms of the code; what several rooms need is in `brokers`, `real` and `conftest`."""
