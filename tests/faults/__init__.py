"""What breaks in whole runs, one row of docs/faults.md at a time."""
