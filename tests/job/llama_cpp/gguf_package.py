"""llama.cpp's own Python package, as it is bundled."""

import sys
from typing import Any

from job.llama_cpp import bundle


def gguf_module() -> Any:
    if (folder := str(bundle.converter_path() / "gguf-py")) not in sys.path:
        sys.path.insert(0, folder)
    import gguf

    return gguf
