"""Answers of the base and the tuned model to held-out prompts."""

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
    found = []
    for number, prompt in enumerate(prompts):
        with model.disable_adapter():
            before = _answer(spec, model, tokenizer, prompt.ids)
        bar.update(2 * number + 1)
        after = _answer(spec, model, tokenizer, prompt.ids)
        bar.update(2 * number + 2)
        found.append({"prompt": prompt.shown, "before": before, "after": after, "reference": prompt.reference})
    model.config.use_cache = False
    return found


def _answer(spec: JobSpec, model: Any, tokenizer: Any, prompt: list[int]) -> str:
    import torch

    ids = torch.tensor([prompt], device=model.device)
    with torch.no_grad():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=spec.evaluation.max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
    return str(tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True))
