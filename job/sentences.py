"""What an event says to a person: words instead of keys, 1.7 GB instead of 1738452992, 12 min instead of 743.2."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

TITLES = {
    "preflight": "checking this machine",
    "rehearse": "checking the model",
    "fetch": "model and rows",
    "tokens": "rows as tokens",
    "tasks": "cases to score",
    "agree": "comparing llama.cpp with transformers",
    "train": "training",
    "measure": "measuring the adapter",
    "answer": "scoring the base and the tuned model",
    "export": "export",
    "imatrix": "importance matrix",
    "fit": "searching a mix",
    "quantize": "quantizing",
    "try": "trying",
    "evaluate": "judging",
    "score": "scoring",
    "publish": "publishing",
}
"""What each stage is called."""
_BYTES = {"has", "needed", "free", "memory", "size", "rss", "rss_peak", "cuda_peak", "cuda_reserved", "total", "stages"}
"""Fields of `preflight.*` and `train.log` that are bytes."""
_HIDDEN = {"event", "level", "time", "run", "attempt", "seq", "stage", "exception"}
_LONGEST = 160  # characters of one field

Event = Mapping[str, Any]


def stage_title(event: Event) -> str:
    """What the stage of an event is called, with the type that it works on."""
    stage = str(event.get("stage"))
    return TITLES.get(stage, stage) + (f" {event['type']}" if event.get("type") else "")


def size(count: float) -> str:
    """Bytes, in thousands of thousands."""
    for limit, factor, unit in ((1e6, 1e3, "kB"), (1e9, 1e6, "MB"), (1e12, 1e9, "GB")):
        if count < limit:
            return f"{count / factor:.{0 if unit == 'kB' or count >= 100 * factor else 1}f} {unit}"
    return f"{count / 1e12:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds, minutes, or hours and minutes."""
    minutes, hours = round(seconds / 60), round(seconds / 60) // 60
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{hours} h {minutes % 60} min"


def moment(iso: str) -> str:
    """A time of a record, in UTC, to the minute."""
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def amount(progress: Event) -> str:
    """How far a long piece of work is; how long it has lasted, if nobody knows how far it is."""
    done, total, unit = progress["done"], progress["total"], progress.get("unit", "")
    if done is None:
        return duration(progress["elapsed_s"])
    if unit == "bytes":
        text = f"{size(done)} of {size(total)}" if total else size(done)
    else:
        text = f"{done:,.0f} of {total:,.0f} {unit}" if total else f"{done:,.0f} {unit}"
    return f"{text}, {duration(progress['eta_s'])} left" if progress.get("eta_s") else text


def kept(made: str | None) -> str:
    """Where work that is not done again comes from."""
    return f"kept from the run of {moment(made)}" if made else "kept from an earlier run"


def sentence(event: Event) -> str:
    """One line about an event: its own sentence, else its name and what it holds."""
    own = _SENTENCES.get(str(event["event"]))
    try:
        return own(event) if own else _fields(event)
    except (KeyError, TypeError, ValueError):  # an event of another release
        return _fields(event)


def _fields(event: Event) -> str:
    told = {name: value for name, value in event.items() if name not in _HIDDEN and value not in (None, "", [], {})}
    what = told.pop("what", None) or told.pop("message", None)
    words = [f"{event['event']}:", *([str(what).replace("\n", " ")] if what else [])]
    rest = [f"{name} {_value(str(event['event']), name, value)}" for name, value in told.items()]
    return " ".join(words) + (f" ({', '.join(rest)})" if what and rest else " " + ", ".join(rest) if rest else "")


def _value(event: str, name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(event, name, one)}" for key, one in value.items())
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value).replace("\n", " ")
        return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    if name.endswith(("_s", "seconds")):
        return duration(value)
    if name in _BYTES and event.startswith(("preflight.", "train.log")) and value >= 1e6:
        return size(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _planned(event: Event) -> str:
    """Which types are made and which are kept."""
    made, old = event["make"], event["keep"]
    if not old:
        return f"quantizing: {', '.join(made)}"
    since = f"{', '.join(old)} {'is' if len(old) == 1 else 'are'} {kept(event.get('made'))}"
    if not made:
        return f"quantizing: {since}"
    return f"quantizing: only {', '.join(made)} {'is' if len(made) == 1 else 'are'} made; {since}"


def _step(event: Event) -> str:
    words = [f"step {event['step']} of {event['total']}: loss {event['loss']:.3f}"]
    if event.get("tokens_per_second"):
        words.append(f"{event['tokens_per_second']:,.0f} tokens/s")
    if event.get("eta_s"):
        words.append(f"{duration(event['eta_s'])} left")
    return ", ".join(words)


def _recomputed(every: int) -> str:
    if every > 1:
        return f"one block of {every} recomputes them"
    return "all blocks of the model recompute them" if every else "they are kept, none is computed again"


def _loss(event: Event) -> str:
    return "not a number" if event["loss"] is None else f"{event['loss']:.3f}"


def _gpu(event: Event) -> str:
    return f"GPU: {event['gpu']}, {size(event['memory'])}" if event["gpu"] else "no GPU: everything runs on the CPU"


def _disk(event: Event) -> str:
    needed = f"at most {size(event['needed'])} are needed ({TITLES.get(event['stage'], event['stage'])})"
    return f"disk: {needed}, {size(event['free'])} are free in {event['folder']}"


def _rows(event: Event) -> str:
    broken = f", {event['broken']:,} broken" if event["broken"] else ""
    return f"rows: {event['train']:,} to train on, {event['held_out']:,} held out{broken}"


def _held_out(event: Event) -> str:
    why = f"about the {event['wanted']:,} tokens that a sound judgement takes"
    if event["share"] >= event["most"]:
        why = f"the most that eval_fraction auto takes, for {why}"
    return f"held out: {event['rows']:,} of {event['of']:,} rows, {100 * event['share']:.4g}%: {why}"


def _parameters(event: Event) -> str:
    return f"{event['trainable']:,} of {event['total']:,} weights are trained ({event['percent']:.2g}%)"


def _estimate(event: Event) -> str:
    if event["most"] is None:
        return "time: unknown without a GPU that this release knows"
    likely = f"likely {duration(event['likely'])}, " if event["likely"] is not None else ""
    after = f"; the GPU is held {duration(event['after_training'])} after the training" if event["steps"] else ""
    return f"time: {likely}at most {duration(event['most'])}{after}"


_SENTENCES: dict[str, Callable[[Event], str]] = {
    "stage.end": lambda event: f"{stage_title(event)}: done in {duration(event['seconds'])}",
    "stage.skipped": lambda event: f"{stage_title(event)}: {kept(event.get('made'))}",
    "quantize.planned": _planned,
    "evaluate.too_little_text": lambda event: str(event["what"]),
    "evaluate.little_text": lambda event: str(event["what"]),
    "publish.earlier_files": lambda event: str(event["what"]),
    "publish.replaced": lambda event: f"deleted from {event['place']}: {', '.join(event['files'])}, of an earlier run",
    "s3.region": lambda event: str(event["what"]),
    "evaluate.text": lambda event: str(event["what"]),
    "data.held_out": _held_out,
    "library.warning": lambda event: f"{event['source']}: {' '.join(event['message'].split())}",
    "data.read_as": lambda event: str(event["what"]),
    "data.encoding": lambda event: str(event["what"]),
    "data.changed": lambda event: str(event["what"]),
    "data.left_out": lambda event: str(event["what"]),
    "data.duplicates": lambda event: str(event["what"]),
    "data.held_out_seen": lambda event: str(event["what"]),
    "tokens.cut": lambda event: str(event["what"]),
    "tokens.too_long": lambda event: str(event["what"]),
    "preflight.gpu": _gpu,
    "preflight.disk": _disk,
    "fetch.rows": _rows,
    "run.estimate": _estimate,
    "train.log": _step,
    "train.parameters": _parameters,
    "train.loading_model": lambda event: f"loading {event['model']}",
    "tokens.rows": lambda event: (
        f"tokens: {event['tokens']:,} in {event['rows']:,} rows to train on, {event['trained']:,} of them with a loss"
    ),
    "tokens.left_out": lambda event: (
        "left out, because the chat template does not show it: "
        + ", ".join(f"{name} ({rows:,} rows)" for name, rows in event["rows"].items())
    ),
    "tokens.nothing_to_learn": lambda event: f"left out: {event['rows']:,} rows, {event['why']}",
    "train.held_out": lambda event: f"held-out loss {_loss(event)}",
    "train.eval": lambda event: f"held-out loss {_loss(event)} at step {event['step']}",
    "train.resume": lambda event: f"training goes on from the checkpoint of step {event['step']}",
    "train.checkpointing": lambda event: f"activations: {_recomputed(event['every'])}; {event['why']}",
    "train.retry_with_checkpointing": lambda event: (
        "the GPU's memory is too small to keep activations: training goes on and recomputes them"
    ),
    "train.precision": lambda event: f"training computes in {event['compute_dtype']}",
    "train.loss_on_all_turns": lambda event: f"the loss is on every turn of a chat: {event['why']}",
    "train.optimizer_fallback": lambda event: f"optimizer: {event['used']} and not {event['wanted']}: {event['why']}",
    "train.traced": lambda event: (
        f"perplexity on the held-out rows: {event['base']:.2f} before, {event['tuned']:.2f} after"
    ),
    "train.traced_text": lambda event: (
        f"perplexity on evaluation.text: {event['base']:.2f} before, {event['tuned']:.2f} after"
    ),
    "tasks.read": lambda event: (
        f"{event['cases']:,} cases to score, of {event['tokens']:,} tokens; the longest has {event['longest']:,}"
    ),
    "tasks.scored": lambda event: f"{event['who']}: {event['right']} of {event['cases']} answers are right",
    "quantize.fallbacks": lambda event: (
        f"{event['tensors']} tensors of {event['type']} get a larger type: their width does not divide"
    ),
    "fit.measured": lambda event: (
        f"{event['type']}: {size(event['size'])}, KL divergence {event['kld']:.5f}"
        f"{' on the half for the search' if event['searched'] else ''}"
    ),
    "fit.found": lambda event: (
        f"{event['type']}: KL divergence {event['kld']:.5f} after {event['judgings']} judgings; {event['preset']}, the "
        f"best of llama.cpp's types of at most its size, has {event['preset_kld']:.5f}"
    ),
    "fit.preset_is_better": lambda event: str(event["what"]),
    "quantize.tried": lambda event: (
        f"{event['type']} goes on from 'The capital of France is': {event['generated'].strip()}"
    ),
    "data.read": lambda event: f"{event['dataset']}: {event['rows']:,} rows",
    "run.start": lambda event: f"run {event['run']}; store: {event['store']}; work folder: {event['work']}",
    "preflight.llama": lambda event: str(event["version"]),
    "run.already_done": lambda event: f"this run is done already; its manifest: {event['manifest']}",
    "publish.done": lambda event: f"the files are at {event['place']}",
}
