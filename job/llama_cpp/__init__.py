"""Runs the bundled programs of llama.cpp."""
