"""Looking back: the same classes as live over a bounded range, isolated under a run id."""
