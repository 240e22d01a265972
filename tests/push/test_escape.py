"""What others wrote can be read in a log and on a page, and does nothing there."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.escape import block, code, harmless, shown

COMMANDS = [
    "::error::boom",
    "  ::set-output name=x::y",
    "\t::add-mask::x",
    "\u00a0::warning::x",
    "ok\n::stop-commands::x",
    "ok\r::error::x",
    "ok\r\n::error::x",
    "text ##[error]x",
    "\x1b[0Ksection_start:1:x\r\x1b[0K",
    "\u200b::error::x",
]


def is_command(line: str) -> bool:
    """As GitHub's runner tells it: behind white space, or in the old form anywhere."""
    return line.lstrip("\u200b\ufeff" + " \t\r\u00a0").startswith("::") or "##[" in line or "\x1b" in line


@pytest.mark.parametrize("text", COMMANDS)
def test_a_line_is_never_a_command_of_the_runner(text: str) -> None:
    assert any(is_command(line) for line in re.split(r"[\r\n]", text))
    assert not any(is_command(line) for line in re.split(r"[\r\n]", harmless(text)))


@given(st.text(alphabet=st.sampled_from([*":#[]e \t\r\n\x1b\u00a0\u200b\u2028"]), max_size=30))
def test_whatever_is_written_no_line_is_a_command(text: str) -> None:
    assert not any(is_command(line) for line in re.split(r"[\r\n]", harmless(text)))


def test_ordinary_text_stays_as_it_is() -> None:
    text = "submitted: a-1 in namespace x\n  größe: 3 :: 4 # [x]\n"
    assert harmless(text) == text


def test_everything_that_the_process_writes_is_filtered() -> None:
    program = (
        "import os, sys, subprocess\nfrom push.escape import harmless_output\n"
        "with harmless_output():\n"
        "    print('::error::print')\n    print('::error::err', file=sys.stderr)\n    os.write(1, b'::error::raw\\n')\n"
        "    subprocess.run(['echo', '::error::child'])\n    print('last, without an end', end='')\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "::error" not in done.stdout + done.stderr
    assert ": :error::print" in done.stdout and ": :error::raw" in done.stdout and ": :error::child" in done.stdout
    assert done.stderr == ": :error::err\n" and "last, without an endafter" in done.stdout


@pytest.mark.parametrize(
    "text", ["a`b", "``", "`", "a|b", "two\nlines", "@everyone", "<img src=x>", "[x](http://y)", "", " ", "a``b```c`"]
)
def test_a_code_span_holds_any_text(text: str) -> None:
    span = code(text)
    fence = re.match(r"`+", span)
    assert fence and span.endswith(fence[0]) and "\n" not in span
    inside = span[len(fence[0]) : -len(fence[0])]
    assert fence[0] not in re.findall(r"`+", inside)
    assert not re.search(r"(?<!\\)\|", inside)


def test_a_fenced_block_ends_only_at_its_end() -> None:
    text = "a\n```\n@everyone\n````\n~~~"
    lines = block(text).splitlines()
    assert lines[0] == "`````text" and lines[-1] == "`````" and lines.count("`````") == 1


def test_what_cannot_be_seen_is_written_out() -> None:
    assert shown(b"a\xff\n") == r"a\xff\n"
    assert shown("a\u202eb\x1b") == r"a\u202eb\x1b"
