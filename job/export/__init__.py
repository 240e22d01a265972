"""Merges base and adapter into one GGUF, tensor by tensor."""

VERSION = 2
"""Raise this number when an export of the same inputs gives other files: what a store has kept is then made again."""
