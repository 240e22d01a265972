"""Makes text by others harmless wherever it is shown: on a terminal, in Markdown, in a chat.

A model's answer, a chat template, a file's name and a library's message may contain sequences that drive a terminal,
and words that a page takes for its own headings, links and HTML.
"""

import json
import re

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_MARKS = re.compile(r"[\\`*\[\]<>|&@]|(?<!\S)#")
_LINKS = re.compile(r"\b(https?|ftp|mailto|xmpp|www)([:.])", re.I)  # GitHub and the Hub make links of bare ones


def harmless(text: str) -> str:
    """The text with control characters and invisible ones as escapes (`\\x1b`); line feeds and tabs stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def harmless_json(text: str) -> str:
    """JSON with these characters escaped as JSON does, so that a terminal can show the line."""
    return _CONTROL.sub(lambda found: json.dumps(found[0], allow_nan=False)[1:-1], text)


def one_line(text: str) -> str:
    """The same on one line: everything that is not printable as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def markdown(text: str) -> str:
    """Plain words in a line or a cell of Markdown: no heading, link, picture, mention, code or HTML."""
    plain = _MARKS.sub(lambda mark: f"&#{ord(mark[0])};", one_line(text))
    return _LINKS.sub(lambda found: f"{found[1]}&#{ord(found[2])};", plain)


def code_block(text: str) -> str:
    """An indented code block, which no text can end."""
    return "\n".join(f"    {line}" for line in harmless(text).split("\n"))


def chat(text: str) -> str:
    """Text for a chat, in which it mentions nobody and links nothing (Slack and Google Chat: `<!channel>`,
    `<address|words>`)."""
    return re.sub(r"@(?=channel|all|here|everyone)", "@ ", re.sub(r"<(?=[!@#\w])", "< ", harmless(text)))
