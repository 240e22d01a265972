"""Xet storage in a folder: what hf_xet itself writes and reads for an address `local://…`.

The Hub finds an uploaded file by its SHA-256, which hf_xet writes into a shard beside the file's Xet hash. A shard
(xet-core, mdb_shard) has blocks of 48 bytes: its head; then, for each file, the Xet hash with flags and the number of
its segments, the segments, a proof for each segment, and the SHA-256.
"""

import hashlib
from pathlib import Path

import hf_xet

BLOCK = 48
NEVER = 9_999_999_999  # when the access expires, in seconds since 1970


class XetStorage:
    """`url`: what the Hub tells its clients of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"local://{folder}"
        self._access = {"endpoint": self.url, "token": "t", "token_expiry_unix_secs": NEVER}

    def add(self, path: Path) -> str:
        """Stores a file. Gives its Xet hash."""
        with hf_xet.XetSession().new_upload_commit(**self._access) as commit:
            handle = commit.start_upload_file(str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        found: str = handle.result().xet_info.hash
        return found

    def find(self, sha256: str, size: int, out: Path) -> bool:
        """Reads an uploaded file back into `out`. False if nobody has uploaded it."""
        found = self._hash_of(sha256)
        if found is None:
            return False
        with hf_xet.XetSession().new_file_download_group(**self._access) as group:
            group.start_download_file(hf_xet.XetFileInfo(found, size), str(out))
        return hashlib.sha256(out.read_bytes()).hexdigest() == sha256

    def _hash_of(self, sha256: str) -> str | None:
        for shard in (self._folder / "xet" / "xorbs" / "shards").glob("*.mdb"):
            blocks = shard.read_bytes()
            if (at := blocks.find(_words(bytes.fromhex(sha256)))) < 0:
                continue
            for segments in range(1, at // BLOCK):
                head = at - BLOCK * (1 + 2 * segments)
                if head >= BLOCK and int.from_bytes(blocks[head + 36 : head + 40], "little") == segments:
                    return _words(blocks[head : head + 32]).hex()
        return None


def _words(value: bytes) -> bytes:
    """A hash as text is four numbers of 64 bits, in a shard each is little-endian."""
    return b"".join(value[at : at + 8][::-1] for at in range(0, len(value), 8))
