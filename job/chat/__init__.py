"""Renders chat templates and splits them into their parts."""
