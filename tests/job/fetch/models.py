"""Files that a model repository may have."""

import json
import struct

CONFIG = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}).encode()


def safetensors(*spans: tuple[int, int], size: int | None = None, header: bytes | None = None) -> bytes:
    """A file with tensors at these offsets, and `size` bytes of data."""
    tensors = {f"t{n}": {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]} for n, (a, b) in enumerate(spans)}
    text = json.dumps(tensors).encode() if header is None else header
    data = bytes(max((end for _, end in spans), default=0) if size is None else size)
    return struct.pack("<Q", len(text)) + text + data


GOOD = {"config.json": CONFIG, "model.safetensors": safetensors((0, 8), (8, 24))}
