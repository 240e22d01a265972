"""A run as the report sees it: figures of every kind, and words that would do harm if they were taken for HTML."""

from typing import Any

from job.artifacts import Artifact
from job.report.facts import Facts
from job.run.records import StageRecord
from job.run.usage import Usage
from job.spec import JobSpec

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
TYPES = {"q2_k": (52e6, 3.2, 0.61), "q4_k_m": (105e6, 5.1, 0.033), "q8_0": (145e6, 8.5, 0.0028)}


def record(stage: str, size: int = 0, **metrics: Any) -> StageRecord:
    artifacts = [Artifact(path="model.gguf", sha256="ab" * 32, size=size)] if size else []
    return StageRecord(stage=stage, key="k", artifacts=artifacts, metrics=metrics)


def spec(**sections: Any) -> JobSpec:
    given = {
        "model": {"id": "HuggingFaceTB/SmolLM2-135M-Instruct"},
        "dataset": {"id": "me/rows"},
        "export": {"types": list(TYPES)},
        "publish": {"name": "Tuned", "hub": {"repo_id": "me/Tuned-GGUF"}},
    }
    return JobSpec.model_validate(given | sections)


def perplexity(value: float) -> dict[str, float]:
    return {"value": value, "error": value / 12}


def facts(given: JobSpec | None = None, *, judged: bool = True, trained: bool = True) -> Facts:
    """Three types of a run that was judged and trained, or less of it."""
    windows = {"context": 512, "chunks": 9}
    steps = [{"step": n, "loss": 3 / n**0.2, "learning_rate": 2e-4 * (1 - n / 41)} for n in range(1, 41)]
    records = {
        "fetch": record("fetch", card={"license": "apache-2.0", "language": ["en"]}),
        "export": record("export", cache_bytes_per_token=23_040),
        "tokens": record(
            "tokens",
            vocabulary={"template": "{{ messages }}"},
            prompts=[{"text": HOSTILE, "reference": HOSTILE, "size": 9}],
            format={
                "system": "<|im_start|>system\n", "system_end": "<|im_end|>\n<|im_start|>user\n",
                "user": "<|im_start|>user\n", "assistant": "<|im_end|>\n<|im_start|>assistant\n", "gap": "",
                "end": "<|im_end|>\n",
            },
            stops=["<|im_end|>", "</s>"],
        ),
    }  # fmt: skip
    for kind, (size, bits, _) in TYPES.items():
        mix = {"attn_v": {"q6_K": 1}, "ffn_up": {"q4_K": 2}}
        records[f"quantize/{kind}"] = record("quantize", int(size), bits_per_weight=bits, tensors=mix, fallbacks=3)
    if trained:
        records["train"] = record(
            "train", steps=40, losses=steps, evals=[{"step": 20, "eval_loss": 2.2}, {"step": 40, "eval_loss": 1.7}],
            loss_before=3.08, loss_after=1.704, trainable=4_884_480, total=139_399_488, tokens_per_second=109.7,
            samples=[{"prompt": "p", "before": HOSTILE, "after": "A fine answer.", "reference": "r"}],
            trace={"loaded": "nf4", "base": perplexity(21.8), "tuned": perplexity(6.3), "ratio_error": 0.02} | windows,
        )  # fmt: skip
    if judged:
        common = {"speeds": [{"generation_ms": 41.5, "device": "a CPU", "threads": 4}], "answers": [HOSTILE], **windows}
        metrics = {"type": "f16", "size": 271_000_000, "bits_per_weight": 16.0, "perplexity": perplexity(6.25)}
        records["evaluate/f16"] = StageRecord(stage="evaluate", key="k", artifacts=[], metrics=metrics | common)
        for kind, (_, _, kld) in TYPES.items():
            distance = {"kld": kld, "kld_error": kld / 9, "same_top": 1 - kld, "ratio": 1 + kld, "ratio_error": 0.01}
            records[f"evaluate/{kind}"] = record(
                "evaluate", type=kind, perplexity=perplexity(6.25 * (1 + kld)), distance=distance, **common
            )
    usage = Usage(
        began=0, seconds=[float(n) for n in range(120)], memory=[n * 10**7 for n in range(120)],
        stages=["fetch"] * 10 + ["train"] * 80 + ["quantize"] * 30, gpu=[n * 10**8 for n in range(120)],
    )  # fmt: skip
    files = [
        (f"Tuned-{kind.upper()}.gguf", kind, Artifact(path="f", sha256="cd" * 32, size=int(size)))
        for kind, (size, _, _) in TYPES.items()
    ]
    return Facts(given or spec(), "0123456789abcdef", files, records, [usage], {"model": "1f" * 20})
