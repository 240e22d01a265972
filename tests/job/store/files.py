"""Files of known content."""

import hashlib
import random
from pathlib import Path

MIB = 1 << 20


def file_of(folder: Path, size: int, seed: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"file-{size}-{seed}"
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
