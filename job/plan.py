"""`python -m job plan`: the resolved spec and what a run of it would do."""

from io import StringIO

from ruamel.yaml import YAML

from job.active_run import run_id, store_url, work_folder
from job.naming import run_name
from job.spec import JobSpec


def describe(spec: JobSpec) -> str:
    """The plan as text: the spec with its defaults, then the run's id, its places and its files."""
    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(spec.model_dump(mode="json"), text)
    lines = [text.getvalue().rstrip(), "", f"# run {run_id(spec)}", f"# store: {store_url(spec, work_folder())}"]
    if spec.training:
        batch = spec.training.per_device_train_batch_size * spec.training.gradient_accumulation_steps
        lines.append(f"# trains with {batch} rows a step, a checkpoint every {spec.training.save_steps} steps")
    lines += [f"# makes {run_name(spec)}-{kind.upper()}.gguf" for kind in spec.export.types]
    places = [spec.publish.folder, spec.publish.s3, spec.publish.hub and f"huggingface.co/{spec.publish.hub.repo_id}"]
    lines += [f"# publishes to {place}" for place in places if place] or [
        "# publishes nowhere: the store keeps the files"
    ]
    return "\n".join(lines)
