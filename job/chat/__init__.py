"""Chat templates: rendered, and taken apart."""
