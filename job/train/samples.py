"""Answers of the base and the tuned model to held-out prompts."""

from pathlib import Path
from typing import Any

from job.logs import Progress
from job.spec import JobSpec
from job.train.rows import prompts


def compare(spec: JobSpec, model: Any, tokenizer: Any, rows: Path | None) -> list[dict[str, str]]:
    """Greedy answers before (adapter off) and after training, with the row's own continuation."""
    if rows is None or not spec.evaluation.samples:
        return []
    chosen = prompts(rows, tokenizer, spec.evaluation.samples)
    bar = Progress("sampling", 2 * len(chosen), "samples")
    model.eval()
    model.config.use_cache = True
    found = []
    for number, (prompt, reference, special) in enumerate(chosen):
        with model.disable_adapter():
            before = _answer(spec, model, tokenizer, prompt, special)
        bar.update(2 * number + 1)
        after = _answer(spec, model, tokenizer, prompt, special)
        bar.update(2 * number + 2)
        found.append({"prompt": prompt, "before": before, "after": after, "reference": reference})
    model.config.use_cache = False
    return found


def _answer(spec: JobSpec, model: Any, tokenizer: Any, prompt: str, special: bool) -> str:
    import torch

    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=special).to(model.device)
    with torch.no_grad():
        out = model.generate(
            **ids,
            max_new_tokens=spec.evaluation.max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
    return str(tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
