"""Seconds that llama.cpp takes for what comes after a training: the importance matrix, the types, judging them.

On a GPU by one NVIDIA H200 with Llama-2-7B (docs/prediction.md), on CPUs by this project's own.
"""

import re
from collections.abc import Iterator
from math import prod

from job.artifacts import Frozen
from job.llama_cpp.speed import ON_CPU, ON_GPU, REPETITIONS
from job.llama_cpp.windows import scored
from job.predict.anatomy import Anatomy
from job.predict.cases_here import Cases
from job.predict.disk import Sizes
from job.predict.gpus import Gpu
from job.predict.training_time import flops
from job.spec import JobSpec
from job.spec.fit import FIT, Fit
from job.spec.quants import HELPED_BY_IMATRIX, NEEDS_IMATRIX, UNQUANTIZED

DISK = 300e6
"""Bytes per second from and to the node's disk."""
CACHED = 6e9
"""Bytes of a file that stay in a pod's memory between two programs; a larger one is read again by each."""
CPU_FLOPS = 60e9
"""Operations per second of one CPU: a 7B model reads 18 tokens a second on four."""
CPU_BANDWIDTH = 20e9
"""Bytes per second from all CPUs' memory: what a generated token takes, which reads all weights."""
GENERATION_SHARE = 0.6
"""The share of a GPU's bandwidth that a generated token reaches."""
LOGITS_PER_S = 250e6
"""Logits per second that the host turns into probabilities and writes."""
MATRIX_VALUES_PER_S = 1e9
"""Inputs of linear layers per second that one CPU copies, squares and adds for an importance matrix."""
WEIGHTS_PER_S = {"quick": (12e6, 35e6), "k": (4e6, 7e6), "iq": (1e6, 1e6)}
"""Weights per second that one CPU quantizes with an importance matrix and without: q4_0 to q6_k, k-quants, i-quants."""
BESIDE_BITS = 0.85
"""Bits of a weight beside those in the type's name: scales, and tensors of a larger type."""
BENCH_TOKENS, BENCH_TOKENS_CPU = REPETITIONS * ON_GPU[1], REPETITIONS * ON_CPU[1]
"""Tokens that are generated to measure the speed: on a GPU, and on a CPU for each number of threads."""

ENDED = 0.5
"""The share of its tokens after which an answer likely ends."""
SLOTS_GPU, SLOTS_CPU = 4, 2
"""How many answers a program writes in the time of one."""
COMPARED = 6
"""Files that a found mix is judged beside: presets, and the mix itself."""
PROBED = 16
"""Groups of tensors, about as large as each other: one has another type in a probe."""
FIRST_LAYERS, FIRST_TOKENS = 4, 256
"""What llama.cpp and transformers are compared on before a training (job/agreement)."""


class Llama(Frozen):
    """What llama.cpp computes on. `gpu`: None if it has no CUDA or there is no GPU."""

    gpu: Gpu | None
    cpus: int


def matrix_s(model: Anatomy, size: Sizes, on: Llama, tokens: float, context: int) -> float:
    """Seconds of the importance matrix over `tokens` tokens."""
    inputs = sum(columns for _, columns in (*model.linear.values(), *model.routed.values()))
    columns = model.layers * inputs + model.width
    return size.unquantized / DISK + read_s(model, on, tokens, context) + tokens * columns / MATRIX_VALUES_PER_S


def agree_s(model: Anatomy, size: Sizes, cpus: int) -> float:
    """Seconds in which a model's first layers are read, computed twice on CPUs and written in between."""
    layers = model.linear_parameters + model.expert_parameters
    rest = model.parameters - layers
    kept = rest + layers * min(FIRST_LAYERS, model.layers) // model.layers
    bytes_ = (model.stored_bytes + size.unquantized) * kept / model.parameters
    return bytes_ / DISK + 2 * FIRST_TOKENS * 2 * kept / (cpus * CPU_FLOPS)


def read_s(model: Anatomy, on: Llama, tokens: float, context: int) -> float:
    """Seconds in which a loaded model reads `tokens` tokens, without their logits."""
    blocks = 2 * (model.active_parameters + model.vocabulary * model.width) + 2 * context * prod(
        (model.heads, model.head, model.layers)
    )
    return tokens * blocks / (flops(on.gpu) if on.gpu else on.cpus * CPU_FLOPS)


def quantize_s(spec: JobSpec, model: Anatomy, size: Sizes, cpus: int) -> float:
    """Seconds of making all types."""
    helped = spec.export.imatrix != "none"

    def seconds(kind: str) -> float:
        with_matrix, without = WEIGHTS_PER_S[_speed(kind)]
        rate = with_matrix if helped and (kind in HELPED_BY_IMATRIX or kind.startswith(FIT)) else without
        return max(model.parameters / (cpus * rate), size.unquantized / DISK)

    return sum(map(seconds, types_made(spec)))


def types_made(spec: JobSpec) -> list[str]:
    """The types that are quantized."""
    return [kind for kind in spec.export.labels if kind not in UNQUANTIZED]


def search_s(spec: JobSpec, model: Anatomy, size: Sizes, on: Llama, tokens: float) -> float:
    """Seconds of the searches for a mix, on half of `tokens` tokens of rows, and of judging the presets that each is
    compared with. Two thirds of the candidates are probes, which have q8_0 but for one group."""
    quick, slow = (model.parameters / (on.cpus * rate) for rate in (WEIGHTS_PER_S["quick"][1], WEIGHTS_PER_S["k"][0]))
    judged = size.half * 0.5 / DISK + read_s(model, on, tokens / 2, spec.evaluation.context)
    judged += tokens / 2 * scored(spec.evaluation.context) / spec.evaluation.context * model.vocabulary / LOGITS_PER_S

    def seconds(fit: Fit) -> float:
        probes = fit.judgings * 2 // 3
        others = fit.judgings - probes + COMPARED
        return probes * (quick + slow / PROBED + judged) + others * (slow + judged)

    return sum(map(seconds, spec.export.fits))


def waiting_s(made: float, judged: list[float], on: Llama) -> float:
    """Seconds of `made`, in which the types are made, that nothing is judged in: with a GPU the types are made while
    others are judged, but the last, which is judged when it is made. `judged`: seconds for each file."""
    return max(0.0, made - sum(judged[:-1])) if on.gpu else made


def judging_s(spec: JobSpec, model: Anatomy, size: Sizes, on: Llama, tokens: float) -> list[float]:
    """Seconds of judging the unquantized file and each type on `tokens` tokens of rows."""
    return [file_s(spec, model, count, on, tokens, loads) for count, loads in _judged(spec, size)]


def file_s(spec: JobSpec, model: Anatomy, count: int, on: Llama, tokens: float, loads: int) -> float:
    """Seconds of judging one file of `count` bytes that `loads` programs load."""
    evaluation = spec.evaluation
    tokens += evaluation.max_tokens if evaluation.text else 0
    seconds = count * (loads if count > CACHED else 1) / DISK + read_s(model, on, tokens, evaluation.context)
    seconds += tokens * scored(evaluation.context) / evaluation.context * model.vocabulary / LOGITS_PER_S
    generated = evaluation.samples * evaluation.max_new_tokens
    generated += BENCH_TOKENS if on.gpu else BENCH_TOKENS_CPU * len(evaluation.threads)
    return seconds + generated * count / (on.gpu.bandwidth * 1e9 * GENERATION_SHARE if on.gpu else CPU_BANDWIDTH)


def scoring_s(spec: JobSpec, model: Anatomy, size: Sizes, on: Llama, cases: Cases, share: float) -> float:
    """Seconds in which the unquantized file and each type answer `evaluation.tasks`, if answers have this share of
    their tokens."""
    tasks = spec.evaluation.tasks
    if not tasks:
        return 0.0
    steps = cases.count * tasks.max_new_tokens * share / (SLOTS_GPU if on.gpu else SLOTS_CPU)
    each = on.gpu.bandwidth * 1e9 * GENERATION_SHARE if on.gpu else CPU_BANDWIDTH
    read = read_s(model, on, cases.count * cases.tokens, round(cases.tokens))
    return sum(read + count / DISK + steps * count / each for count, _ in _judged(spec, size))


def _judged(spec: JobSpec, size: Sizes) -> Iterator[tuple[int, int]]:
    """The bytes of each file, and how many programs load it: perplexity, and everything else."""
    yield size.unquantized, 2
    yield from ((likely_bytes(size, kind), 2) for kind in types_made(spec))


def likely_bytes(size: Sizes, kind: str) -> int:
    """The bytes of a type's file. Without llama-quantize's forecast, `size` has the most that any type needs."""
    bits = re.search(r"\d", kind) if kind not in UNQUANTIZED and not kind.startswith(FIT) else None
    return min(size.files[kind], int(size.half * (int(bits[0]) + BESIDE_BITS) / 16)) if bits else size.files[kind]


def _speed(kind: str) -> str:
    if kind.startswith(FIT):
        return "k"
    if kind in NEEDS_IMATRIX or kind.startswith("iq"):
        return "iq"
    return "k" if "_k" in kind and kind != "q6_k" else "quick"
