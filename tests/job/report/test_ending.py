"""How a run ends: the same in an event, on a terminal and in a log."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from job.report import ending
from job.run.records import Manifest, PublishedFile
from tests.job.report import facts as report_facts

SHOW = """
import json, sys
from rich.console import Console
from job.console import show_result
show_result(json.load(sys.stdin), Console(stderr=True, highlight=False))
"""


def finished(places: list[str], kind: str = "messages", **stages: Any) -> Manifest:
    """A run whose table has every column."""
    facts = report_facts.facts(**stages)
    for name, record in facts.records.items():
        if name.startswith("evaluate/"):
            record.metrics["text"] = {"perplexity": report_facts.perplexity(12345.67)}
    facts.records["fetch"].metrics["data"] = {"kind": kind}
    files = [
        PublishedFile(name=name, key=f"k/{kind}.gguf", type=kind, sha256=one.sha256, size=one.size)
        for name, kind, one in facts.files
    ]
    about = {"spec": {}, "sources": {}, "files": files, "places": places}
    return Manifest(run="r1", name="Tuned", stages=dict(facts.records), **about)


def shown(manifest: Manifest, **environ: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "TERM", "COLUMNS")}
    given = json.dumps(ending.result(manifest, "/a/store"))
    done = subprocess.run(
        [sys.executable, "-c", SHOW], input=given, capture_output=True, text=True, check=True, env=kept | environ
    )
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    "environ", [{}, {"CI": "true"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLUMNS": "50"}], ids=str
)
def test_the_end_is_whole_and_plain_in_a_pipe(environ: dict[str, str]) -> None:
    said = shown(finished(["/models/tuned"]), **environ)
    assert "\x1b" not in said and "…" not in said
    (head,) = [line for line in said.splitlines() if "perplexity" in line]
    assert (
        " ".join(head.replace("┃", " ").split()) == "type size bits perplexity on text KLD same top ms/token, 4 threads"
    )
    row = next(line for line in said.splitlines() if "Q4_K_M" in line)
    assert all(cell in row for cell in ("105.0 MB", "5.10", "12345.67 ± 1028.81", "0.0330", "96.7%", "41.5"))
    after = said[said.index("held-out loss") :].splitlines()
    assert after[:4] == [
        "held-out loss 3.080 before, 1.704 after 40 steps",
        "with 8 GB of memory, take Tuned-Q8_0.gguf",
        "files: /models/tuned",
        "report: /a/store/runs/r1/report/index.html",
    ]
    assert after[4].endswith("-m job chat /models/tuned/Tuned-Q8_0.gguf")
    assert after[5] == "or in Ollama: cd /models/tuned && ollama create tuned -f Modelfile && ollama run tuned"


def test_a_run_that_trained_and_measured_nothing_ends_without_what_it_does_not_know() -> None:
    said = shown(finished(["/models/tuned"], trained=False, judged=False))
    assert "held-out loss" not in said and "perplexity" not in said and "take Tuned-Q8_0.gguf" in said


@pytest.mark.parametrize(
    ("places", "store", "commands"),
    [
        ([], "/a/store", {"try it": "-m job chat /a/store/k/q8_0.gguf"}),
        (["hf://me/Tuned-GGUF"], "s3://b/runs", {"from the Hub": "llama-cli -hf me/Tuned-GGUF:Q8_0"}),
        (
            ["s3://b/tuned"],
            "s3://b/runs",
            {"try it": " -m job chat Tuned-Q8_0.gguf"},
        ),
    ],
)
def test_the_command_fetches_the_file_from_where_it_is(places: list[str], store: str, commands: dict[str, str]) -> None:
    found = ending.result(finished(places), store)["try"]
    assert found.keys() == commands.keys()
    assert all(command.endswith(commands[how]) for how, command in found.items())


def test_a_model_of_plain_text_is_tried_without_a_conversation() -> None:
    found = ending.result(finished(["/models/it's"], kind="text"), "/a/store")["try"]
    assert found["try it"].endswith("""-m job chat '/models/it'"'"'s/Tuned-Q8_0.gguf' --plain""")


def test_memory_that_is_too_small_for_every_file_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "GIGABYTES", 0)
    found = ending.result(finished(["/models"]), "/a/store")
    assert found["take"] is None and "Tuned-Q2_K.gguf" in found["try"]["try it"]


def test_a_split_file_is_named_by_its_first_part() -> None:
    manifest = finished(["/models"])
    (last,) = [one for one in manifest.files if one.type == "q8_0"]
    parts = [last.model_copy(update={"name": f"Tuned-Q8_0-0000{n}-of-00002.gguf"}) for n in (1, 2)]
    split = manifest.model_copy(update={"files": [*[one for one in manifest.files if one != last], *parts]})
    assert ending.result(split, "/a/store")["take"]["name"] == parts[0].name
