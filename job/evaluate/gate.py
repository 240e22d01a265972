"""The quality gate: refuses to publish a result that is worse than allowed.

A limit must be exceeded by more than twice the reported standard error: two per cent of a small data set are few
tokens.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from job.errors import QualityRejected
from job.logs import log
from job.run.records import StageRecord
from job.spec import JobSpec
from job.tasks.scores import BASE, TUNED

LIMITS = ((4.0, 1.3, 0.3), (3.0, 3.0, 1.0), (0.0, 100.0, 10.0))
"""By minimal bits per weight: the largest ratio of perplexities and the largest KL divergence (nats per token) of a
sound file. Small models lose more than large ones; broken files exceed these limits by far."""
ERRORS = 2.0


def check(spec: JobSpec, records: Mapping[str, StageRecord]) -> None:
    """Raises QualityRejected with every file that fails and its values, or logs a warning (`gate.action`).

    `records` are those of the manifest: `train`, `quantize/<type>`, `evaluate/<type>`.
    """
    gate = spec.evaluation.gate
    faults = [*_tuned(gate.max_tuned_ratio, records), *_quantized(spec, records), *_endless(gate.min_ends, records)]
    faults += [*_forgotten(gate.max_text_ratio, records), *_not_as_trained(spec, records)]
    faults += _scored(spec, records)
    if not faults:
        return
    if gate.action == "warn":
        for fault in faults:
            log.warning("gate.worse", what=fault)
        return
    raise QualityRejected(
        "nothing is published, because the result is worse than allowed:\n  " + "\n  ".join(faults),
        hint="Check the losses and the rows; or raise the limits of evaluation.gate, or set its action to warn.",
    )


def _tuned(limit: float, records: Mapping[str, StageRecord]) -> Iterator[str]:
    metrics: dict[str, Any] = records["train"].metrics if "train" in records else {}
    before, after = metrics.get("loss_before"), metrics.get("loss_after")
    if before is None:  # no held-out rows, or a base whose loss is not a number
        return
    ratio = math.inf if after is None else math.exp(min(after - before, 700))
    error = (metrics.get("trace") or {}).get("ratio_error", 0.0)
    within = f" ± {ratio * error:.2g}" if error else ""
    if not ratio * (1 - ERRORS * error) <= limit:
        yield (
            f"the tuned model: perplexity on the held-out rows is {ratio:.3g}{within} times the base model's "
            f"(loss {'not a number' if after is None else f'{after:.3f}'} after {before:.3f}); {limit:g} is allowed"
        )


def _forgotten(limit: float | None, records: Mapping[str, StageRecord]) -> Iterator[str]:
    """The tuned model on `evaluation.text`, which it was not trained on."""
    trace = records["train"].metrics.get("text_trace") if "train" in records else None
    if limit is None:
        return
    if not trace:
        what = "evaluation.gate.max_text_ratio: the tuned model was not measured on evaluation.text"
        log.warning("gate.not_measured", what=f"{what}, so nothing is refused for it")
        return
    ratio = trace["tuned"]["value"] / trace["base"]["value"]
    error = trace["ratio_error"]
    if not ratio * (1 - ERRORS * error) <= limit:
        yield (
            f"the tuned model: perplexity on evaluation.text is {ratio:.3g} ± {ratio * error:.2g} times the base "
            f"model's ({trace['tuned']['value']:.4g} after {trace['base']['value']:.4g}); {limit:g} is allowed"
        )


def _not_as_trained(spec: JobSpec, records: Mapping[str, StageRecord]) -> Iterator[str]:
    """The unquantized file against the tuned model as training had it. With 16 or 32 bits, or merged into the quantized
    weights, they are the same weights; else rounding lies between them that is not known, and a warning is given."""
    trace = records["train"].metrics.get("trace") if "train" in records else None
    judged = [record.metrics for name, record in records.items() if name.startswith("evaluate/")]
    found = next((one for one in judged if "distance" not in one and one.get("perplexity")), None)
    if not trace or not found or any(trace[key] != found.get(key) for key in ("context", "chunks")):
        return
    was, now = trace["tuned"], found["perplexity"]
    error = math.hypot(was["error"] / was["value"], now["error"] / now["value"])
    ratio = now["value"] / was["value"]
    if ratio * (1 - ERRORS * error) <= 1:
        return
    what = (
        f"the unquantized file: its perplexity is {ratio:.3g} ± {ratio * error:.2g} times that of the model as trained "
        f"({now['value']:.4g} after {was['value']:.4g})"
    )
    if spec.load.bits in (4, 8) and spec.export.merge_base == "original":
        log.warning("gate.not_as_trained", what=f"{what}; try export.merge_base: quantized")
    else:
        yield f"{what}, and both have the same weights"


def _scored(spec: JobSpec, records: Mapping[str, StageRecord]) -> Iterator[str]:
    """A limit must lie outside the 95% interval: of fifty cases, one is two per cent."""
    gate = spec.evaluation.gate
    scores: dict[str, Any] = records["tasks"].metrics.get("scores", {}) if "tasks" in records else {}
    for name, found in scores.items():
        who = f"the {name} model" if name in (BASE, TUNED) else name.upper()
        told = f"{who}: {found['right']} of {found['cases']} answers are right"
        if gate.min_score is not None and name != BASE and found["high"] < gate.min_score:
            yield f"{told}, at most {found['high']:.0%} with 95% confidence; {gate.min_score:.0%} are demanded"
        drop = found["drop"]
        if gate.max_score_drop is not None and drop and drop["low"] > gate.max_score_drop:
            other = scores[found["against"]]
            yield (
                f"{told}, after {other['right']} of {found['against']}: a drop of at least {drop['low']:.0%} with 95% "
                f"confidence; {gate.max_score_drop:.0%} are allowed"
            )


def _endless(least: float | None, records: Mapping[str, StageRecord]) -> Iterator[str]:
    if least is None:
        return
    judged = [record.metrics for name, record in records.items() if name.startswith("evaluate/")]
    found = [metrics["ends"] for metrics in judged if metrics.get("ends")]
    if not found:
        what = "evaluation.gate.min_ends: no held-out answer's end was measured, so nothing is refused for it"
        log.warning("gate.not_measured", what=what)
    for ends in found:
        share = ends["first"] / ends["answers"]
        if share < least:
            yield (
                f"the unquantized file: after {ends['first']} of {ends['answers']} held-out answers a token that ends "
                f"them comes first, {share:.0%}; {least:.0%} are demanded"
            )


def _quantized(spec: JobSpec, records: Mapping[str, StageRecord]) -> Iterator[str]:
    for name, record in records.items():
        distance = record.metrics.get("distance") if name.startswith("evaluate/") else None
        if not distance:
            continue
        kind = record.metrics["type"]
        bits = records[f"quantize/{kind}"].metrics["bits_per_weight"]
        ratio_limit, kld_limit = next((ratio, kld) for least, ratio, kld in LIMITS if bits >= least)
        gate = spec.evaluation.gate
        for what, key, limit in (
            ("perplexity over the unquantized file's", "ratio", gate.max_ratio or ratio_limit),
            ("KL divergence from the unquantized file", "kld", gate.max_kld or kld_limit),
        ):
            value, error = distance[key], distance[f"{key}_error"]
            if not value - ERRORS * error <= limit:
                yield f"{kind.upper()} ({bits:.2f} bits): {what} is {value:.4g} ± {error:.2g}; {limit:g} is allowed"
