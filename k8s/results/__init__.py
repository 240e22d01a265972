"""Files of finished runs."""
