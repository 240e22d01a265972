"""Compares llama.cpp with transformers on a model's first layers, before it is trained.

<workdir>/view/, model.gguf, logits.bin    removed when the stage ends
"""

import json
import re
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from job.agreement.cut import cut, keeps
from job.agreement.reference import logarithms
from job.artifacts import Frozen
from job.errors import IntegrityViolated, SpecInvalid
from job.export.gguf_convert import write_gguf
from job.export.merge_plan import EMPTY
from job.export.model_view import make_view
from job.llama_cpp import perplexity
from job.llama_cpp.loading import check_loads
from job.llama_cpp.logits import logarithms_at
from job.llama_cpp.windows import scored
from job.logs import log
from job.spec import JobSpec

NAME = "agree"
CONTEXT, CHUNKS = 128, 2
MOST = 0.05
"""Standard deviations of the logits. Models that agree are 0.001 (float16) to 0.01 (bfloat16) apart, and a field of the
config that the converter does not know makes 0.07 and more."""
_OF_ANY = re.compile(
    r"_.*|num_.*|.*_(size|id|dim|ids)|architectures|dtype|transformers_version|model_type|initializer_range|use_cache"
    r"|max_position_embeddings|tie_word_embeddings"
)
TEXT = (
    "The quick brown fox jumps over the lazy dog. In 1905 a clerk in Bern wrote four papers; one had 30 pages.\n"
    "def area(r):\n    return 3.14159 * r ** 2\n\nWas hast du gesagt? \u4f60\u597d! "
)


class Inputs(Frozen):
    """`model`: a folder with its weights."""

    model: Path


class Result(Frozen):
    """`distance`: the largest difference of a logit, in standard deviations of its position's logits, at the median
    position: at single ones a rounding may decide for another expert. None if the model's layers cannot be cut, or
    compute no numbers. `layers`: how many were compared; `unusual`: fields of the config that may be why they are far
    apart."""

    distance: float | None = None
    layers: int = 0
    unusual: list[str] = []


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """How far llama.cpp is from transformers. Raises the errors of an export and of judging."""
    config = json.loads((inputs.model / "config.json").read_text(encoding="utf-8"))
    found = cut(config)
    if found is None:
        log.warning("agree.not_compared", what=f"the layers of {spec.model.id} cannot be computed in part")
        return Result()
    small, layers = found
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workdir) as name:
        folder = Path(name)
        view = make_view(folder / "view", inputs.model, None, None)
        (view / "config.json").unlink()
        (view / "config.json").write_text(json.dumps(small, allow_nan=True), encoding="utf-8")
        try:
            distance = _distance(spec, view, folder, layers)
        except _Incomparable as why:
            log.warning("agree.not_compared", what=f"{spec.model.id}: {why}")
            return Result()
    log.info("agree.compared", distance=round(distance, 4), layers=layers)
    return Result(distance=distance, layers=layers, unusual=_unusual(inputs.model) if distance > MOST else [])


class _Incomparable(Exception):
    """Why the first layers are not a model of which both sides compute something."""


def check(spec: JobSpec, found: Result) -> None:
    """Raises IntegrityViolated for a model that llama.cpp computes otherwise, or warns (`evaluation.gate.action`)."""
    if found.distance is None or found.distance <= MOST:
        return
    what = (
        f"llama.cpp computes something else with {spec.model.id} than transformers: logits of its first {found.layers} "
        f"layers differ by {found.distance:.2g} standard deviations, and {MOST:g} is allowed"
    )
    if spec.evaluation.gate.action == "warn":
        log.warning("agree.differs", what=what, unusual=found.unusual)
        return
    raise IntegrityViolated(
        what,
        hint="Its config.json has what the converter may not know, beside its family's defaults: "
        f"{', '.join(found.unusual)}. With evaluation.gate.action: warn it is trained all the same.",
    )


def _distance(spec: JobSpec, view: Path, folder: Path, layers: int) -> float:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(view, trust_remote_code=False)
    ids = tokenizer(TEXT)["input_ids"]
    ids = (ids * (1 + CONTEXT * CHUNKS // len(ids)))[: CONTEXT * CHUNKS]
    if ids[0] == tokenizer.bos_token_id:
        ids[CONTEXT] = ids[0]  # llama-perplexity puts it before each window
    windows = [ids[n * CONTEXT : (n + 1) * CONTEXT] for n in range(CHUNKS)]
    gguf, logits = folder / "model.gguf", folder / "logits.bin"
    try:  # the whole model went through all of this in the rehearsal; some families are not one if they are cut
        expected = list(logarithms(view, windows, CONTEXT // 2))
        write_gguf(view, gguf, spec.export.unquantized, "model", lambda *_: EMPTY, keep=keeps(layers))
        check_loads(gguf, spec.model.id)
    except (SpecInvalid, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _Incomparable(f"its first layers alone are not a model: {error}") from error
    if not all(window.isfinite().all() for window in expected):
        raise _Incomparable("what transformers computes is not numbers")
    (folder / "ids.txt").write_text(" ".join(map(str, ids)), encoding="utf-8")
    perplexity.perplexity(gguf, folder / "ids.txt", context=CONTEXT, chunks=CHUNKS, logits=logits)
    places = ((window, row) for window in range(CHUNKS) for row in range(scored(CONTEXT)))
    rows = logarithms_at(logits, places, CONTEXT, CHUNKS)
    return median(_furthest(one, other) for window in expected for one, other in zip(window, rows, strict=False))


def _furthest(expected: Any, found: Any) -> float:
    """The file has no logarithms below a limit: those are left out."""
    there = found > found.min()
    return float((expected[: len(found)] - found)[there].abs().max() / expected.std())


def _unusual(model: Path) -> list[str]:
    """The fields of a config that are not its family's defaults, but for those in which any two models differ."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, trust_remote_code=False).get_text_config()
    return sorted(name for name in config.to_diff_dict() if not _OF_ANY.fullmatch(name))
