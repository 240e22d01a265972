"""Whether a run may read and write where its spec says, tried before it is started (`check --access`)."""

from collections.abc import Iterator

from job import active_run, sources
from job.spec import JobSpec
from job.stages.publish import Publisher
from job.store import open_store


def check_access(spec: JobSpec) -> Iterator[str]:
    """A line for each thing that was tried. Raises what the first place says that refuses: NotFound, AccessDenied,
    ServiceUnavailable and the like."""
    pinned = sources.resolve(spec)
    sources.config_of(spec, pinned)
    yield f"{spec.model.id}: readable"
    yield from (f"{one.id}: readable" for one in spec.datasets)
    if spec.run.store:
        open_store(spec.run.store).probe()
        yield f"{spec.run.store}: writable"
    Publisher(spec, active_run.run_id(spec)).check_write()
    hub = spec.publish.hub
    places = (spec.publish.folder, spec.publish.s3, f"hf://{hub.repo_id}" if hub else None)
    yield from (f"{place}: writable" for place in places if place)
