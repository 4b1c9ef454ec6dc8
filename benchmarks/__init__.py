"""What "good" means, measured: `make bench-NAME` runs one, prints a table and leaves `.bench/NAME.json`."""
