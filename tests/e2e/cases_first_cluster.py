"""The launcher's commands of docs/first-cluster.md, as they stand there, lead to a file that generates text."""

import os
from pathlib import Path

from tests import ROOT
from tests.e2e.cases_launch import generated
from tests.e2e.place import RESOURCES, SECRET, Place
from tests.repository.commands import blocks, in_blocks

PAGE = ROOT / "docs" / "first-cluster.md"
SHORT = ["--set", "training.max_length=48", "--set", "evaluation.samples=1", "--set", "evaluation.max_new_tokens=4"]
ONLY_NODE = ["--toleration", "nvidia.com/gpu=present:NoSchedule"]
"""The cases' cluster has one node, with the taint of a GPU; the page's has none."""


def test_the_commands_of_the_page_lead_to_a_model(place: Place, tmp_path: Path) -> None:
    """Only the model is smaller, the image the one that is tested, and the Hub on this machine."""
    place.volume("runs")
    (rows,) = blocks(PAGE, "csv")
    head, *lines = rows.splitlines()
    (tmp_path / "answers.csv").write_text("\n".join([head, *(lines * 50)]) + "\n")
    here = {
        "HuggingFaceTB/SmolLM2-135M-Instruct": "me/tiny",
        "./answers.csv": str(tmp_path / "answers.csv"),
        "answers": str(tmp_path / "answers"),
    }
    variables = [text for name, value in place.variables.items() for text in ("--env", f"{name}={value}")]
    job = ""
    for command in in_blocks(PAGE):
        if command.words[0] != "finetune-run":
            continue
        words = [here.get(word, job if word == "NAME" else word) for word in command.words[1:]]
        if words[0].startswith("--"):
            image = ["--image", os.environ["FINETUNE_IMAGE"]]
            words = ["launch", *words, *image, *RESOURCES, *SHORT, *ONLY_NODE, *variables, "--secret", SECRET]
        said = place(*words)
        assert said.code == 0, said.err + place.state()
        job = job or place.jobs()[0]
    (file,) = (tmp_path / "answers").glob("*Q4_K_M.gguf")
    assert generated(file).removeprefix("Of time").strip()
