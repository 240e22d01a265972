"""Small models of each family, and what a block of one keeps."""

from typing import Any

from job.spec import JobSpec
from tests.tiny_families import FAMILIES


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, **sections})


def config_of(family: str) -> Any:
    """Two blocks."""
    import transformers

    name, fields, _ = FAMILIES[family]
    sizes = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2, "vocab_size": 512, "head_dim": 64}
    heads = {
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "pad_token_id": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return getattr(transformers, name)(**(fields | sizes | heads))


def saved_by_block(peft: Any, number: int, *, batch: int = 2, length: int = 64) -> int:
    """Bytes of what one block's forward pass keeps, each piece of memory once, the model's own weights not."""
    import torch

    own = {weight.untyped_storage().data_ptr() for weight in (*peft.parameters(), *peft.buffers())}
    seen: dict[int, int] = {}
    inside = [-1]
    kept = []

    def pack(tensor: Any) -> None:
        """Returns nothing: a graph that holds its own results is never freed."""
        storage = tensor.untyped_storage()
        if inside[0] == number and storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor.detach())  # else its memory is another one's next

    blocks = next(one for name, one in peft.named_modules() if name.rpartition(".")[2] in ("layers", "h"))
    for index, layer in enumerate(blocks):
        layer.register_forward_pre_hook(lambda *_, index=index: inside.__setitem__(0, index))
        layer.register_forward_hook(lambda *_: inside.__setitem__(0, -1))
    ids = torch.randint(0, 500, (batch, length))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda nothing: nothing):
        peft(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return sum(seen.values())
