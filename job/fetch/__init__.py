"""Downloads model, adapter and rows to this disk."""
