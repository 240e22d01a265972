"""The cluster: its API, runs, and what they say."""
