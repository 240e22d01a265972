"""Reports of a run: the model card, the HTML page, the table of files, the webhook."""
