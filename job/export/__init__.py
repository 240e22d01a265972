"""Merges base and adapter into one GGUF, tensor by tensor."""
