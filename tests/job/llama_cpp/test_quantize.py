"""Every type of the bundled llama.cpp, made for real from a tiny model, and what must not pass."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from job.errors import EnvironmentUnfit, IntegrityViolated, SpecInvalid, StorageFailed
from job.llama_cpp import bundle, imatrix, quantize
from job.llama_cpp.examine import Questions, examine, run
from job.node import threads
from job.spec import JobSpec
from job.spec.quants import EVERY_TYPE, NEEDS_IMATRIX, UNQUANTIZED
from tests.job.llama_cpp.gguf_package import gguf_module

pytestmark = pytest.mark.slow


def spec_with(**export: object) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "export": export})


def converted(model: Path, out: Path) -> Path:
    command = [
        sys.executable,
        bundle.converter_path() / "convert_hf_to_gguf.py",
        model,
        "--outfile",
        out,
        "--outtype",
        "f16",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return out


def damaged(gguf: Path, copy: Path, tensor: str, value: float) -> Path:
    """A copy in which every weight of one tensor is `value`."""
    shutil.copy(gguf, copy)
    for one in gguf_module().GGUFReader(copy, "r+").tensors:
        if one.name == tensor:
            one.data[...] = value
    return copy


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tiny_model, tmp_path_factory.mktemp("gguf") / "tiny-f16.gguf")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose width, 192, is a multiple of 32 and not of 256."""
    from tests.tiny_models import make_llama

    folder = tmp_path_factory.mktemp("narrow")
    model = make_llama(folder / "model", hidden=192, heads=6, layers=1)
    return converted(model, folder / "narrow-f16.gguf")


@pytest.fixture(scope="module")
def matrix(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return matrix_of(gguf, tmp_path_factory.mktemp("matrix"))


def matrix_of(gguf: Path, folder: Path) -> Path:
    text = folder / "calibration.txt"
    text.write_text("".join(f"Row {n} of a text that is long enough.\n" for n in range(80)))
    return imatrix.make_imatrix(gguf, text, folder / "imatrix.gguf", context=64)


def generate(gguf: Path) -> str:
    return examine(gguf, Questions()).generated


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_every_type_is_made_loads_and_generates(gguf: Path, matrix: Path, tmp_path: Path, kind: str) -> None:
    inputs = quantize.Inputs(gguf=gguf, type=kind, imatrix=matrix if kind in NEEDS_IMATRIX else None, name="tiny")
    result = quantize.run(spec_with(), inputs, tmp_path)
    (made,) = result.files
    assert generate(made)
    assert made.name == f"tiny-{kind}.gguf" and result.size == made.stat().st_size
    assert list(tmp_path.iterdir()) == [made]
    tensors = gguf_module().GGUFReader(made).tensors
    bits = 8 * sum(int(one.n_bytes) for one in tensors) / sum(int(one.n_elements) for one in tensors)
    assert result.bits_per_weight == pytest.approx(bits, abs=0.006)
    assert (kind in UNQUANTIZED) == (result.bits_per_weight >= 16)
    assert result.fallbacks == 0
    assert quantize.Result.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("kind", sorted(NEEDS_IMATRIX))
def test_a_type_that_needs_a_matrix_says_so(gguf: Path, tmp_path: Path, kind: str) -> None:
    with pytest.raises(SpecInvalid, match=f"{kind} needs an importance matrix"):
        quantize.run(spec_with(), quantize.Inputs(gguf=gguf, type=kind), tmp_path)


def test_a_matrix_leaves_no_path_of_this_machine_in_the_file(gguf: Path, matrix: Path, tmp_path: Path) -> None:
    inputs = quantize.Inputs(gguf=gguf, type="q4_k_m", imatrix=matrix)
    (made,) = quantize.run(spec_with(), inputs, tmp_path).files
    fields = gguf_module().GGUFReader(made).fields
    assert fields["quantize.imatrix.file"].contents() == "imatrix.gguf"
    assert fields["quantize.imatrix.dataset"].contents() == "calibration.txt"


def test_a_matrix_of_another_model_is_a_fault_of_the_spec(gguf: Path, narrow: Path, tmp_path: Path) -> None:
    other = matrix_of(narrow, tmp_path)
    with pytest.raises(SpecInvalid, match="this matrix cannot be used to make q4_k_m"):
        quantize.run(spec_with(), quantize.Inputs(gguf=gguf, type="q4_k_m", imatrix=other), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_mxfp4_moe_of_a_model_without_experts_is_said_to_be_q8_0(gguf: Path, tmp_path: Path) -> None:
    with capture_logs() as events:
        result = quantize.run(spec_with(), quantize.Inputs(gguf=gguf, type="mxfp4_moe"), tmp_path)
    assert "quantize.no_experts" in [event["event"] for event in events]
    types = {one.tensor_type.name for one in gguf_module().GGUFReader(result.files[0]).tensors}
    assert types == {"Q8_0", "F32"}


def test_a_width_that_k_quants_cannot_divide_falls_back_and_is_counted(narrow: Path, tmp_path: Path) -> None:
    result = quantize.run(spec_with(), quantize.Inputs(gguf=narrow, type="q4_k_m"), tmp_path)
    types = [one.tensor_type.name for one in gguf_module().GGUFReader(result.files[0]).tensors]
    # output.weight is among these and no fallback: where k-quants do not fit, it gets Q8_0 by llama.cpp's own rule.
    assert result.fallbacks == types.count("Q5_0") + types.count("Q8_0") - 1 > 0
    assert result.bits_per_weight > 5


def test_the_type_of_the_export_is_the_same_file_without_a_copy(gguf: Path, tmp_path: Path) -> None:
    (made,) = quantize.run(spec_with(dtype="f16"), quantize.Inputs(gguf=gguf, type="f16"), tmp_path).files
    assert made.samefile(gguf)
    (wider,) = quantize.run(spec_with(dtype="f16"), quantize.Inputs(gguf=gguf, type="f32"), tmp_path).files
    assert wider.stat().st_size > 1.9 * gguf.stat().st_size


def test_a_file_is_split_by_size_and_the_parts_load(gguf: Path, tmp_path: Path) -> None:
    for name in ("tiny-f16-00001-of-00009.gguf", ".tiny-f16.gguf.77.tmp", "tiny-f16.gguf"):
        (tmp_path / name).write_text("of an attempt that was killed")
    (tmp_path / "tiny-f16-notes.gguf").write_text("of somebody else")
    result = quantize.run(spec_with(split_max_size="1M"), quantize.Inputs(gguf=gguf, type="f16", name="tiny"), tmp_path)
    count = len(result.files)
    assert count > 1 and [f"tiny-f16-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1)] == [
        path.name for path in result.files
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"tiny-f16-notes.gguf", *(path.name for path in result.files)}
    assert generate(result.files[0]) == generate(gguf)
    result.files[-1].unlink()
    with pytest.raises(IntegrityViolated, match=r"tiny-f16-00001-of-\d+\.gguf does not run in llama\.cpp"):
        generate(result.files[0])


def test_what_is_quantized_already_is_not_quantized_again(gguf: Path, tmp_path: Path) -> None:
    (once,) = quantize.run(spec_with(), quantize.Inputs(gguf=gguf, type="q8_0"), tmp_path).files
    for kind in ("q4_k_m", "f16"):
        with pytest.raises(SpecInvalid, match=r"model-q8_0\.gguf is quantized already \(q8_0\)"):
            quantize.run(spec_with(), quantize.Inputs(gguf=once, type=kind), tmp_path / kind)


def test_a_damaged_file_is_refused_with_its_name(gguf: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken-q4_0.gguf"
    for size in (0, 10, 20_000, gguf.stat().st_size // 2):
        broken.write_bytes(gguf.read_bytes()[:size])
        with pytest.raises(IntegrityViolated, match=r"broken-q4_0\.gguf does not run"):
            generate(broken)
        with pytest.raises(IntegrityViolated, match=r"broken-q4_0\.gguf is not a GGUF"):
            quantize.run(spec_with(), quantize.Inputs(gguf=broken, type="q4_0"), tmp_path / "out")


@pytest.mark.parametrize("kind", ["f16", "q4_k_m", "q8_0", "f32"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(gguf: Path, tmp_path: Path, kind: str, value: float) -> None:
    broken = damaged(gguf, tmp_path / "broken.gguf", "blk.1.ffn_up.weight", value)
    with pytest.raises(IntegrityViolated, match=kind):
        generate(quantize.run(spec_with(), quantize.Inputs(gguf=broken, type=kind), tmp_path / "out").files[0])


def test_a_model_that_computes_nan_from_finite_weights_is_refused(gguf: Path, tmp_path: Path) -> None:
    broken = damaged(gguf, tmp_path / "broken.gguf", "blk.0.attn_norm.weight", 1e30)
    with pytest.raises(IntegrityViolated, match=r"model-f16\.gguf computes NaN"):
        generate(quantize.run(spec_with(), quantize.Inputs(gguf=broken, type="f16"), tmp_path).files[0])


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, a write past this size fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_while_quantizing_is_named_and_nothing_is_left(gguf: Path, tmp_path: Path) -> None:
    with files_of_at_most(1_000_000), pytest.raises(StorageFailed, match="the disk is full"):
        quantize.run(spec_with(), quantize.Inputs(gguf=gguf, type="q8_0"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_splitting_is_named(gguf: Path, tmp_path: Path) -> None:
    inputs = quantize.Inputs(gguf=gguf, type="f16")
    with files_of_at_most(900_000), pytest.raises(StorageFailed, match="the disk is full"):
        quantize.run(spec_with(split_max_size="1M"), inputs, tmp_path)


def test_a_file_that_will_not_fit_is_refused_before_it_is_written(gguf: Path, tmp_path: Path) -> None:
    rows = 2 * shutil.disk_usage(tmp_path).total // 272  # 272 bytes are a row of 256 weights in q8_0
    huge = sparse_llama(tmp_path / "huge.gguf", rows=int(rows))
    with pytest.raises(StorageFailed, match=r"has [\d.]+ GB free, and [\d.]+ GB are needed"):
        quantize.run(spec_with(), quantize.Inputs(gguf=huge, type="q8_0"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def sparse_llama(path: Path, *, rows: int) -> Path:
    """A GGUF whose one tensor is a hole in the file: it takes no disk, and what is made of it would."""
    gguf = gguf_module()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(256)
    writer.add_feed_forward_length(256)
    writer.add_head_count(4)
    writer.add_layer_norm_rms_eps(1e-5)
    size = rows * 512
    writer.add_tensor_info("token_embd.weight", (rows, 256), gguf.np.dtype("float16"), size)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_ti_data_to_file):
        write()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 64 + size)
    return path


def test_nothing_of_what_llama_cpp_says_is_lost_when_it_ends(gguf: Path) -> None:
    said = {generate(gguf) for _ in range(15)}
    assert len(said) == 1 and said != {""}


def test_a_program_that_takes_too_long_is_no_fault_of_the_file(gguf: Path) -> None:
    with pytest.raises(EnvironmentUnfit, match="took longer than 0 s"):
        run(gguf, {"answers": []}, timeout_s=0.001)


def test_the_threads_are_those_that_this_process_may_use() -> None:
    assert 1 <= threads() <= len(os.sched_getaffinity(0))
