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
    """One answer for each prompt. Those of a batch are padded on the left, so that each is followed by its answer."""
    import torch

    assert spec.training
    found: list[str] = []
    size = spec.training.per_device_eval_batch_size
    for start in range(0, len(prompts), size):
        batch = [prompt.ids for prompt in prompts[start : start + size]]
        longest = max(map(len, batch))
        padded = [[tokenizer.pad_token_id] * (longest - len(ids)) + ids for ids in batch]
        mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in batch]
        with torch.no_grad():
            out = model.generate(
                input_ids=torch.tensor(padded, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                max_new_tokens=spec.evaluation.max_new_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        found += tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
        progress(len(found))
    return found
