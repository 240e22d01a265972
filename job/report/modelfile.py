"""Ollama's Modelfile: the file, the chat template in Ollama's language, and the texts that end an answer.

The language: https://github.com/ollama/ollama/blob/main/docs/template.md (Go's text/template).
"""

from collections.abc import Sequence

from job.chat.prompt_format import PromptFormat
from job.redaction import redact

_QUOTES = '"""'


def modelfile(gguf: str, form: PromptFormat | None, stops: Sequence[str]) -> str:
    """The Modelfile of one GGUF. If the template's parts are not known, it has no template, and Ollama reads the
    GGUF's."""
    lines = [f"FROM ./{gguf}"]
    template = form and go_template(form)
    if template is not None:
        lines.append(f"TEMPLATE {_QUOTES}{template}{_QUOTES}")
    lines += [f'PARAMETER stop "{stop}"' for stop in stops if '"' not in stop and stop.isprintable()]
    return redact("\n".join(lines) + "\n")


def go_template(form: PromptFormat) -> str | None:
    """One turn of a conversation; Ollama repeats it. None if a text would be parsed as an instruction."""
    parts = [form.system or "", form.system_end, form.user, form.assistant, form.end]
    if any("{{" in part or _QUOTES in part for part in parts):
        return None
    start = form.user
    if form.system is not None:
        start = (
            f"{{{{ if .System }}}}{form.system}{{{{ .System }}}}{form.system_end}{{{{ else }}}}{form.user}{{{{ end }}}}"
        )
    gap = f"{{{{ if .Response }}}}{form.gap}{{{{ end }}}}" if form.gap else ""
    return f"{start}{{{{ .Prompt }}}}{form.assistant}{gap}{{{{ .Response }}}}{form.end}"
