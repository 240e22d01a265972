"""The launcher: finds where a GPU is, submits a run as a Kubernetes Job, and follows it."""
