"""Training on push: what a repository's workflows call to plan, send and report the runs that its specs describe."""
