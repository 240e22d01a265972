"""Finds the nodes with a GPU: pure functions over plain data."""
