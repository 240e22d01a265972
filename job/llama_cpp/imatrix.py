"""The importance matrix: from the training rows, or the user's own file.

llama-imatrix runs the unquantized model over text and sums the squared activations of each column of each tensor
(llama.cpp's tools/imatrix/README.md); quantization then keeps the columns with large sums more exact.
"""

import re
import shutil
from pathlib import Path

from job import node
from job.artifacts import sha256_of, written_whole
from job.errors import Bug, DataInvalid, IntegrityViolated, NotFound, SpecInvalid
from job.llama_cpp import offload
from job.llama_cpp.windows import BATCH, MOST_CHUNKS
from job.logs import Progress, log

FEW_CHUNKS = 10  # with fewer, many columns have hardly any data
_CHUNKS = re.compile(r"computing over (\d+) chunks")
_CHUNK = re.compile(r"\[(\d+)\]")
_TOO_SHORT = re.compile(r"tokenizes to only (\d+) tokens")
_IMATRIX = re.compile(rb"GGUF.*general\.type\x08\x00{3}\x07\x00{7}imatrix", re.S)  # key, string, length 7


def digest_of_file(path: Path) -> str:
    """The SHA-256 of the user's own file. Raises NotFound if it does not exist."""
    if not path.is_file():
        raise NotFound(f"export.imatrix: the file {path} does not exist", hint="Name a file, or write auto or none.")
    return sha256_of(path)


def check_own(own: Path) -> None:
    """Checks that the user's file is a matrix: a GGUF of type imatrix, or llama.cpp's earlier binary format.

    Raises NotFound if the file does not exist, SpecInvalid if it is something else.
    """
    if not own.is_file():
        raise NotFound(f"export.imatrix: the file {own} does not exist", hint="Name a file, or write auto or none.")
    with own.open("rb") as file:
        head = file.read(4096)
    entries = int.from_bytes(head[:4], "little")  # the earlier format: number of entries, then the first name
    if not _IMATRIX.match(head) and not (0 < entries < 100_000 and b".weight" in head):
        raise SpecInvalid(
            f"export.imatrix: {own} is not an importance matrix", hint="Make one with llama-imatrix, or write auto."
        )


def copy_checked(own: Path, out: Path) -> None:
    """Copies the user's file, if it is a matrix. Raises what `check_own` does."""
    check_own(own)
    with written_whole(out) as temporary:
        shutil.copyfile(own, temporary)


def make_imatrix(gguf: Path, text: Path, out: Path, *, context: int = 512) -> Path:
    """Computes the matrix over `text` in chunks of `context` tokens, at most MOST_CHUNKS of them.

    Raises DataInvalid if the text does not fill two chunks, IntegrityViolated if the model computes NaN.
    """
    if not text.stat().st_size:
        raise DataInvalid("the training rows hold no text for an importance matrix")
    progress: list[Progress] = []

    def on_line(line: str) -> None:
        if found := _CHUNKS.search(line):
            chunks = int(found[1])
            progress[:] = [Progress("importance matrix", chunks, "chunks")]
            if chunks < FEW_CHUNKS:
                log.warning("imatrix.little_text", chunks=chunks, wanted=FEW_CHUNKS, tokens=FEW_CHUNKS * context)
        elif progress and (numbers := _CHUNK.findall(line)):
            progress[0].update(int(numbers[-1]))

    with written_whole(out) as temporary:
        made = temporary.with_name(temporary.name + ".gguf")  # llama-imatrix chooses the format by the suffix
        arguments: list[str | Path] = ["-m", gguf.absolute(), "-o", made.absolute()]
        # The text's path, as given, is written into the matrix and from there into the model.
        # Its default of 2048 needs four times the memory for keys, values and logits, which may push layers off a GPU.
        arguments += ["-f", text.name, "-c", str(context), "-b", str(max(context, BATCH))]
        arguments += ["--chunks", str(MOST_CHUNKS)]
        arguments += ["-t", str(node.threads()), "--parse-special", "--offline"]
        try:
            offload.run(
                "llama-imatrix", arguments, gguf=gguf, error=Bug, on_line=on_line, line_ends="\n,", cwd=text.parent
            )
            made.replace(temporary)
        except Bug as error:
            _translate(error, gguf, context)
        finally:
            made.unlink(missing_ok=True)
    return out


def _translate(error: Bug, gguf: Path, context: int) -> None:
    if found := _TOO_SHORT.search(error.message):
        raise DataInvalid(
            f"the training rows have too little text for an importance matrix: {found[1]} tokens; it needs at least "
            f"{2 * context}, and {FEW_CHUNKS * context} are sensible",
            hint="Use types that need no matrix, set a smaller evaluation.context, or name a matrix as export.imatrix.",
        ) from error
    if "non-finite values" in error.message:
        raise IntegrityViolated(f"{gguf.name} computes NaN or infinity\n{error.message}") from error
    raise error
