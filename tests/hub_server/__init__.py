"""A local server that speaks the Hub's endpoints to the real huggingface_hub, with faults on demand.

Downloads of LFS files are redirected to a second port, as the Hub redirects to its CDN; a token that
arrives there is noted in `leaks`. Clients use the LFS protocol (HF_HUB_DISABLE_XET), those of `xet_hub` use Xet.

`python -m tests.hub_server --port 8080 --root DIR` serves it by itself, with the token of --token.
"""

from tests.hub_server.server import Hub

__all__ = ["Hub"]
