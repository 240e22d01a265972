"""`python -m job plan`: shows the resolved spec, what a run would do, and what it would need."""

from collections.abc import Iterator
from io import StringIO

from ruamel.yaml import YAML

from job.errors import NotFound, UsageInvalid
from job.escape import harmless
from job.fetch.identity import run_id
from job.predict.gpus import TWO_SIZES, Gpu, gpus_named
from job.predict.needs import needs
from job.run.folders import store_url, work_folder
from job.spec import JobSpec
from job.spec.unused import unused


def describe(spec: JobSpec, gpu: str | Gpu | None = None, price: float | None = None) -> str:
    """The plan as YAML with comments. Raises UsageInvalid for an unknown GPU.

    Of two cards with one name the smaller counts: what fits into it fits into both.
    """
    try:
        cards = [gpu] if isinstance(gpu, Gpu) else gpus_named(gpu) if gpu else []
    except ValueError as error:
        raise UsageInvalid(f"--gpu: {error}") from error
    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(spec.shown(), text)
    lines = [*_run(spec), "", *needs(spec, cards[0] if cards else None, price)]
    if len(cards) > 1:
        lines += ["", f"{TWO_SIZES}; this is the plan for {cards[0].name}"]
    return "\n".join([text.getvalue().rstrip(), "", *(f"# {harmless(line)}".rstrip() for line in lines)])


def _run(spec: JobSpec) -> Iterator[str]:
    try:
        yield f"run {run_id(spec)}"
    except NotFound as error:
        yield f"{error.message}: a run would fail"
    yield f"store: {store_url(spec, work_folder())}"
    yield from unused(spec)
    if spec.training:
        batch = spec.training.per_device_train_batch_size * spec.training.gradient_accumulation_steps
        yield f"trains with {batch} rows a step, a checkpoint every {spec.training.save_steps} steps"
    yield from [f"publishes to {address}" for address in spec.publish.addresses] or [
        "publishes to no place: the store keeps the files"
    ]
