"""Training on push: commands for a repository's workflows, which plan, send and report the runs of its specs."""
