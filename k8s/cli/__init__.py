"""The launcher's command line."""
