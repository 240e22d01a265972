"""Specs of what is fetched, and the stage on them."""

import json
from pathlib import Path
from typing import Any

from job.fetch import sources
from job.fetch import stage as fetch_stage
from job.spec import JobSpec
from tests.job.fetch.models import GOOD

ROWS = [{"quote": f"Saying number {n}."} for n in range(40)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
MODEL = {**GOOD, "README.md": b"---\nlicense: mit\nlanguage: [en]\n---\n# A model\n", "notes.pdf": b"%PDF"}
MODEL["additional_chat_templates/tool_use.jinja"] = b"{{ tools }}"
MODEL["chat_template.json"] = b'{"chat_template": "{{ messages }}"}'


def spec_of(model: str, *datasets: dict[str, Any] | str, **sections: Any) -> JobSpec:
    sets = [one if isinstance(one, dict) else {"id": one, "text": "quote"} for one in datasets]
    return JobSpec.model_validate({"model": {"id": model}, "dataset": sets, **sections})


def fetched(spec: JobSpec, folder: Path, pinned: sources.Sources | None = None) -> fetch_stage.Result:
    return fetch_stage.run(spec, fetch_stage.Inputs(sources=pinned or sources.resolve(spec)), folder)


def rows_of(result: fetch_stage.Result) -> int:
    assert result.data
    return result.data.rows + result.data.eval_rows
