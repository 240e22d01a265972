"""A single-GPU batch job that turns a spec into fine-tuned GGUF files."""

__version__ = "0.1.0"
