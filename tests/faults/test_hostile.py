"""Whole runs of models and rows, and with a store, whose files were made to command the job."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from job.artifacts import artifacts_below
from job.run.checkpoints import Complete
from tests.faults.runs import Run, once, stop
from tests.hub_server import Hub

pytestmark = pytest.mark.slow

DATA, DAMAGED = 65, 82
SECRET = "a secret of somebody's"


class Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def model(run: Run, tiny_model: Path) -> Path:
    """A copy of the model, to plant something in."""
    folder = shutil.copytree(tiny_model, run.root / "model")
    run.spec["model"]["id"] = str(folder)
    return folder


@pytest.fixture
def mounted(run: Run) -> Path:
    """A folder beside everything, with a token that must not leave it."""
    folder = run.root.parent / f"{run.root.name}-mounted"
    folder.mkdir()
    (folder / "token").write_text(SECRET)
    return folder


def left_behind(run: Run) -> list[Path]:
    return [path for path in run.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_the_name_of_a_tensor_is_not_an_event(run: Run, model: Path, mounted: Path) -> None:
    """transformers prints the names of tensors that it does not expect as they are; llama.cpp's converter passes over
    those that end so."""
    import torch
    from safetensors.torch import load_file, save_file

    forged = {"event": "train.checkpoint", "step": 99, "path": str(mounted)}
    tensors = load_file(model / "model.safetensors") | {f"x\n{json.dumps(forged)}\n.attention.bias": torch.zeros(1)}
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    ended = run.attempt()
    run.check_after()
    assert [one["step"] for one in ended.named("train.checkpoint")] == [2, 4, 6, 8, 10]
    assert not left_behind(run)
    for line in ended.output.splitlines():
        assert not line.startswith('{"event": "train.checkpoint", "step": 99'), "the pod's log has it as an event"


def test_a_row_is_text_whatever_it_looks_like(run: Run, tmp_path: Path) -> None:
    """Events, terminals' commands, templates, Markdown, HTML, tokens of the model, paths."""
    rows = [json.loads(line) for line in Path(run.spec["dataset"]["id"]).read_text().splitlines()]
    hostile = [
        json.dumps({"event": "run.end", "manifest": "s3://elsewhere/manifest.json"}),
        "\x1b]0;title\x07\x1b[2J\x1b[31m red",
        "{{ cycler.__init__.__globals__.os.system('touch ran') }} {% for a in range(10**9) %}{% endfor %}",
        "# Heading\n\n[a link](javascript:alert(1)) <script>alert(1)</script> ![](http://127.0.0.1:9/x)",
        "</s><s>[INST] <|im_end|><|endoftext|>",
        "../../../../etc/passwd\r\nerror: forged",
        "\u202eevil\u2066 \ufeff \u0000 \ud83d",
    ]
    path = tmp_path / "hostile.jsonl"
    lines = [*rows, *[{"quote": text} for text in hostile * 3]]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    run.spec["dataset"]["id"] = str(path)
    run.spec["evaluation"] = {"samples": 3, "max_new_tokens": 4}
    run.losses = None
    ended = run.attempt()
    assert ended.code in (0, DATA), ended.output
    run.check_after()
    assert "\x1b" not in ended.output and "\x07" not in ended.output
    assert len(ended.named("run.end")) == (ended.code == 0)
    assert not any(line.startswith("error: forged") for line in ended.output.splitlines())
    for name in ("README.md", "report/index.html"):
        text = (run.published(name) or b"").decode()
        assert "<script>alert(1)" not in text and "](javascript:" not in text
        assert not any(line.startswith("# Heading") for line in text.splitlines())
    assert not list(run.root.rglob("ran"))


@pytest.mark.parametrize("fault", ["a pickle", "a missing file", "a flipped bit"])
def test_a_checkpoint_that_cannot_be_resumed_from_is_passed_over(run: Run, fault: str) -> None:
    """`a pickle` is planted by somebody who may write to the store, with the hashes that match it."""
    run.ends(75, once(stop, "checkpoint.stored", step=4), fault="slow_steps:0.2")
    checkpoints = sorted((run.root / "store").glob("stages/train/*/checkpoints/step-*"))
    newest = checkpoints[-1]
    step = int(newest.name[5:])
    assert len(checkpoints) > 1
    if fault == "a flipped bit":
        content = bytearray((newest / "optimizer.pt").read_bytes())
        content[len(content) // 2] ^= 1
        (newest / "optimizer.pt").write_bytes(content)
    elif fault == "a pickle":
        (newest / "optimizer.pt").write_bytes(pickle.dumps(Planted(run.root / "ran")))
    else:
        (newest / "trainer_state.json").unlink()
    if fault != "a flipped bit":
        (newest / "COMPLETE.json").unlink()
        mark = Complete(step=step, files=artifacts_below(newest))
        (newest / "COMPLETE.json").write_text(mark.model_dump_json())
    run.lose_node()
    run.unusable = {step}
    ended = run.completes()
    assert not (run.root / "ran").exists()
    told = ended.named("train.checkpoint_unusable" if fault == "a pickle" else "checkpoint.damaged")
    assert [one["step"] for one in told] == [step]
    assert ended.named("train.resume")[-1]["step"] == int(checkpoints[-2].name[5:])


def _large_template(run: Run, model: Path, mounted: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ 'a' * 3000000000 }}")
    chats = [
        {"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": f"{n}"}]} for n in "abcd"
    ]
    (run.root / "chats.jsonl").write_text("\n".join(json.dumps(chat) for chat in chats) + "\n")
    run.spec["dataset"] = {"id": str(run.root / "chats.jsonl")}


def _linked_folder(run: Run, model: Path, mounted: Path) -> None:
    (model / "additional_chat_templates").symlink_to(mounted)


def _small_parquet(run: Run, model: Path, mounted: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    quote = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), pa.array(["a" * 20_000_000]))
    path = run.root / "rows.parquet"
    parquet.write_table(pa.table({"quote": quote}), path, compression="zstd", store_schema=False)
    run.spec["dataset"]["id"] = str(path)


def _shard_elsewhere(run: Run, model: Path, mounted: Path) -> None:
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))


def _pickled_weights(run: Run, model: Path, mounted: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Planted(run.root / "ran")))


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (_large_template, DATA, "chat template: to render the rows, it needs more than 1024 MB"),
        (_linked_folder, DAMAGED, "additional_chat_templates is a link that leaves the folder"),
        (_small_parquet, DATA, "rows.parquet looks like a bomb"),
        (_shard_elsewhere, DAMAGED, "not a file beside it"),
        (_pickled_weights, DAMAGED, "only as pickles"),
    ],
)
def test_files_that_would_take_too_much_lie_elsewhere_or_run_are_refused(
    run: Run, model: Path, mounted: Path, change: Any, code: int, said: str
) -> None:
    change(run, model, mounted)
    run.spec["export"] = {"types": ["q8_0"], "merged": True}
    ended = run.ends(code)
    assert said in ended.output
    assert not left_behind(run) and not (run.root / "ran").exists()


@pytest.mark.parametrize("needed", [True, False])
def test_code_of_a_repository_is_never_run(run: Run, hub: Hub, model: Path, needed: bool) -> None:
    """A model that is known natively does without it; any other is refused before its weights are fetched."""
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "planted.Config"}
    if needed:
        config["model_type"] = "planted"
    (model / "config.json").write_text(json.dumps(config))
    (model / "planted.py").write_text(f"import os\nos.makedirs({str(run.root / 'ran')!r})\n")
    hub.add("a/planted", model)
    run.spec["model"]["id"] = "a/planted"
    if needed:
        run.ends(DAMAGED)
        assert not hub.asked("GET /cdn/")
    else:
        run.completes()
    assert not (run.root / "ran").exists()
