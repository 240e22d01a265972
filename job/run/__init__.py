"""One attempt of a run, and the records that it leaves in the store."""
