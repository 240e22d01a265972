"""What the files are judged on, and what is too bad to publish."""
