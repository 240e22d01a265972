"""What the stages of a run have made so far, and how to get it back onto this node's disk.

Everything on this disk is lazy: a run that finds all its work in the store never fetches the model.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from job.artifacts import Frozen, digest_of
from job.errors import IntegrityViolated
from job.evaluate import tokens
from job.export import stage as export_stage
from job.fetch import stage as fetch_stage
from job.fetch.sources import Sources
from job.llama_cpp import bundle
from job.llama_cpp.perplexity import Judged
from job.publish.publisher import Publisher
from job.run.active_run import ActiveRun
from job.run.records import Manifest, StageRecord
from job.spec import JobSpec
from job.spec.naming import run_name


@dataclass
class State:
    """What the stages so far have made: their records, and what is on this node's disk."""

    run: ActiveRun
    sources: Sources
    publisher: Publisher
    records: dict[str, StageRecord] = field(default_factory=dict)
    quants: dict[str, StageRecord] = field(default_factory=dict)
    judged: dict[str, StageRecord] = field(default_factory=dict)
    unquantized: Judged | None = None
    manifest: Manifest | None = None

    @property
    def spec(self) -> JobSpec:
        return self.run.spec

    @cached_property
    def model(self) -> fetch_stage.Result:
        """The base model (and the adapter to start from) on this disk."""
        inputs = fetch_stage.Inputs(sources=self.sources, want_data=False)
        result: fetch_stage.Result = self.child(fetch_stage, inputs, "model")
        if result.model_digest != (first := self.records["fetch"].metrics["model_digest"]):
            raise IntegrityViolated(
                f"{self.spec.model.id} has changed since this run began: its digest was {first[:16]} and is now "
                f"{result.model_digest[:16]}",
                hint="Start another run (another run.id), or put the first model back.",
            )
        return result

    @cached_property
    def data(self) -> Path:
        """The folder with the prepared rows on this disk."""
        folder = self.run.work / "data"
        self.run.bring(self.records["fetch"], folder)
        return folder

    @cached_property
    def trained(self) -> Path | None:
        """The folder with the trained adapter, or None where nothing was trained."""
        if "train" not in self.records:
            return None
        folder = self.run.work / "trained"
        self.run.bring(self.records["train"], folder)
        return folder

    @cached_property
    def gguf(self) -> Path:
        """The unquantized GGUF on this disk; made again where only its record is left."""
        inputs = export_stage.Inputs(
            model=self.model.model,
            adapter=self.trained / "adapter" if self.trained else self.model.adapter,
            name=run_name(self.spec),
        )
        result: export_stage.Result = self.child(export_stage, inputs, "export")
        for path in self.run.work.glob("*/model/**/*.safetensors"):
            path.unlink()  # a downloaded base has served; the disk is for the quantized files now
        return result.gguf

    @cached_property
    def held_out(self) -> tokens.Result:
        """What the model's tokenizer says, of the held-out rows above all: as it was kept, else found out now."""
        folder = self.run.work / "tokens"
        if record := self.run.record("tokens", self.held_out_key):
            self.records["tokens"] = record
            self.run.bring(record, folder)
            return tokens.Result.model_validate(record.metrics).moved(folder)
        data = self.records["fetch"].metrics.get("data")
        rows = self.data / "eval.jsonl" if data and data["eval_rows"] else None
        kind = data["kind"] if data else "text"
        inputs = tokens.Inputs(model=self.model.model, rows=rows, kind=kind, text=self._text())
        result: tokens.Result = self.child(tokens, inputs, "tokens")
        names = [path.name for path in result.files()]
        metrics = result.moved(Path()).model_dump(mode="json")
        self.records["tokens"] = self.run.keep("tokens", self.held_out_key, folder, names, metrics, self._words())
        return result

    @property
    def held_out_key(self) -> str:
        """The key of what `held_out` depends on."""
        return digest_of(self._words())

    def _words(self) -> dict[str, Any]:
        spec, fetched = self.spec, self.records["fetch"].metrics
        training, text = spec.training, spec.evaluation.text
        return {
            "model": fetched["model_digest"],
            "data": fetched["data"]["digest"] if fetched.get("data") else None,
            "text": [self.sources.text, text.model_dump(mode="json"), spec.evaluation.max_tokens] if text else None,
            "template": spec.chat.template,
            "rows": [training.max_length, training.trainer, training.pad_token] if training else None,
            "samples": spec.evaluation.samples,
            "llama": bundle.version(),
        }

    def _text(self) -> Path | None:
        if self.sources.text is None:
            return None
        inputs = fetch_stage.Inputs(sources=self.sources, want_model=False, want_data=False, want_text=True)
        result: fetch_stage.Result = self.child(fetch_stage, inputs, "text")
        return result.text

    def child(self, module: ModuleType, inputs: Frozen, folder: str) -> Any:
        """Runs a stage in a child process, in a folder of the work directory."""
        self.run.attempt.doing(self.run.attempt.stage, folder)
        return self.run.supervisor.run_stage(module, self.spec, inputs, self.run.work / folder)

    def exported(self) -> dict[str, Any]:
        """Exactly what the unquantized GGUF depends on."""
        spec, fetched = self.spec, self.records["fetch"].metrics
        train = self.records.get("train")
        adapter = [item.sha256 for item in train.artifacts if not item.path.startswith("logs/")] if train else None
        quantized = spec.export.merge_base == "quantized"
        return {
            "model": fetched["model_digest"],
            "adapter": adapter or fetched["adapter_digest"],
            "template": spec.chat.template,
            "dtype": spec.export.dtype,
            "merge_base": spec.load.model_dump(mode="json") if quantized else "original",
            "name": run_name(spec),
            "llama": bundle.version(),
        }
