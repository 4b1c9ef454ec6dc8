"""The subcommands of `driftgauge`, a file each."""
