"""Checks that concern several fields of a spec at once."""

from collections.abc import Iterator
from typing import NamedTuple

from job.spec.parts import Parts
from job.spec.places import data_place, imatrix_file, model_place, suffix_format
from job.spec.quants import HELPED_BY_IMATRIX, NEEDS_IMATRIX
from job.spec.sections import Dataset, PlainText, Tasks
from job.spec.training import ATTENTION, Training


class CrossFault(NamedTuple):
    """A fault between several fields. The first path is the field to change."""

    paths: tuple[str, ...]
    message: str


def cross_faults(spec: Parts) -> Iterator[CrossFault]:
    """Every fault between the fields of a spec whose sections are valid."""
    if spec.training is not None:
        yield from _training_faults(spec, spec.training)
    elif spec.chat.add_tokens != "auto":
        message = "the rows of added tokens are trained, and nothing is; leave it out"
        yield CrossFault(("chat.add_tokens", "training"), message)
    yield from _load_faults(spec)
    yield from _data_faults(spec)
    yield from _lora_faults(spec)
    yield from _export_faults(spec)
    yield from _evaluation_faults(spec)
    yield from _place_faults(spec)


def _training_faults(spec: Parts, training: Training) -> Iterator[CrossFault]:
    if not spec.datasets:
        message = "training needs a data set; name one, or write `training: null` to only merge and quantize"
        yield CrossFault(("dataset", "training"), message)
    if training.fp16 is True and training.bf16 is True:
        yield CrossFault(("training.fp16", "training.bf16"), "training.bf16 is true too; set one of them to false")
    if training.attention == "flash_attention_2":
        for name, value in (("bits", 32), ("compute_dtype", "float32")):
            if getattr(spec.load, name) == value:
                message = f"flash_attention_2 computes in 16 bits; write sdpa, or another load.{name}"
                yield CrossFault(("training.attn_implementation", f"load.{name}"), message)
    if training.trainer == "transformers":
        for name in ("packing", "completion_only_loss", "assistant_only_loss"):
            if getattr(training, name):
                paths = (f"training.{name}", "training.trainer")
                yield CrossFault(paths, "only `trainer: trl` can do this; write false, or `trainer: trl`")
    for name in ("early_stopping_patience", "load_best_model_at_end"):
        held_out = any(data.eval_split or data.eval_fraction for data in spec.datasets)
        if getattr(training, name) and spec.datasets and not held_out:
            message = "needs held-out rows; write dataset.eval_fraction above 0, or dataset.eval_split"
            yield CrossFault((f"training.{name}", "dataset.eval_fraction", "dataset.eval_split"), message)
    if training.load_best_model_at_end and training.eval_steps and training.save_steps % training.eval_steps:
        message = f"a best checkpoint must have been evaluated; write a multiple of eval_steps ({training.eval_steps})"
        yield CrossFault(("training.save_steps", "training.eval_steps", "training.load_best_model_at_end"), message)


def _load_faults(spec: Parts) -> Iterator[CrossFault]:
    """With 16 and 32 bits nothing is quantized, so all weights have one dtype."""
    for bits, other, dtype in ((16, "float32", "the compute dtype"), (32, "compute", "float32")):
        if spec.load.bits == bits and spec.load.frozen_dtype == other:
            message = f"with load.bits {bits} all weights are in {dtype}; leave it out, or write another load.bits"
            yield CrossFault(("load.frozen_dtype", "load.bits"), message)


def _data_faults(spec: Parts) -> Iterator[CrossFault]:
    for number, data in enumerate(spec.datasets):
        place = f"dataset.{number}" if isinstance(spec.dataset, list) else "dataset"
        if data.eval_split == data.split:
            message = "these are the rows to train on; name another split, or leave it out for eval_fraction"
            yield CrossFault((f"{place}.eval_split", f"{place}.split"), message)
        if data.text is not None and data.format not in ("auto", "text"):
            message = f"format {data.format} has no text column; leave it out, or write `format: text`"
            yield CrossFault((f"{place}.text", f"{place}.format"), message)
        for name in ("text", "columns"):
            if data.template and getattr(data, name):
                message = "dataset.template writes the columns itself; leave one of the two out"
                yield CrossFault((f"{place}.{name}", f"{place}.template"), message)
        if data.too_long != "cut" and not spec.training:
            message = "without training no row is cut; leave it out"
            yield CrossFault((f"{place}.too_long", "training"), message)
        for name in ("completion_only_loss", "assistant_only_loss"):
            if data.format == "text" and spec.training and getattr(spec.training, name):
                message = f"the rows of {place} are plain text, which has no part to exclude from the loss; write false"
                yield CrossFault((f"training.{name}", f"{place}.format"), message)


def _lora_faults(spec: Parts) -> Iterator[CrossFault]:
    targets = ATTENTION[0] if spec.lora.target_modules == "auto" else spec.lora.target_modules
    if not isinstance(targets, str) and (both := sorted(set(spec.lora.modules_to_save) & set(targets))):
        message = f"{', '.join(both)}: in target_modules too; name each module in only one of the two"
        yield CrossFault(("lora.modules_to_save", "lora.target_modules"), message)


def _export_faults(spec: Parts) -> Iterator[CrossFault]:
    export = spec.export
    if export.adapter and spec.training is None and spec.model.adapter is None:
        message = "without training or model.adapter there is no adapter; write false, or name model.adapter"
        yield CrossFault(("export.adapter", "training", "model.adapter"), message)
    if export.adapter and (spec.lora.use_dora or spec.lora.modules_to_save):
        message = "a GGUF adapter can hold neither DoRA nor modules_to_save; write false: the merged files hold both"
        yield CrossFault(("export.adapter", "lora.use_dora", "lora.modules_to_save"), message)
    if export.merge_base == "quantized" and spec.load.bits not in (4, 8):
        message = f"with load.bits {spec.load.bits} there is no quantized base; write original"
        yield CrossFault(("export.merge_base", "load.bits"), message)
    if export.fits and not spec.evaluation.judge:
        message = "a mix is searched by judging files; write true, or name types instead of a budget"
        yield CrossFault(("evaluation.judge", "export.types"), message)
    if export.fits and not spec.datasets:
        message = "a mix is searched on held-out rows; name a data set, or types instead of a budget"
        yield CrossFault(("dataset", "export.types"), message)
    needy = ", ".join(kind for kind in export.presets if kind in NEEDS_IMATRIX)
    need = "need" if ", " in needy else "needs"
    if needy and export.imatrix == "auto" and not spec.datasets:
        message = f"{needy} {need} an importance matrix; name a dataset to make it from, or a file as export.imatrix"
        yield CrossFault(("export.types", "export.imatrix", "dataset"), message)
    if imatrix_file(export.imatrix) and not (export.fits or HELPED_BY_IMATRIX & set(export.presets)):
        message = "none of export.types is made with a matrix; leave it out, or name a type that is"
        yield CrossFault(("export.imatrix", "export.types"), message)
    if needy and export.imatrix == "none":
        message = f"{needy} in export.types {need} one; write auto, or the path of a file"
        yield CrossFault(("export.imatrix", "export.types"), message)


def _evaluation_faults(spec: Parts) -> Iterator[CrossFault]:
    evaluation = spec.evaluation
    for name in ("text", "tasks"):
        if getattr(evaluation, name) and not evaluation.judge:
            of = (f"evaluation.{name}", "evaluation.judge")
            yield CrossFault(of, "nothing is evaluated; leave one of the two out")
    for name in ("min_score", "max_score_drop"):
        if getattr(evaluation.gate, name) is not None and not evaluation.tasks:
            scored = (f"evaluation.gate.{name}", "evaluation.tasks")
            yield CrossFault(scored, "nothing is scored; name evaluation.tasks, or leave it out")
    if evaluation.gate.max_text_ratio is None:
        return
    paths = ("evaluation.gate.max_text_ratio", "evaluation.text", "evaluation.judge", "training")
    if not evaluation.text or not evaluation.judge:
        yield CrossFault(paths, "nothing is measured on a text; name evaluation.text, or leave it out")
    elif not spec.training:
        yield CrossFault(paths, "without training there is no tuned model to compare with the base; leave it out")


def _place_faults(spec: Parts) -> Iterator[CrossFault]:
    """What only a repository on the Hub has, and what only several files have."""
    if spec.model.revision != "main" and model_place(spec.model.id) != "hub":
        yield CrossFault(
            ("model.revision", "model.id"), "the model is not on the Hub, and has no revisions; leave it out"
        )
    named: list[tuple[str, Dataset | PlainText | Tasks | None]] = [
        (f"dataset.{number}" if isinstance(spec.dataset, list) else "dataset", one)
        for number, one in enumerate(spec.datasets)
    ]
    named += [("evaluation.text", spec.evaluation.text), ("evaluation.tasks", spec.evaluation.tasks)]
    for path, data in named:
        if data is None:
            continue
        where = data_place(data.id)
        if data.revision != "main" and where != "hub":
            message = "the rows are not on the Hub, and have no revisions; leave it out"
            yield CrossFault((f"{path}.revision", f"{path}.id"), message)
        is_file = where == "https" or (where != "hub" and suffix_format(data.id) is not None)
        for name in ("config", "split"):
            if is_file and getattr(data, name) != type(data).model_fields[name].default:
                message = f"one file has no {name}s; leave it out, or name a folder or a repository"
                yield CrossFault((f"{path}.{name}", f"{path}.id"), message)
