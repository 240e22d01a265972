"""The Hugging Face Hub: the calls that the job makes through huggingface_hub, with its errors translated.

`calls` knows the endpoint and the token, waits and translates; `download` lists, fetches and verifies.
"""

from job.hub.download import HubFile, commit_of, download, list_files, may_read, read_small, start_of

__all__ = ["HubFile", "commit_of", "download", "list_files", "may_read", "read_small", "start_of"]
