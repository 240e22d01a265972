"""Reads the results of finished runs."""
