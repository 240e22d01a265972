"""Publishes finished files to a folder, S3 and the Hub."""
