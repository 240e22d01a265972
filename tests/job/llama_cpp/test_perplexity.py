"""Files are judged on the token ids that training saw; a broken one does not pass the gate."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from job.errors import QualityRejected, StorageFailed
from job.evaluate import gate
from job.llama_cpp import perplexity as judging
from job.llama_cpp import quantize, windows
from job.llama_cpp.ends import ends_of
from job.llama_cpp.logits import packed, same_top
from job.spec import JobSpec
from job.tokens import stage as tokens
from tests.export_reference import exported, load, make_adapter, merged_by_peft
from tests.gguf_file import read_gguf
from tests.job.evaluate.judged import records
from tests.tiny_models import make_llama, training_text

CONTEXT = 64


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, **sections})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "eval.jsonl"
    lines = [line for line in training_text().split("\n") if len(line) > 60][:40]
    chats = [[{"role": "user", "content": line[:30]}, {"role": "assistant", "content": line[30:]}] for line in lines]
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return path


@pytest.fixture(scope="module")
def words(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> tokens.Result:
    inputs = tokens.Inputs(model=base, rows=rows, kind="messages")
    return tokens.run(spec(), inputs, tmp_path_factory.mktemp("ids"))


@pytest.fixture(scope="module")
def ids(words: tokens.Result) -> tokens.Stream:
    assert words.held_out
    return words.held_out


@pytest.fixture(scope="module")
def gguf(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(base, None, tmp_path_factory.mktemp("gguf"), export={"dtype": "f32"}).gguf


@pytest.mark.slow
def test_the_ids_are_those_that_the_trainer_saw(base: Path, rows: Path, ids: tokens.Stream, tmp_path: Path) -> None:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        args=SFTConfig(output_dir=str(tmp_path), max_length=1024, report_to=[], use_cpu=True, bf16=False),
        train_dataset=load_dataset("json", data_files=str(rows), split="train", cache_dir=str(tmp_path)),
        processing_class=AutoTokenizer.from_pretrained(base),
    )
    seen = [row["input_ids"] for row in trainer.train_dataset]
    assert [list(map(int, line.split())) for line in ids.ids.read_text().splitlines()] == seen
    assert ids.count == sum(map(len, seen))


@pytest.mark.slow
def test_the_perplexity_is_exp_of_the_merged_models_loss_in_transformers(
    base: Path, ids: tokens.Stream, tmp_path: Path
) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    made = exported(base, adapter, tmp_path / "out", export={"dtype": "f32"}).gguf
    chunks = ids.count // CONTEXT
    found = judging.perplexity(made, ids.ids, context=CONTEXT, chunks=chunks)
    model = load(merged_by_peft(base, adapter, tmp_path / "merged"), dtype=torch.float32)
    stream = torch.tensor([int(word) for word in ids.ids.read_text().split()][: chunks * CONTEXT]).view(-1, CONTEXT)
    stream[:, 0] = 1  # llama.cpp starts each window with BOS, where the model does
    half = CONTEXT // 2
    with torch.no_grad():
        logits = model(stream).logits[:, half:-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), stream[:, half + 1 :].flatten())
    assert math.log(found.value) == pytest.approx(float(loss), abs=1e-3)
    assert 0 < found.error < found.value


@pytest.mark.slow
def test_the_trace_in_transformers_meets_the_unquantized_file(
    base: Path, words: tokens.Result, ids: tokens.Stream, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoTokenizer

    from job.train.precision import Precision
    from job.train.trace import Answers, trace

    assert words.eval
    adapter = make_adapter(base, tmp_path / "adapter")
    model = PeftModel.from_pretrained(load(base, dtype=torch.float32), adapter)
    asked = spec(evaluation={"context": CONTEXT})
    precision = Precision(cuda=False, compute="float32", fp16=False, bf16=False)
    places, stops = list(range(0, ids.count, 5)), list(range(0, words.size, 4))  # any: this model ends nothing
    answers = Answers(ends=places, stops=stops)
    found = trace(asked, model, AutoTokenizer.from_pretrained(base), words.eval.path, precision, answers)
    assert found is not None and (found.context, found.chunks) == (CONTEXT, ids.count // CONTEXT)
    for folder, ours, ends in ((None, found.base, found.base_ends), (adapter, found.tuned, found.tuned_ends)):
        made = exported(base, folder, tmp_path / str(folder is None), export={"dtype": "f32"}).gguf
        logits = tmp_path / "logits.bin"
        theirs = judging.perplexity(made, ids.ids, context=CONTEXT, chunks=found.chunks, logits=logits)
        in_llama = ends_of(logits, places, stops, CONTEXT, found.chunks)
        assert ends and in_llama and 0 < ends.first < ends.answers == in_llama.answers
        assert ends.first == pytest.approx(in_llama.first, abs=1)
        assert ours.value == pytest.approx(theirs.value, rel=1e-3)
        assert ours.error == pytest.approx(theirs.error, rel=0.02)
    assert found.tops and same_top(logits, found.tops, CONTEXT, found.chunks) > 0.98, "the last file is the tuned one"
    assert 0 < found.ratio_error < found.base.error / found.base.value


@pytest.mark.slow
def test_the_logits_begin_with_what_is_read_of_them(
    gguf: Path, ids: tokens.Stream, words: tokens.Result, tmp_path: Path
) -> None:
    logits = tmp_path / "logits.bin"
    judging.perplexity(gguf, ids.ids, context=CONTEXT, chunks=3, logits=logits)
    data = logits.read_bytes()
    assert data[:8] == b"_logits_"
    assert struct.unpack_from("<Iii", data, 8) == (CONTEXT, words.size, 3)
    stream = [int(word) for word in ids.ids.read_text().split()][: 3 * CONTEXT]
    assert list(struct.unpack_from(f"<{3 * CONTEXT}i", data, 20)) == stream
    assert len(data) == 20 + 4 * 3 * CONTEXT + windows.logits_bytes(words.size, CONTEXT, 3)


def test_the_end_of_an_answer_is_looked_for_where_it_is_scored(tmp_path: Path) -> None:
    """Windows of 8 tokens, of which the last 3 are scored, and a vocabulary of 5."""
    likeliest = {(0, 0): 4, (0, 1): 2, (0, 2): 1, (1, 0): 3, (1, 1): 4, (1, 2): 4}
    data = b"_logits_" + struct.pack("<Iii", 8, 5, 2) + struct.pack("<16i", *range(16))
    for window in range(2):
        for row in range(3):
            words = [0] * 4 + [9] * 6
            words[4 + likeliest[window, row]] = 65535
            data += struct.pack("<10H", *words)
    (logits := tmp_path / "logits.bin").write_bytes(data)
    assert len(data) == 20 + 4 * 16 + windows.logits_bytes(5, 8, 2)
    found = ends_of(logits, [3, 5, 6, 13, 21], [4], 8, 2)  # 3 is not scored, 21 is behind the windows
    assert found and (found.first, found.answers) == (1, 3)
    assert ends_of(logits, [3], [4], 8, 2) is None


def test_the_tokens_that_another_model_puts_first_are_compared_row_by_row(tmp_path: Path) -> None:
    """Three scored rows of 5 words, as above, of which the first two have the same first word."""
    data = b"_logits_" + struct.pack("<Iii", 8, 5, 1) + struct.pack("<8i", *range(8))
    for likeliest in (4, 2, 1):
        data += struct.pack("<10H", *[0] * 4, *[65535 if word == likeliest else 9 for word in range(6)])
    (logits := tmp_path / "logits.bin").write_bytes(data)
    assert same_top(logits, packed([4, 2, 3]), 8, 1) == pytest.approx(2 / 3)
    assert same_top(logits, packed([4]), 8, 1) == 1


@pytest.mark.slow
def test_logits_that_a_full_disk_has_cut_off_are_noticed(gguf: Path, ids: tokens.Stream, tmp_path: Path) -> None:
    logits = tmp_path / "logits.bin"
    judging.perplexity(gguf, ids.ids, context=CONTEXT, chunks=2, logits=logits)
    with logits.open("r+b") as file:
        file.truncate(logits.stat().st_size - 1)
    with pytest.raises(StorageFailed, match="is full: the logits need"):
        judging._check_whole(logits, CONTEXT, 2)


@pytest.mark.parametrize(
    ("tokens", "context", "max_tokens", "expected"),
    [
        (10_000, 512, 32_768, (512, 19)),
        (100_000, 512, 32_768, (512, 64)),
        (600, 512, 32_768, (300, 2)),
        (204, 512, 32_768, (102, 2)),
        (201, 512, 32_768, (100, 0)),  # 98 tokens would be scored
        (63, 512, 32_768, (31, 0)),
        (0, 512, 32_768, (0, 0)),
        (10**7, 512, 10**7, (512, 526)),  # of a vocabulary of 16,000, 4 GiB hold no more
    ],
)
def test_as_many_windows_are_judged_as_there_are_tokens_and_disk(
    tokens: int, context: int, max_tokens: int, expected: tuple[int, int]
) -> None:
    assert windows.windows(tokens, 16_000, context, max_tokens) == expected


@pytest.mark.slow
def test_a_file_is_compared_with_the_unquantized_one(
    gguf: Path, ids: tokens.Stream, words: tokens.Result, tmp_path: Path
) -> None:
    chunks = ids.count // CONTEXT
    whole = judging.perplexity(gguf, ids.ids, context=CONTEXT, chunks=chunks, logits=tmp_path / "logits.bin")
    size = (tmp_path / "logits.bin").stat().st_size
    expected = windows.logits_bytes(words.size, CONTEXT, chunks)
    assert expected <= size <= expected + chunks * CONTEXT * 4 + 100
    found = {}
    for kind in ("q8_0", "q2_k"):
        made = quantize.run(spec(), quantize.Inputs(gguf=gguf, type=kind), tmp_path).files[0]
        found[kind] = judging.distance(made, tmp_path / "logits.bin", context=CONTEXT)
        assert found[kind].ratio == pytest.approx(found[kind].perplexity.value / whole.value, rel=1e-3)
    assert 0 <= found["q8_0"].kld < found["q2_k"].kld
    assert found["q8_0"].same_top > found["q2_k"].same_top


@pytest.mark.slow
def test_the_least_text_that_is_judged_gives_a_comparison(gguf: Path, ids: tokens.Stream, tmp_path: Path) -> None:
    least = next(count for count in range(64, 1000) if windows.windows(count, 16_000, 512, 32_768)[1])
    context, chunks = windows.windows(least, 16_000, 512, 32_768)
    few = tmp_path / "ids.txt"
    few.write_text(" ".join(ids.ids.read_text().split()[:least]))
    judging.perplexity(gguf, few, context=context, chunks=chunks, logits=tmp_path / "logits.bin")
    assert judging.distance(gguf, tmp_path / "logits.bin", context=context).same_top == 1


@pytest.mark.slow
def test_a_file_that_computes_the_same_as_the_unquantized_one_is_sound(
    gguf: Path, ids: tokens.Stream, tmp_path: Path
) -> None:
    """llama-perplexity then takes the root of a rounding error, for some texts of one below zero, and says `-nan`."""
    for chunks in range(4, 12):
        judging.perplexity(gguf, ids.ids, context=CONTEXT, chunks=chunks, logits=tmp_path / "logits.bin")
        same = judging.distance(gguf, tmp_path / "logits.bin", context=CONTEXT)
        assert same.ratio == pytest.approx(1, abs=1e-4) and same.kld == pytest.approx(0, abs=1e-4)
        assert 0 <= same.ratio_error < 1e-4


@pytest.mark.slow
def test_a_file_with_shuffled_tensors_does_not_pass_the_gate(gguf: Path, ids: tokens.Stream, tmp_path: Path) -> None:
    judging.perplexity(gguf, ids.ids, context=CONTEXT, chunks=4, logits=tmp_path / "logits.bin")
    broken = bytearray(gguf.read_bytes())
    head = read_gguf(gguf).tensors["output.weight"][2]
    at, half = broken.find(head), len(head) // 2
    broken[at : at + len(head)] = head[half:] + head[:half]  # each token gets another one's row
    (tmp_path / "broken.gguf").write_bytes(broken)
    distance = judging.distance(tmp_path / "broken.gguf", tmp_path / "logits.bin", context=CONTEXT)
    with pytest.raises(QualityRejected, match=r"Q8_0 \(8\.50 bits\)"):
        gate.check(spec(), records(distance=distance.model_dump()))
