"""The text that files are judged on, and the checks that refuse bad results."""
