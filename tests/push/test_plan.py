"""The plan of a pull request: a comment with what would run, what it needs and costs, and what would be refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import Hub
from tests.push.git_repository import Repository
from tests.push.pushes import CONFIG, call, summary

pytestmark = pytest.mark.slow
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "vocab_size": 32000,
    "tie_word_embeddings": False, "torch_dtype": "float16",
}  # fmt: skip
SPEC = "model: {id: owner/model}\ndataset: {id: owner/rows}\ntraining: {max_steps: 100}\n"


class Request:
    """A pull request, and its plan."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.repo, self.hub = Repository(folder / "repo"), hub
        hub.add("owner/model", {"config.json": json.dumps(LLAMA).encode()})
        self.comment = folder / "plan.md"

    def plan(self, config: dict[str, Any] | None = None, **files: str) -> Any:
        for name, text in files.items():
            self.repo.write(f"runs/{name}.yaml", text)
        return call(
            self.repo, "plan", "--base", self.repo.start, "--head", self.repo.commit(), "--out", str(self.comment),
            config=config, HF_ENDPOINT=self.hub.url,
        )  # fmt: skip

    @property
    def text(self) -> str:
        return self.comment.read_text()


@pytest.fixture
def request_(tmp_path: Path, hub: Hub) -> Request:
    return Request(tmp_path, hub)


def test_the_plan_has_needs_time_and_price_and_asks_no_cluster(request_: Request) -> None:
    said = request_.plan(CONFIG | {"gpu": "t4", "price_per_hour": 0.35, "max_price": 100}, quotes=SPEC)
    assert said.code == 0, said.err
    row = next(line for line in request_.text.splitlines() if line.startswith("| `runs/quotes.yaml`"))
    _, _, model, vram, time, price, _ = (cell.strip() for cell in row.split("|"))
    assert model == "`owner/model`" and vram.endswith("GB")
    assert time.startswith("at most ") and float(price.removeprefix("at most ")) > 0
    assert "fits a t4" in request_.text and "steps                          100 at most" in request_.text
    assert request_.text in summary(request_.repo)


def test_a_price_above_the_limit_fails_the_check_and_is_in_the_comment(request_: Request) -> None:
    said = request_.plan(CONFIG | {"gpu": "t4", "price_per_hour": 30, "max_price": 0.01}, quotes=SPEC)
    assert said.code == 64 and "only 0.01 is allowed" in said.err
    assert "**This would be refused:**" in request_.text and "only 0.01 is allowed" in request_.text


def test_a_wrong_spec_fails_the_check_and_the_comment_says_where(request_: Request) -> None:
    said = request_.plan(CONFIG, quotes=SPEC + "trainig: {}\n")
    assert said.code == 64 and "trainig" in said.err
    assert "runs/quotes.yaml" in request_.text and "trainig" in request_.text


def test_a_forks_plan_is_made_without_the_configuration_and_says_so(request_: Request) -> None:
    said = request_.plan(None, quotes=SPEC)
    assert said.code == 0 and "The protected configuration is not here" in request_.text


def test_what_a_request_writes_is_text_in_the_comment(request_: Request) -> None:
    evil = "x: '@everyone'\n'```\\n<script>': [a](http://b)\n"
    said = request_.plan(CONFIG, **{"a`b|c": evil})
    assert said.code == 64
    outside = request_.text.split("```")[0] + request_.text.rsplit("```", 1)[1]
    assert "@everyone" not in outside and "<script>" not in outside


def test_a_request_that_changes_no_spec_has_an_empty_plan(request_: Request) -> None:
    assert request_.plan(CONFIG).code == 0
    assert "nothing would run" in request_.text


def test_what_lies_in_the_checkout_is_never_imported(request_: Request, tmp_path: Path) -> None:
    for name in ("push", "job", "k8s", "yaml", "typer", "sitecustomize"):
        request_.repo.write(f"{name}.py", f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert request_.plan(CONFIG, quotes=SPEC).code == 0
    assert not (tmp_path / "ran").exists()


def test_changed_prints_json_of_names_alone(request_: Request) -> None:
    request_.repo.write(b"runs/##[error]\n.yaml", SPEC)
    after = request_.repo.commit()
    said = call(request_.repo, "changed", "--before", request_.repo.start, "--after", after)
    assert said.code == 0 and "##[" not in said.out
    assert [one["name"] for one in said.json()["specs"]] == [r"runs/##[error]\n.yaml"]
