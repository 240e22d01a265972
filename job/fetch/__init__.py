"""Model, adapter and rows on this disk."""
