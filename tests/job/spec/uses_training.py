"""What a training would do with a spec: the trainer itself, made on a tiny model, and its arguments on other GPUs."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

from job.errors import EnvironmentUnfit, JobError
from job.predict.anatomy import anatomy_of
from job.predict.checkpointing import choose
from job.spec import JobSpec
from job.train import arguments, precision
from job.train.trainer import make_trainer
from tests.job.predict.sizes import SIZES
from tests.job.spec.uses import Ground, jsonl
from tests.job.train.trainers import NeverStops, inputs_of

ROWS: dict[str, list[Any]] = {
    "text": [{"text": f"Of number {n}" + " and more" * (n % 5) + "."} for n in range(12)],
    "prompt_completion": [{"prompt": f"What is {n}? ", "completion": f"It is {n}."} for n in range(12)],
    "messages": [
        {"messages": [{"role": "user", "content": f"And {n}?"}, {"role": "assistant", "content": f"Yes, {n}."}]}
        for n in range(12)
    ],
}


FAMILIES = ("llama", "gemma3_text", "qwen3")


def on_text(spec: JobSpec, ground: Ground) -> Any:
    return _trainer(spec, ground, "text")


def on_pairs(spec: JobSpec, ground: Ground) -> Any:
    return _trainer(spec, ground, "prompt_completion")


def on_chats(spec: JobSpec, ground: Ground) -> Any:
    return _trainer(spec, ground, "messages")


def on_other_gpus(spec: JobSpec, ground: Ground) -> Any:
    """On a T4 and from an A100 on; of a family that fits float16, of one that overflows there, and of another."""
    return [_arguments(spec, at, [family]) for at in ((7, 5), (8, 0)) for family in FAMILIES]


def _arguments(spec: JobSpec, capability: tuple[int, int], families: list[str]) -> Any:
    with mock.patch.object(precision, "_capability", lambda: capability):
        try:
            chosen = precision.choose(spec, families)
        except EnvironmentUnfit as error:
            return f"refused: {error.message}"
        every = choose(spec, anatomy_of(SIZES["7B"][0], "7B"), 80 << 30, None, triton=False).every
        given = arguments.common(spec, chosen, Path("out"), evaluates=True, micro_batch=None, recompute_every=every)
    return [chosen.compute, chosen.frozen, given]


def _trainer(spec: JobSpec, ground: Ground, kind: Any) -> Any:
    from transformers import set_seed

    from job.tokens.tokenizer import load_tokenizer
    from job.train.model import load_base, with_adapter

    if spec.training is None:
        return None  # as job/pipeline/train.py
    assert ground.model
    folder = ground.folder()
    for name in ("train", "eval"):
        (folder / f"{name}.jsonl").write_bytes(jsonl(ROWS[kind]))
    set_seed(spec.run.seed)
    try:
        chosen = precision.choose(spec, ["llama"])
        rows = [folder / f"{name}.jsonl" for name in ("train", "eval")]
        inputs = inputs_of(spec, ground.model, folder / "tokens", *rows, kind)
        tokenizer = load_tokenizer(spec, ground.model, inputs.added)
        base = load_base(spec, ground.model, chosen, tokenizer, inputs.added)
        model = with_adapter(spec, base, None, tokenizer.convert_tokens_to_ids(inputs.added))
        trainer = make_trainer(spec, inputs, folder, model, tokenizer, chosen, NeverStops())
    except JobError as error:
        return f"refused: {error.message}"
    return json.loads(json.dumps(_inside(trainer), default=str).replace(str(folder), "FOLDER"))


def _inside(trainer: Any) -> Any:
    """What it will train with; not the tokenizer's settings, which it may or may not read."""
    model, dataset = trainer.model, trainer.train_dataset
    batch = next(iter(trainer.get_train_dataloader()))
    quantization = getattr(model.config, "quantization_config", None)
    return {
        "class": type(trainer).__name__,
        "arguments": trainer.args.to_dict(),
        "attention": model.config._attn_implementation,
        "callbacks": [
            [type(one).__name__, getattr(one, "_every", None), getattr(one, "early_stopping_patience", None)]
            for one in trainer.callback_handler.callbacks
        ],
        "batch": {name: getattr(one, "tolist", lambda one=one: one)() for name, one in batch.items()},
        "rows": [dataset[n]["input_ids"] for n in range(len(dataset))],
        "adapter": {name: config.to_dict() for name, config in model.peft_config.items()},
        "quantization": quantization.to_dict() if quantization else None,
        "weights": {
            name: [str(weight.dtype), weight.requires_grad, weight.detach().float().sum().item()]
            for name, weight in model.named_parameters()
        },
    }
