"""The Hub by itself."""

import argparse
import sys
import threading
from pathlib import Path

from tests.hub_server.server import Hub


def main() -> None:
    parser = argparse.ArgumentParser(description="A local Hugging Face Hub.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--token", default="hf_local")
    given = parser.parse_args()
    server = Hub(given.root, given.port)
    server.token(given.token)
    sys.stdout.write(f"HF_ENDPOINT={server.url} HF_TOKEN={given.token} HF_HUB_DISABLE_XET=1\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
