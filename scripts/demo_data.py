#!/usr/bin/env python3
"""Writes the demo's data set: questions about Python's standard library, answered as its own help does.

    scripts/demo_data.py OUT.jsonl

Each row is a conversation: `What does textwrap.dedent do?`, and the answer is the signature, then the first paragraph
of the docstring. The text is that of the Python that runs this, so nothing is downloaded. The answers are short and
all of one shape, so a few dozen steps of training show.
"""

import importlib
import inspect
import json
import random
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = """
    argparse array ast asyncio base64 bisect calendar cmath cmd code codecs collections colorsys compileall
    concurrent.futures configparser contextlib copy csv ctypes dataclasses datetime decimal difflib dis doctest
    email.message email.utils enum filecmp fileinput fnmatch fractions ftplib functools gc getpass gettext glob graphlib
    gzip hashlib heapq hmac html html.parser http.client http.cookiejar http.cookies http.server imaplib importlib
    importlib.metadata importlib.util inspect io ipaddress itertools json keyword linecache locale logging
    logging.handlers lzma mailbox math mimetypes mmap multiprocessing netrc numbers operator optparse os os.path pathlib
    pdb pickle pickletools pkgutil platform plistlib poplib pprint profile pstats pyclbr queue quopri random re reprlib
    runpy sched secrets select selectors shelve shlex shutil signal smtplib socket socketserver sqlite3 ssl stat
    statistics string struct subprocess symtable sys sysconfig tabnanny tarfile tempfile textwrap threading time timeit
    token tokenize trace traceback tracemalloc types typing unicodedata unittest unittest.mock urllib.parse
    urllib.request uuid warnings wave weakref webbrowser xml.dom.minidom xml.etree.ElementTree xml.sax xmlrpc.client
    zipapp zipfile zlib zoneinfo
"""
SHORTEST, LONGEST = 20, 160  # characters of an answer's text: a row stays below 100 tokens of SmolLM2
ORDER = 7  # the rows are shuffled, so that the first ones are of many modules


def main() -> int:
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} OUT.jsonl", file=sys.stderr)
        return 64
    rows = make_rows()
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    temporary.replace(out)
    print(f"{len(rows)} rows: {out}")
    return 0


def make_rows() -> list[dict[str, Any]]:
    """Every answer once: a text that several names share would stand on both sides of the held-out split."""
    warnings.simplefilter("ignore", DeprecationWarning)  # some names only warn that they are old
    answers: dict[str, tuple[str, str]] = {}
    for module in MODULES.split():
        for name, thing in documented(importlib.import_module(module), module):
            if (signature := signature_of(thing)) and (text := first_paragraph(thing)):
                answers.setdefault(text, (name, name + signature))
    rows = [chat(f"What does {name} do?", f"{called}\n\n{text}") for text, (name, called) in answers.items()]
    random.Random(ORDER).shuffle(rows)
    return rows


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def documented(module: ModuleType, name: str) -> Iterator[tuple[str, Any]]:
    """The public functions and classes of a module, and the public methods of its classes, under their full names."""
    for short in public(module, name):
        thing = getattr(module, short)
        if callable(thing):
            yield f"{name}.{short}", thing
        if inspect.isclass(thing):
            for method in sorted(vars(thing)):
                if not method.startswith("_") and callable(getattr(thing, method, None)):
                    yield f"{name}.{short}.{method}", getattr(thing, method)


def public(module: ModuleType, name: str) -> list[str]:
    """What `__all__` names, else what is not private and not imported from elsewhere."""
    if hasattr(module, "__all__"):
        return sorted(short for short in module.__all__ if hasattr(module, short))
    homes = {short: str(getattr(thing, "__module__", "")) for short, thing in vars(module).items()}
    return sorted(short for short, home in homes.items() if not short.startswith("_") and home.startswith((name, "_")))


def signature_of(thing: Any) -> str | None:
    """`(text, width=70)`, without annotations; None where Python cannot say or it is long."""
    try:
        signature = inspect.signature(thing)
    except (ValueError, TypeError):
        return None
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    if bare and bare[0].name == "self":
        bare = bare[1:]
    said = str(inspect.Signature(bare))
    return said if len(said) <= 60 and "<" not in said else None  # <object object at 0x7f…>


def first_paragraph(thing: Any) -> str | None:
    """The first paragraph of the docstring on one line, if it is a sentence of a sensible length."""
    text = re.sub(r"\s+", " ", (inspect.getdoc(thing) or "").split("\n\n")[0]).strip()
    sentence = re.fullmatch(r"[A-Z][^\\]*[.]", text) and SHORTEST <= len(text) <= LONGEST
    return text if sentence and text.isascii() and not text.startswith("See ") else None


if __name__ == "__main__":
    sys.exit(main())
