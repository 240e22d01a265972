"""The cluster: its API, its runs, and their logs."""
