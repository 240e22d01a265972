"""Nothing in a spec is ignored: another value of any field changes something that a run does.

What a run does is looked at in `uses*.py`: never a key that hashes a whole section, which would prove nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from job.spec import JobSpec
from job.spec.sections import Publish
from job.spec.types import Section
from tests.export_reference import make_adapter
from tests.hub_server import Hub
from tests.job.spec import uses, uses_files, uses_training
from tests.job.spec.fields import Leaf, changed, leaves, others, value_at
from tests.job.spec.uses import Ground
from tests.tiny_models import make_llama

Use = Callable[[JobSpec, Ground], Any]

ROWS = {"id": "me/rows", "config": "one", "eval_fraction": 0.4, "max_broken": 0.5, "limit": 20}
BASE: dict[str, Any] = {
    "model": {"id": "me/model"},
    "dataset": ROWS,
    "training": {"per_device_train_batch_size": 2, "max_length": 24, "num_train_epochs": 2},
    "evaluation": {"text": {"id": "me/book", "config": "one", "column": "text"}},
    "publish": {"hub": {"repo_id": "me/out-gguf"}},
}
TASKS = {"id": "me/cases", "config": "one"}
BASES: dict[str, dict[str, Any]] = {
    "dataset.0": BASE | {"evaluation": {}, "dataset": [ROWS, ROWS | {"config": "two"}]},
    "dataset": BASE | {"evaluation": {}},
    "export": BASE | {"publish": {}, "export": {"types": ["q4_0"]}},
    "evaluation": BASE | {"publish": {}, "evaluation": {}, "export": {"types": ["q8_0"]}},
    "evaluation.text": BASE,
    "evaluation.tasks": BASE | {"evaluation": {"tasks": TASKS}},
    "evaluation.gate": BASE | {"evaluation": BASE["evaluation"] | {"tasks": TASKS}},
    "chat": BASE | {"dataset": {"id": "me/chats", "config": "one"}},
}
"""Where a field shows only with other values beside it; by the beginning of its path."""

TEMPLATE = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
OTHERS: dict[str, list[Any]] = {
    "dataset": [[ROWS, ROWS]],
    "model.id": ["me/other-model"],
    "model.revision": ["later"],
    "model.adapter": ["me/adapter"],
    "dataset.id": ["me/other-rows"],
    "dataset.revision": ["later"],
    "dataset.config": ["two"],
    "dataset.split": ["third"],
    "dataset.eval_split": ["test"],
    "dataset.format": ["messages"],
    "dataset.text": ["note"],
    "dataset.columns": [{"text": "note"}],
    "dataset.template": [{"text": "{{ note }}"}],
    "dataset.max_broken": [0.0],
    "chat.template": [TEMPLATE],
    "chat.system": ["Be brief."],
    "chat.add_tokens": [["<gene>"]],
    "lora.target_modules": ["all-linear", ["k_proj"]],
    "lora.modules_to_save": [["lm_head"]],
    "training.assistant_only_loss": [False],  # true is what unset means where the template marks the turns
    "export.dtype": ["bf16", "f32"],  # f16 is what auto is for this model
    "training.attn_implementation": ["eager", "flash_attention_2"],  # sdpa is what auto is for this model
    "training.max_steps": [1],
    "training.pad_token": ["<unk>"],
    "training.report_to": [[]],
    "export.types": [["q8_0"], ["q4_0", "iq2_xs"]],
    "export.imatrix": ["none"],
    "export.split_max_size": ["1M"],
    "evaluation.threads": [[1]],
    "evaluation.speed_on_cpu": [True],
    "evaluation.context": [64],
    "evaluation.max_tokens": [256],
    "evaluation.text": [None],
    "evaluation.text.id": ["me/other-book"],
    "evaluation.text.revision": ["later"],
    "evaluation.text.config": ["two"],
    "evaluation.text.split": ["third"],
    "evaluation.text.column": ["note"],
    "evaluation.tasks": [None],
    "evaluation.tasks.id": ["me/other-cases"],
    "evaluation.tasks.revision": ["later"],
    "evaluation.tasks.config": ["two"],
    "evaluation.tasks.split": ["third"],
    "evaluation.tasks.max_new_tokens": [4096],
    "evaluation.gate.min_score": [0.95],
    "evaluation.gate.max_score_drop": [0.05, 0.0],
    "evaluation.gate.max_tuned_ratio": [2.0],
    "evaluation.gate.max_text_ratio": [1.1],
    "evaluation.gate.max_ratio": [1.1],
    "evaluation.gate.max_kld": [0.1],
    "evaluation.gate.min_ends": [0.9],
    "publish.name": ["Own"],
    "publish.folder": ["published"],
    "publish.s3": ["s3://bucket/models"],
    "publish.hub.repo_id": ["me/other-gguf"],
    "publish.hub.revision": ["next"],
    "run.id": ["mine"],
    "run.store": ["elsewhere"],
}
"""By option, where the schema cannot say what else is valid, or not every other value would show."""

TRAINED = (uses_training.on_text, uses_training.on_other_gpus, uses_training.on_pairs, uses_training.on_chats)
USES: dict[str, tuple[Use, ...]] = {
    "model": (uses.fetched,),
    "dataset": (uses.read,),
    "chat": (uses.read, uses_training.on_chats),
    "load": TRAINED,
    "lora": TRAINED,
    "training": TRAINED,
    "export": (uses_files.exported, uses_files.judged),
    "evaluation": (uses_files.judged,),
    "evaluation.text": (uses.read,),
    "evaluation.tasks": (uses.read, uses.asked),
    "evaluation.gate": (uses.gated,),
    "publish": (uses.published,),
    "run": (uses.identified, uses.read),
}
"""Where a field may show; by the beginning of its path."""


@pytest.fixture
def ground(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FINETUNE_JOB_NAME", raising=False)
    uses.fill(hub)
    return Ground(tmp_path / "runs", hub)


def of_path(table: dict[str, Any], leaf: Leaf, default: Any) -> Any:
    """What a table says of the longest beginning of the path."""
    parts = leaf.name.split(".")
    found = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((table[name] for name in found if name in table), default)


def unused(spec: type[BaseModel], section: str, ground: Ground) -> list[str]:
    """Every field of a section that shows in nothing."""
    seen: dict[Any, Any] = {}
    found = []
    for leaf in leaves(spec):
        if of_path(SECTIONS, leaf, None) != section:
            continue
        base = spec.model_validate(of_path(BASES, leaf, BASE))
        data = base.model_dump(mode="json")
        now = value_at(data, leaf.path)
        for value in others(leaf, now, OTHERS):
            other = spec.model_validate(changed(data, leaf.path, value))
            if not any(_differs(use, base, other, ground, seen) for use in of_path(USES, leaf, ())):
                found.append(f"{leaf.name}: nobody uses it ({value!r} changes as little as {now!r})")
    return found


def _differs(use: Use, base: Any, other: Any, ground: Ground, seen: dict[Any, Any]) -> bool:
    key = (use, base.model_dump_json())
    if key not in seen:
        seen[key] = use(base, ground)
        assert not str(seen[key]).startswith("refused"), seen[key]
    return bool(seen[key] != use(other, ground))


SECTIONS = {name: name for name in USES}


@pytest.mark.parametrize(
    "section",
    [
        *("model", "evaluation.text", "evaluation.gate", "publish", "run"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("dataset", "chat", "load", "lora", "training")),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("export", "evaluation")),
    ],
)
def test_another_value_of_every_field_changes_what_a_run_does(section: str, ground: Ground) -> None:
    if section in ("chat", "load", "lora", "training"):
        ground.model = make_llama(ground.root / "tiny", hidden=64, layers=1, heads=2, intermediate=64)
    if section in ("export", "evaluation"):
        ground.model = make_llama(ground.root / "tiny", layers=1)
        ground.adapter = make_adapter(ground.model, ground.root / "adapter")
    assert "\n".join(unused(JobSpec, section, ground)) == ""


ELSEWHERE = {"recipe"}  # it sets what others leave out, and the spec here leaves nothing out: test_recipes.py


def forgotten(spec: type[BaseModel]) -> list[str]:
    return [leaf.name for leaf in leaves(spec) if leaf.name not in ELSEWHERE and not of_path(USES, leaf, ())]


def test_no_field_is_in_a_section_that_nobody_looks_at() -> None:
    assert forgotten(JobSpec) == []


class LaterPublish(Publish):
    shards: int = 1


class Tracking(Section):
    steps: bool = False


class LaterSpec(JobSpec):
    """With a field and a section that nobody uses."""

    publish: LaterPublish = LaterPublish()
    tracking: Tracking = Tracking()


def test_a_new_field_that_nobody_uses_is_found(ground: Ground) -> None:
    assert unused(LaterSpec, "publish", ground) == ["publish.shards: nobody uses it (2 changes as little as 1)"]
    assert forgotten(LaterSpec) == ["tracking.steps"]
