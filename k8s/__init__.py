"""The launcher: finds a GPU in the cluster, submits a run as a Kubernetes Job, and follows it."""
