"""What ends a run for its model, as far as it is known without torch: by the table of architectures, and by the names
of the tensors in its files."""

import re

from job import architectures
from job.errors import SpecInvalid
from job.predict.activations import last
from job.predict.config import Seen
from job.spec import JobSpec
from job.spec.training import attention_of

_BESIDE_THE_BLOCKS = re.compile(r"emb|head|wte|wpe|output")
"""Names that modules beside the blocks have: the table does not have them."""


def check_seen(spec: JobSpec, seen: Seen) -> None:
    """Raises SpecInvalid, DataInvalid and IntegrityViolated, as the job does before it fetches any weights. What is not
    known here is not refused."""
    if seen.config is None:
        return
    architectures.check_config(seen.config, spec.model.id, trained=spec.training is not None)
    if spec.training and not spec.model.adapter:
        _check_targets(spec, seen)


def _check_targets(spec: JobSpec, seen: Seen) -> None:
    assert seen.config is not None
    of_type = architectures.table()["linear"].get(seen.config.get("model_type"), [])
    of_files = {last(name) for name in seen.model.linear} if seen.model else set()
    if not of_files and not of_type:
        return
    there, wanted = sorted({*of_files, *of_type}), spec.lora.target_modules
    if wanted == "auto" and attention_of(there) is None:
        raise SpecInvalid(
            f"lora.target_modules: auto knows no layers of attention in {spec.model.id}",
            hint=f"Name some of its linear layers: {', '.join(there)}; all-linear selects them.",
        )
    if isinstance(wanted, str):
        return
    missing = [name for name in wanted if last(name) not in there and not _BESIDE_THE_BLOCKS.search(name)]
    if missing:
        raise SpecInvalid(
            f"lora.target_modules: {', '.join(missing)} not in {spec.model.id}",
            hint=f"Its linear layers are {', '.join(there)}; all-linear selects them all.",
        )
