"""The text of an importance matrix, rendered in a process of its own: the chat template comes from elsewhere.

<workdir>/calibration.txt
"""

from pathlib import Path

from job.artifacts import Frozen
from job.chat import calibration
from job.spec import JobSpec

NAME = "calibration"


class Inputs(Frozen):
    """`rows`: prepared rows of `kind`; `tokenizer`: a folder."""

    rows: Path
    kind: str
    tokenizer: Path


class Result(Frozen):
    """A file for llama-imatrix."""

    text: Path


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises DataInvalid and SpecInvalid."""
    text = workdir / "calibration.txt"
    template = spec.chat.template
    return Result(text=calibration.render_text(inputs.rows, inputs.kind, inputs.tokenizer, text, template=template))
