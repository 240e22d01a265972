"""The Hugging Face Hub, both ways: what the job asks of huggingface_hub, with its errors in the job's words.

`calls` knows the endpoint and the token, waits and translates; `download` lists, fetches and verifies;
`publish` uploads ahead and makes the one commit.
"""

from job.hub.download import HubFile, commit_of, download, list_files, may_read, read_small
from job.hub.publish import HubPublisher

__all__ = ["HubFile", "HubPublisher", "commit_of", "download", "list_files", "may_read", "read_small"]
