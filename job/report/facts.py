"""The facts that the card and the page show."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from job.artifacts import Artifact
from job.chat.prompt_format import PromptFormat
from job.llama_cpp import bundle
from job.report import table
from job.report.basis import Records, judged_on
from job.report.choice import enough
from job.report.fits import Fitted, fits_of
from job.report.regression import Regression
from job.report.rows import Rows, rows_of
from job.report.table import Line
from job.report.times import cost_of
from job.run.usage import Usage
from job.spec import JobSpec
from job.spec.naming import run_name
from job.spec.places import public_name
from job.versions import versions


@dataclass(frozen=True)
class Facts:
    """`files`: name, type and artifact of what is published. `sources`: what the spec's names were pinned to."""

    spec: JobSpec
    run: str
    files: Sequence[tuple[str, str, Artifact]]
    records: Records
    usage: Sequence[Usage] = ()
    sources: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return run_name(self.spec)

    @property
    def base(self) -> str:
        return public_name(self.spec.model.id)

    @property
    def data(self) -> list[str]:
        return [public_name(one.id) for one in self.spec.datasets]

    @cached_property
    def quants(self) -> list[tuple[str, str]]:
        """Name and type of each GGUF; only the first part of a split one."""
        found: dict[str, str] = {}
        for name, kind, _ in self.files:
            if f"quantize/{kind}" in self.records:
                found.setdefault(kind, name)
        return [(name, kind) for kind, name in found.items()]

    @cached_property
    def lines(self) -> list[Line]:
        return table.lines(self.quants, self.records)

    @cached_property
    def fits(self) -> list[Fitted]:
        """The searches for a file within a budget."""
        return fits_of(self.records)

    @property
    def recommended(self) -> tuple[str, str]:
        """Name and type of the smallest file that is nearly as good as the unquantized one, else of the first."""
        best = enough(self.lines)
        return next((quant for quant in self.quants if best and quant[0] == best.name), self.quants[0])

    @property
    def train(self) -> dict[str, Any]:
        """The train stage's metrics; empty without training."""
        return self.records["train"].metrics if "train" in self.records else {}

    @cached_property
    def rows(self) -> Rows | None:
        """What was trained and what was not, if there was a training."""
        return rows_of(self.records) if self.spec.training else None

    @property
    def tuned(self) -> bool:
        return self.spec.training is not None or self.spec.model.adapter is not None

    @property
    def form(self) -> PromptFormat | None:
        found = self.records["tokens"].metrics.get("format") if "tokens" in self.records else None
        return PromptFormat.model_validate(found) if found else None

    @property
    def stops(self) -> list[str]:
        """Texts that end an answer."""
        found: list[str] = self.records["tokens"].metrics.get("stops", []) if "tokens" in self.records else []
        return found

    @property
    def has_template(self) -> bool:
        """Whether the GGUF has a chat template."""
        known = self.records["tokens"].metrics if "tokens" in self.records else {}
        return bool((known.get("vocabulary") or {}).get("template"))

    @property
    def trained_as_text(self) -> bool:
        """Whether the training rows were not conversations."""
        data = self.records["fetch"].metrics.get("data") if self.spec.training else None
        return data is not None and data["kind"] != "messages"

    @property
    def lora(self) -> dict[str, Any]:
        """The adapter's settings as they were trained; as they were asked for, if an earlier release did not say."""
        asked = self.spec.lora
        targets = [asked.target_modules] if isinstance(asked.target_modules, str) else asked.target_modules
        asked_for = {"r": asked.r, "alpha": asked.alpha, "dropout": asked.dropout, "targets": targets}
        return self.train.get("lora") or asked_for

    @property
    def judged_on_rows(self) -> bool:
        return judged_on(self.records) is not None

    @property
    def judged(self) -> str:
        """How the table's numbers were measured, or an empty text."""
        metrics = [record.metrics for name, record in self.records.items() if name.startswith("evaluate/")]
        said = []
        if windows := judged_on(self.records):
            tokens = windows["context"] * windows["chunks"]
            said.append(
                f"Measured on {tokens:,} tokens of held-out rows, in windows of {windows['context']}. KLD (KL "
                "divergence, nats per token) and same top (the share of tokens for which both predict the same one) "
                "compare with the unquantized file."
            )
        text = next((one["text"] for one in metrics if "text" in one), None)
        if text and self.spec.evaluation.text:
            name = public_name(self.spec.evaluation.text.id)
            tokens = text["context"] * text["chunks"]
            said.append(f"On text: {tokens:,} tokens of {name}, in windows of {text['context']}.")
        devices = dict.fromkeys(speed["device"] for one in metrics for speed in one.get("speeds", ()))
        if devices:
            said.append(f"ms/token: generation on {' or '.join(devices)}.")
        return " ".join(said)

    @property
    def cost(self) -> str:
        """What the run has cost, or an empty text."""
        return cost_of(self.records)

    @property
    def scored(self) -> dict[str, Any]:
        """What `evaluation.tasks` gave (job/tasks/scores.py, summary); empty without."""
        found = self.records["tasks"].metrics if "tasks" in self.records else {}
        return found if "scores" in found else {}

    @property
    def scored_on(self) -> str:
        """How the scores were measured."""
        tasks = self.spec.evaluation.tasks
        name = public_name(tasks.id) if tasks else "the cases"
        return (
            f"Score: the share of right answers to {self.scored['cases']} cases of {name}, with the 95% interval of "
            "Wilson; the likeliest answers, the base and the tuned model in transformers as loaded for training, files "
            "in llama.cpp."
        )

    @property
    def regressions(self) -> list[Regression]:
        """The worst first."""
        return [Regression.of(found) for found in self.scored.get("regressions", [])]

    @property
    def versions(self) -> dict[str, str]:
        return versions() | {"llama.cpp": bundle.version().removeprefix("llama.cpp ")}
