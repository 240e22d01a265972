"""A single-GPU batch job: a spec goes in, fine-tuned GGUF files come out."""

__version__ = "0.1.0"
