"""A run's files on this node's disk. Each is downloaded, or made again, when it is first needed.

A run that finds all its work in the store never fetches the model.
"""

import signal
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from job.artifacts import digest_of
from job.errors import DataInvalid, IntegrityViolated
from job.export import stage as export_stage
from job.fetch import stage as fetch_stage
from job.llama_cpp.perplexity import Judged
from job.pipeline.known import Known
from job.run.active_run import ActiveRun
from job.run.supervise import ChildKilled
from job.spec.naming import run_name
from job.tasks.stage import ASKED
from job.tokens import stage as tokens_stage


@dataclass
class Files:
    """Folders and files below the run's work directory. `unquantized`: the result whose logits are on this disk."""

    run: ActiveRun
    known: Known
    unquantized: Judged | None = None

    @cached_property
    def model(self) -> fetch_stage.Result:
        """The base model (and the adapter to start from)."""
        spec, first = self.run.spec, self.known.fetched["model_digest"]
        inputs = fetch_stage.Inputs(sources=self.known.sources, want_data=False)
        result: fetch_stage.Result = self.run.child(fetch_stage, inputs, "model")
        if result.model_digest != first:
            raise IntegrityViolated(
                f"{spec.model.id} has changed since this run began: its digest was {first[:16]} and is now "
                f"{result.model_digest[:16]}",
                hint="Start another run (another run.id), or restore the first model.",
            )
        return result

    @cached_property
    def data(self) -> Path:
        """The folder with the prepared rows."""
        folder = self.run.work / "data"
        self.run.bring(self.known.records["fetch"], folder)
        return folder

    @cached_property
    def trained(self) -> Path | None:
        """The folder with the trained adapter, or None if nothing was trained."""
        if "train" not in self.known.records:
            return None
        folder = self.run.work / "trained"
        self.run.bring(self.known.records["train"], folder)
        return folder

    @cached_property
    def gguf(self) -> Path:
        """The unquantized GGUF; made again if only its record is left."""
        adapter = self.trained / "adapter" if self.trained else self.model.adapter
        has_tokenizer = self.trained is not None and (self.trained / "adapter" / "tokenizer.json").is_file()
        inputs = export_stage.Inputs(
            model=self.model.model,
            adapter=adapter,
            tokenizer=adapter if has_tokenizer else None,
            name=run_name(self.run.spec),
            turn_end=self.tokens.vocabulary.turn_end,
        )
        result: export_stage.Result = self.run.child(export_stage, inputs, "export")
        for path in self.run.work.glob("*/model/**/*.safetensors"):
            path.unlink()  # a downloaded base is no longer needed; its space is for the quantized files
        return result.gguf

    @cached_property
    def tokens(self) -> tokens_stage.Result:
        """The rows as tokens, and what else the tokenizer tells: from the store, else computed now."""
        folder, depends = self.run.work / "tokens", self.known.tokens_depend_on()
        key = digest_of(depends)
        if record := self.run.record("tokens", key):
            self.known.records["tokens"] = record
            self.run.bring(record, folder, without=tokens_stage.TRAIN)  # large, and needed only to train
            return tokens_stage.Result.model_validate(record.metrics).moved(folder)
        data = self.known.fetched.get("data")
        inputs = tokens_stage.Inputs(
            model=self.model.model,
            rows=self.data / "eval.jsonl" if data and data["eval_rows"] else None,
            train=self.data / "train.jsonl" if data else None,
            kind=data["kind"] if data else "text",
            text=self._text(),
        )
        try:
            result: tokens_stage.Result = self.run.child(tokens_stage, inputs, "tokens")
        except ChildKilled as error:
            if error.number not in (signal.SIGXCPU, signal.SIGABRT):
                raise
            raise DataInvalid(
                f"the tokenizer of {self.run.spec.model.id} takes too long, or too much memory, for a row: {error}",
                hint="Split long rows, or use another model: its tokenizer may not end.",
            ) from error
        names = [path.name for path in result.files()]
        metrics = result.moved(Path()).model_dump(mode="json")
        self.known.records["tokens"] = self.run.keep("tokens", key, folder, names, metrics, depends)
        return result

    @cached_property
    def asked(self) -> Path:
        """The cases of `evaluation.tasks`, as tokens."""
        folder = self.run.work / "asked"
        self.run.bring(self.known.records["tasks"], folder)
        return folder / ASKED

    @property
    def train_rows(self) -> Path:
        """The rows to train on, as tokens."""
        rows = self.tokens.train
        assert rows
        self.run.bring(self.known.records["tokens"], rows.path.parent, below=rows.path.name)
        return rows.path

    def _text(self) -> Path | None:
        if self.known.sources.text is None:
            return None
        inputs = fetch_stage.Inputs(sources=self.known.sources, want_model=False, want_data=False, want_text=True)
        result: fetch_stage.Result = self.run.child(fetch_stage, inputs, "text")
        return result.text
