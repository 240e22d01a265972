"""What is loaded of a model is a view without code."""

import json
from pathlib import Path

from job.fetch.view import CONFIGS, make_view
from tests.job.fetch.models import GOOD


def test_a_view_has_no_code_and_nothing_that_would_ask_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in GOOD.items():
        (folder / name).write_bytes(data)
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "consolidated.safetensors").write_bytes(GOOD["model.safetensors"])
    (folder / ".hidden").write_text("")
    for name in CONFIGS:
        named = {"auto_map": {"AutoConfig": "modeling.C"}, "text_config": {"auto_map": {}}, "kept": 1}
        (folder / name).write_text(json.dumps(named | {"vocab_file": "/etc/passwd"}))
    view = make_view(folder, tmp_path / "view", ["model.safetensors"])
    assert {path.name for path in view.iterdir()} == {*CONFIGS, "model.safetensors"}
    for name in CONFIGS:
        assert json.loads((view / name).read_text()) == {"text_config": {}, "kept": 1}
    assert json.loads((folder / "config.json").read_text())["auto_map"], "the folder itself is not changed"
    assert (view / "model.safetensors").read_bytes() == GOOD["model.safetensors"]
