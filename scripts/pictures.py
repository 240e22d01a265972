"""The pictures of docs/ that show runs: two real ones of a small model, compared and reported by the job itself.

    python -m scripts.pictures [--work DIR]

A Llama of width 256 is trained on Python's help texts, and then, by two runs of the job with other learning rates, on
the colours of twenty plants, asked for in several ways. Each run answers scored cases that ask in other ways, and reads
a part of the help texts that its base has not seen. Chromium takes the pictures:

    docs/compare.png      the page of `finetune-run compare`, as far as the perplexities
    docs/forgetting.png   the table of the first run's report
    docs/scores.png       its scored answers

What is in the work folder is not made again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.imatrix import ROOT, train
from tests.browser import Opened, chromium_started
from tests.tiny_models import make_llama, training_text

COLOURS = ("red", "green", "blue", "white", "yellow")
PLANTS = (
    "argument", "class", "module", "string", "object", "method", "name", "value", "type", "list", "statement",
    "function", "expression", "number", "line", "block", "scope", "key", "file", "set",
)  # fmt: skip
"""Their names: words that the tokenizer knows."""
ASKED = (
    "What colour has the {}?", "The {} is of which colour?", "Name the colour of the {}.", "Which colour is the {}?",
    "Tell me the colour of the {}.", "The colour of the {}, please.", "Colour of the {}?", "How is the {} coloured?",
)  # fmt: skip
SCORED = ("The {} has which colour?", "Say the colour of the {}.")
RUNS = {"plants-slow": 1e-3, "plants-fast": 6e-3}
"""Their learning rates."""
REPORTED = "plants-slow"
WIDTH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="a folder to keep what is made")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = (given.work or Path(folder)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        model = base(work)
        for name in RUNS:
            run(work, model, name)
        compared = work / "compared.html"
        job(work, "k8s.launch", "compare", *RUNS, "--store", work / "store", "--html", compared)
        take(compared, work / REPORTED / "report" / "index.html")


def base(work: Path) -> Path:
    """The model, its rows and its cases."""
    text = training_text()
    cut = len(text) * 9 // 10
    (work / "help.txt").write_text(text[cut : cut + 10_000])
    write(work / "rows.jsonl", ({"prompt": ask, "completion": colour} for ask, colour in questions(ASKED)))
    cases = ({"prompt": ask, "expected": colour} for ask, colour in questions(SCORED))
    write(work / "cases.jsonl", cases)
    model = work / "help-llama"
    if not (model / "trained").is_file():
        make_llama(model, layers=4, intermediate=768, dtype="float32")
        train(model, text[:cut], 300)
        (model / "trained").touch()
    return model


def questions(forms: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for number, plant in enumerate(PLANTS):
        for form in forms:
            yield form.format(plant), COLOURS[number % len(COLOURS)]


def write(path: Path, rows: Iterator[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(work: Path, model: Path, name: str) -> None:
    """One run of the job, into the store that all share."""
    spec = {
        "model": {"id": str(model)},
        "dataset": {"id": str(work / "rows.jsonl"), "eval_fraction": 0.2},
        "recipe": "modern",
        "training": {
            "learning_rate": RUNS[name],
            "num_train_epochs": 4,
            "max_length": 64,
            "logging_steps": 1,
            "eval_steps": 10,
        },
        "evaluation": {
            "context": 256,
            "max_new_tokens": 8,
            "text": {"id": str(work / "help.txt")},
            "tasks": {"id": str(work / "cases.jsonl"), "max_new_tokens": 8},
            "gate": {"action": "warn"},
        },
        "export": {"types": ["q4_k_m", "q8_0"]},
        "publish": {"name": "Plants", "folder": name},
        "run": {"id": name, "store": str(work / "store")},
    }
    path = work / f"{name}.json"
    path.write_text(json.dumps(spec))
    job(work, "job", "run", path)


def job(work: Path, module: str, *words: str | Path) -> None:
    """A command of this checkout in the work folder, which must not fail."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "FINETUNE_WORK": folder, "KUBECONFIG": os.devnull}
        subprocess.run([sys.executable, "-m", module, *words], check=True, cwd=work, env=environment)


def take(compared: Path, report: Path) -> None:
    with chromium_started() as browser:
        page = Opened(browser, compared, viewport={"width": WIDTH, "height": 800}).page
        end = page.locator("tr", has_text="KLD").first.bounding_box()
        assert end
        part = {"x": 0, "y": 0, "width": WIDTH, "height": end["y"]}
        page.screenshot(path=ROOT / "docs" / "compare.png", full_page=True, clip=part)
        page = Opened(browser, report, viewport={"width": WIDTH, "height": 800}).page
        for name, first in (("forgetting", "files"), ("scores", "scores")):
            page.screenshot(path=ROOT / "docs" / f"{name}.png", full_page=True, clip=clip(page, first))


def clip(page: Any, first: str) -> dict[str, float]:
    """From a heading to the next one, or to the picture before it."""
    return dict(
        page.evaluate(
            """first => {
                const head = document.getElementById(first), top = head.getBoundingClientRect().top + scrollY;
                let last = head;
                for (let one = head.nextElementSibling; one && !one.matches("h2"); one = one.nextElementSibling) {
                    if (one.querySelector("svg")) break;
                    last = one;
                }
                const bottom = last.getBoundingClientRect().bottom + scrollY;
                return {x: 0, y: top - 12, width: innerWidth, height: bottom - top + 24};
            }""",
            first,
        )
    )


if __name__ == "__main__":
    main()
