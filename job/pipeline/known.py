"""A run's records so far, and the keys that depend on them."""

from dataclasses import dataclass, field
from typing import Any

from job.export import VERSION
from job.fetch.sources import Sources
from job.llama_cpp import bundle
from job.run.records import StageRecord
from job.spec import JobSpec
from job.spec.canonical import DECIDE_TOKENS, canonical
from job.spec.naming import run_name
from job.spec.places import shown_places
from job.tokens.files import FORMAT
from job.versions import TOKENIZING, versions


@dataclass
class Known:
    """`records`: by stage; `quants` and `judged`: by type; `answered`: by type, and of `base` and `tuned`."""

    spec: JobSpec
    sources: Sources
    records: dict[str, StageRecord] = field(default_factory=dict)
    quants: dict[str, StageRecord] = field(default_factory=dict)
    judged: dict[str, StageRecord] = field(default_factory=dict)
    answered: dict[str, StageRecord] = field(default_factory=dict)

    @property
    def fetched(self) -> dict[str, Any]:
        """The fetch stage's metrics: digests and facts about the rows."""
        return self.records["fetch"].metrics

    def made(self, stage: str, name: str) -> str | None:
        """The SHA-256 of a stage's file; None if there is no such file."""
        return next((one.sha256 for one in self.records[stage].artifacts if one.path == name), None)

    def exported(self) -> dict[str, Any]:
        """Exactly what the unquantized GGUF depends on."""
        spec, train = self.spec, self.records.get("train")
        adapter = [item.sha256 for item in train.artifacts if not item.path.startswith("logs/")] if train else None
        quantized = spec.export.merge_base == "quantized"
        return {
            "model": self.fetched["model_digest"],
            "adapter": adapter or self.fetched["adapter_digest"],
            "template": spec.chat.template,
            "dtype": spec.export.unquantized,
            "merge_base": canonical(spec.load) if quantized else "original",
            "name": run_name(spec),
            "llama": bundle.version(),
            "version": VERSION,
        }

    @property
    def tokens(self) -> dict[str, Any]:
        """The tokens stage's metrics (job/tokens/stage.py, Result): the rows as tokens."""
        return self.records["tokens"].metrics

    def tokens_depend_on(self) -> dict[str, Any]:
        """Exactly what the tokens of the rows depend on."""
        spec, fetched = self.spec, self.fetched
        training, text = spec.training, spec.evaluation.text
        return {
            "model": fetched["model_digest"],
            "data": fetched["data"]["digest"] if fetched.get("data") else None,
            "text": [self.sources.text, shown_places(canonical(text)), spec.evaluation.max_tokens] if text else None,
            "template": [spec.chat.template, spec.chat.add_tokens],
            "rows": [getattr(training, name) for name in DECIDE_TOKENS] if training else None,
            "judge": spec.evaluation.judge,
            "samples": spec.evaluation.samples,
            "format": FORMAT,
            "versions": {name: versions().get(name) for name in TOKENIZING},
        }
