"""The names that a model's tensors have in its files, where transformers gives them others."""

from collections.abc import Iterable
from typing import Any


def renamed(names: Iterable[str], config: dict[str, Any]) -> dict[str, str]:
    """Names in the files by the names that transformers gives them when it loads a model of this config, e.g. of
    Nemotron-H `backbone.layers…` by `model.layers…`.

    Source: transformers/conversion_mapping.py, whose renamings it applies in order. Tensors that it makes from several
    are left out: no adapter of this job changes them.
    """
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, apply_renamings

    found = get_checkpoint_conversion_mapping(config.get("model_type")) or []
    renamings = [one for one in found if isinstance(one, WeightRenaming)]
    return {apply_renamings(name, renamings): name for name in names} if renamings else {}
