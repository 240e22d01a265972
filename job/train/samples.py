"""Answers of the base and the tuned model to held-out prompts."""

from collections.abc import Callable
from typing import Any

from job.logs import Progress
from job.spec import JobSpec
from job.tokens.stage import Prompt


def compare(spec: JobSpec, model: Any, tokenizer: Any, prompts: list[Prompt]) -> list[dict[str, str]]:
    """Greedy answers before (adapter off) and after training, with the row's own continuation."""
    if not prompts:
        return []
    bar = Progress("sampling", 2 * len(prompts), "samples")
    model.eval()
    model.config.use_cache = True
    with model.disable_adapter():
        before = _answers(spec, model, tokenizer, prompts, bar.update)
    after = _answers(spec, model, tokenizer, prompts, lambda done: bar.update(len(prompts) + done))
    model.config.use_cache = False
    return [
        {"prompt": prompt.shown, "before": first, "after": then, "reference": prompt.reference}
        for prompt, first, then in zip(prompts, before, after, strict=True)
    ]


def _answers(
    spec: JobSpec, model: Any, tokenizer: Any, prompts: list[Prompt], progress: Callable[[int], None]
) -> list[str]:
    assert spec.training
    return continuations(
        model,
        tokenizer,
        [prompt.ids for prompt in prompts],
        size=spec.training.per_device_eval_batch_size,
        most=spec.evaluation.max_new_tokens,
        progress=progress,
    )


def continuations(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    *,
    size: int,
    most: int,
    progress: Callable[[int], None],
    stops: list[int] | None = None,
) -> list[str]:
    """The likeliest continuation of each prompt, of at most `most` tokens. Those of a batch of `size` are padded on the
    left, so that each is followed by its answer. `stops`: ids of the tokens that end one; then the model's own settings
    of generation, which llama.cpp does not know, are left out."""
    import torch

    found: list[str] = []
    options = {"eos_token_id": stops, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0} if stops else {}
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        longest = max(map(len, batch))
        padded = [[tokenizer.pad_token_id] * (longest - len(ids)) + ids for ids in batch]
        mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in batch]
        with torch.no_grad():
            out = model.generate(
                input_ids=torch.tensor(padded, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                **options,
            )
        found += tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
        progress(len(found))
    return found
