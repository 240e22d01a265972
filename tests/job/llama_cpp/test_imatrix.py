"""The importance matrix: which text it is made from, how much of it, and the user's own file."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from job.chat import calibration
from job.errors import DataInvalid, NotFound, SpecInvalid
from job.llama_cpp import bundle, imatrix
from job.logs import Progress

pytestmark = pytest.mark.slow

TALK = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def tokenizer_with(folder: Path, template: Any, **settings: Any) -> Path:
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template} | settings))
    return folder


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gguf") / "tiny-f16.gguf"
    converter = bundle.converter_path() / "convert_hf_to_gguf.py"
    command = [sys.executable, converter, tiny_model, "--outfile", out, "--outtype", "f16"]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"Row {n} of a text that is long enough.\n" for n in range(200)))
    return path


@pytest.fixture(scope="module")
def matrix(gguf: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imatrix.make_imatrix(gguf, text, tmp_path_factory.mktemp("matrix") / "imatrix.gguf", context=64)


def test_making_a_matrix_shows_its_progress_in_chunks_and_leaves_nothing_else(
    gguf: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress.__init__, "__kwdefaults__", {"every_s": 0.0})
    with capture_logs() as events:
        made = imatrix.make_imatrix(gguf, text, tmp_path / "imatrix.gguf", context=100)
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["unit"] == "chunks" and last["done"] == last["total"] > imatrix.FEW_CHUNKS
    assert not [event for event in events if event["event"] == "imatrix.little_text"]
    assert list(tmp_path.iterdir()) == [made]


def test_few_chunks_are_warned_about(gguf: Path, text: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("\n".join(text.read_text().split("\n")[:20]))
    with capture_logs() as events:
        imatrix.make_imatrix(gguf, short, tmp_path / "imatrix.gguf", context=64)
    (warning,) = [event for event in events if event["event"] == "imatrix.little_text"]
    assert warning["chunks"] < warning["wanted"] == imatrix.FEW_CHUNKS


@pytest.mark.parametrize(("said", "message"), [("short", r"\d tokens; it needs at least 1024"), ("", "no text")])
def test_too_little_text_says_how_much_is_needed(gguf: Path, tmp_path: Path, said: str, message: str) -> None:
    (tmp_path / "text.txt").write_text(said)
    with pytest.raises(DataInvalid, match=message):
        imatrix.make_imatrix(gguf, tmp_path / "text.txt", tmp_path / "imatrix.gguf", context=512)
    assert not (tmp_path / "imatrix.gguf").exists()


def test_the_users_own_matrix_is_taken_in_both_of_llama_cpps_formats(
    gguf: Path, matrix: Path, text: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old.dat"
    command = [bundle.program("llama-imatrix"), "-m", gguf, "-f", text, "-o", old, "--output-format", "dat", "-c", "64"]
    subprocess.run(command, check=True, capture_output=True)
    for own in (matrix, old):
        imatrix.copy_checked(own, tmp_path / "imatrix.gguf")
        assert (tmp_path / "imatrix.gguf").read_bytes() == own.read_bytes()
        command = [
            bundle.program("llama-quantize"),
            "--imatrix",
            tmp_path / "imatrix.gguf",
            gguf,
            tmp_path / "out.gguf",
        ]
        quantized = subprocess.run([*command, "iq4_xs"], check=True, capture_output=True, text=True)
        assert "did not find weights for blk" not in quantized.stdout + quantized.stderr


def test_what_is_no_matrix_is_refused(gguf: Path, tmp_path: Path) -> None:
    for name, content in (("text", b"a text, no matrix"), ("empty", b""), ("named", b"GGUF but imatrix in name only")):
        (tmp_path / name).write_bytes(content)
    for own in (gguf, tmp_path / "text", tmp_path / "empty", tmp_path / "named"):
        with pytest.raises(SpecInvalid, match=f"{own.name} is not an importance matrix"):
            imatrix.copy_checked(own, tmp_path / "never.gguf")
    for check in (imatrix.digest_of_file, lambda path: imatrix.copy_checked(path, tmp_path / "never.gguf")):
        with pytest.raises(NotFound, match="does not exist"):
            check(tmp_path / "missing.gguf")


def test_chats_are_rendered_as_training_saw_them(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    talks = [TALK, [{"role": "system", "content": "Be brief: ünïcode 🦙"}, *TALK, *TALK]]
    rows = write_rows(tmp_path / "train.jsonl", [{"messages": talk} for talk in talks])
    text = calibration.render_text(rows, "messages", tiny_model, tmp_path / "text.txt")
    expected = [tokenizer.apply_chat_template(talk, tokenize=False) for talk in talks]
    assert text.read_text(encoding="utf-8") == "\n".join(expected) + "\n"


def test_a_template_with_indented_blocks_renders_as_in_transformers(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    template = (
        "{%- for message in messages %}\n    {%- if message.role == 'assistant' %}\n"
        "        {%- generation -%}\n            {{ message.content }}{{ eos_token }}\n        {%- endgeneration %}\n"
        "    {% else %}\n[{{ message.role }}] {{ message | tojson }} {{ message.content }}\n"
        "    {% endif %}\n{% endfor %}"
    )
    rows = write_rows(tmp_path / "train.jsonl", [{"messages": TALK}])
    text = calibration.render_text(rows, "messages", tiny_model, tmp_path / "text.txt", template=template)
    expected = AutoTokenizer.from_pretrained(tiny_model).apply_chat_template(
        TALK, tokenize=False, chat_template=template
    )
    assert text.read_text() == expected + "\n"


def test_the_named_default_of_several_templates_is_taken(tmp_path: Path) -> None:
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    several = [{"name": "tool_use", "template": "wrong"}, {"name": "default", "template": template}]
    folder = tokenizer_with(tmp_path / "model", several, bos_token={"content": "<s>"})
    rows = write_rows(tmp_path / "train.jsonl", [{"messages": TALK}])
    assert calibration.render_text(rows, "messages", folder, tmp_path / "text.txt").read_text() == "<s>Who?Me.\n"


def test_without_a_template_the_turns_follow_each_other_and_a_warning_says_so(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", [{"messages": TALK}])
    with capture_logs() as events:
        text = calibration.render_text(
            rows, "messages", tokenizer_with(tmp_path / "model", None), tmp_path / "text.txt"
        )
    assert text.read_text() == "Who?\nMe.\n"
    assert [event["event"] for event in events] == ["imatrix.no_chat_template"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for m in messages %}",
        "{{ messages + 1 }}",
    ],
)
def test_a_template_that_refuses_fails_or_breaks_out_is_a_fault_of_the_data(tmp_path: Path, template: str) -> None:
    rows = write_rows(tmp_path / "train.jsonl", [{"messages": TALK}])
    folder = tokenizer_with(tmp_path / "model", template)
    with pytest.raises(DataInvalid, match="the chat template"):
        calibration.render_text(rows, "messages", folder, tmp_path / "text.txt")


def test_prompts_and_completions_are_joined_as_they_are(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", [{"prompt": "2 + 2 =", "completion": " 4"}])
    text = calibration.render_text(rows, "prompt_completion", tmp_path, tmp_path / "text.txt")
    assert text.read_text() == "2 + 2 = 4\n"


def test_a_large_data_set_is_taken_evenly_up_to_the_limit(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", [{"text": f"row {n:05d} {'é' * 40}"} for n in range(1000)])
    text = calibration.render_text(rows, "text", tmp_path, tmp_path / "text.txt", limit_bytes=10_000)
    taken = [int(line.split()[1]) for line in text.read_text(encoding="utf-8").splitlines()]
    assert 9_000 < text.stat().st_size < 10_200
    assert taken[0] == 0 and taken[-1] > 900 and len({b - a for a, b in pairwise(taken)}) == 1
