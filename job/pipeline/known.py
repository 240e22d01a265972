"""A run's records so far, and the keys that depend on them."""

from dataclasses import dataclass, field
from typing import Any

from job.artifacts import digest_of
from job.fetch.sources import Sources
from job.llama_cpp import bundle
from job.run.records import StageRecord
from job.spec import JobSpec
from job.spec.canonical import canonical
from job.spec.naming import run_name
from job.spec.places import shown_places


@dataclass
class Known:
    """`records`: by stage; `quants` and `judged`: by type."""

    spec: JobSpec
    sources: Sources
    records: dict[str, StageRecord] = field(default_factory=dict)
    quants: dict[str, StageRecord] = field(default_factory=dict)
    judged: dict[str, StageRecord] = field(default_factory=dict)

    @property
    def fetched(self) -> dict[str, Any]:
        """The fetch stage's metrics: digests and facts about the rows."""
        return self.records["fetch"].metrics

    def rows(self, name: str) -> str | None:
        """The SHA-256 of train.jsonl or eval.jsonl; None if there is no such file."""
        return next((one.sha256 for one in self.records["fetch"].artifacts if one.path == name), None)

    def exported(self) -> dict[str, Any]:
        """Exactly what the unquantized GGUF depends on."""
        spec, train = self.spec, self.records.get("train")
        adapter = [item.sha256 for item in train.artifacts if not item.path.startswith("logs/")] if train else None
        quantized = spec.export.merge_base == "quantized"
        return {
            "model": self.fetched["model_digest"],
            "adapter": adapter or self.fetched["adapter_digest"],
            "template": spec.chat.template,
            "dtype": spec.export.dtype,
            "merge_base": canonical(spec.load) if quantized else "original",
            "name": run_name(spec),
            "llama": bundle.version(),
        }

    def held_out(self) -> dict[str, Any]:
        """Exactly what the held-out tokens depend on."""
        spec, fetched = self.spec, self.fetched
        training, text = spec.training, spec.evaluation.text
        return {
            "model": fetched["model_digest"],
            "data": fetched["data"]["digest"] if fetched.get("data") else None,
            "text": [self.sources.text, shown_places(canonical(text)), spec.evaluation.max_tokens] if text else None,
            "template": spec.chat.template,
            "format": "the template's",
            "rows": [training.max_length, training.trainer, training.pad_token] if training else None,
            "samples": spec.evaluation.samples,
            "llama": bundle.version(),
        }

    @property
    def held_out_key(self) -> str:
        return digest_of(self.held_out())
