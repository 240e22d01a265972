"""Text by others can only be read: it drives no terminal, and makes no heading, link or mention on a page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.escape import chat, code_block, harmless, markdown, one_line

NASTY = "a\x1b]0;title\x07b\x9b31mc\rd\u202ee\u2028f\x85g\x00h"


def test_control_characters_are_shown_as_escapes() -> None:
    assert harmless(NASTY) == r"a\x1b]0;title\x07b\x9b31mc\rd\u202ee\u2028f\x85g\x00h"
    assert harmless("two\r\nlines\tand a tab\n") == "two\nlines\tand a tab\n"
    assert one_line("two\nlines") == r"two\nlines"


@given(st.text())
def test_nothing_but_line_feeds_and_tabs_moves_the_cursor(text: str) -> None:
    assert all(sign.isprintable() or sign in "\n\t" or not sign.isascii() for sign in harmless(text))
    assert one_line(text).isprintable()


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028"])
def test_no_line_end_leaves_a_code_block(end: str) -> None:
    block = code_block(f"<s>{end}# Heading{end}[click](https://evil.example)")
    assert all(line.startswith("    ") for line in block.splitlines())


@pytest.mark.parametrize(
    "text",
    ["# Heading", "[click](https://evil.example)", "![x](y)", "<img src=x>", "`code`", "*bold*", "a | b", "@someone",
     "https://evil.example/x", "www.evil.example", "mailto:me@example.com", "line\n# Heading"],
)  # fmt: skip
def test_words_on_a_page_stay_words(text: str) -> None:
    plain = markdown(text)
    assert not set("[]<>`*|@\n") & set(plain)
    assert "https:" not in plain and "www." not in plain and not plain.startswith("#")


def test_ordinary_words_stay_as_they_are() -> None:
    text = "me/SmolLM2-135M_tuned, fine-tuned on rows.jsonl (2,048 tokens): 94.6% ± 0.1"
    assert markdown(text) == harmless(text) == text


def test_a_chat_is_not_told_to_call_anybody() -> None:
    assert chat("<!channel> @everyone <https://evil.example|log in>") == (
        "< !channel> @ everyone < https://evil.example|log in>"
    )
