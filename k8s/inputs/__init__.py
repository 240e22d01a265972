"""Files of this machine that go along with a run."""
