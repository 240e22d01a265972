"""The conversation: a prompt on a terminal, or each line of a pipe; answers as they come.

With a second file both answer, side by side on a terminal, one below the other in a pipe. What a model says is shown
without what would drive the terminal.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from job import logs
from job.errors import NotFound
from job.escape import harmless
from job.sentences import sentence
from job.talk.choice import model_at
from job.talk.speaker import Settings, Speaker, TooLong, speaking

CLEAR, EXIT = "/clear", "/exit"
FULL = "[this does not fit into the context any more: /clear begins anew, --context makes room]"
NARROWEST = 80
"""Columns of a terminal in which two answers stand side by side."""


class Talker:
    """One model with its side of the conversation."""

    def __init__(self, speaker: Speaker, most: int) -> None:
        self.speaker, self.said = speaker, ""
        self.name = speaker.model.path.stem
        self._most, self._messages = most, list[dict[str, str]]()

    def clear(self) -> None:
        self._messages.clear()

    def answer(self, prompt: str) -> Iterator[str]:
        """The answer in pieces, and in `said` as far as it has come. Only whole turns are remembered."""
        self.said = ""
        asked = [*self._messages, {"role": "user", "content": prompt}]
        answer = self.speaker.answer(asked)
        try:
            while True:
                piece = next(answer)
                self.said += piece
                yield harmless(piece)
        except StopIteration as end:
            self._messages = [*asked, {"role": "assistant", "content": self.said}]
            if end.value:
                yield f" [cut after {self._most} tokens: --tokens allows more]"
        except TooLong:
            yield FULL
        finally:
            answer.close()


def talk(place: Path, against: Path | None, settings: Settings) -> None:
    """Talks until the end of the input. Ctrl-C raises KeyboardInterrupt, with the servers ended."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    notes = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def tell(text: str) -> None:
        notes.print(harmless(text), style="dim")

    logs.configure(lambda record: _pass_on(record, tell), to_stdout=False)  # stdout is for answers
    models = [model_at(one, _asked if interactive else None, tell) for one in (place, against) if one]
    if len(models) == 2 and models[0].path.samefile(models[1].path):
        raise NotFound(f"{models[0].path.name} is both files", hint="Name another file with --against.")
    with ExitStack() as stack:
        talkers = []
        for model in models:
            tell(f"loading {model.path} …")
            if not model.has_template:
                tell(f"{model.path.name} has no chat template: it continues each text, and remembers none")
            talkers.append(Talker(stack.enter_context(speaking(model, settings)), settings.most))
        if interactive:
            tell(f"Ctrl-C or {EXIT} ends; {CLEAR} begins anew.")
        for prompt in _prompts(interactive):
            if prompt == EXIT:
                return
            if prompt == CLEAR:
                for one in talkers:
                    one.clear()
            else:
                _answer(talkers, prompt, interactive)


def _pass_on(record: logs.Record, tell: Callable[[str], None]) -> None:
    """Of what a run would log, why the answers will be slower."""
    if record["event"] == "llama.gpu_failed":
        tell(sentence(record))


def _asked(files: Sequence[Path], default: Path) -> Path:
    """The file that somebody at the terminal chooses."""
    for number, path in enumerate(files, 1):
        sys.stderr.write(f"{number:3} {harmless(path.name)}{'   (Enter)' if path == default else ''}\n")
    while True:
        sys.stderr.flush()
        try:
            said = input("which file? ").strip()
        except EOFError:
            return default
        if not said:
            return default
        if said.isdecimal() and 1 <= int(said) <= len(files):
            return files[int(said) - 1]


def _prompts(interactive: bool) -> Iterator[str]:
    """What is typed, or each line; empty ones are passed over."""
    if interactive:
        import readline  # noqa: F401 - input() then has keys to edit and a history
    while True:
        try:
            line = input("\n> ") if interactive else sys.stdin.readline()
        except EOFError:
            sys.stdout.write("\n")
            return
        if not line and not interactive:
            return
        if line.strip():
            yield line.strip()


def _answer(talkers: Sequence[Talker], prompt: str, interactive: bool) -> None:
    console = Console(highlight=False, markup=False)
    if len(talkers) == 2 and interactive and console.width >= NARROWEST:
        _side_by_side(console, talkers, prompt)
        return
    for one in talkers:
        if len(talkers) > 1:
            _write(f"--- {harmless(one.name)}\n")
        for piece in one.answer(prompt):
            _write(piece)
        _write("\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _side_by_side(console: Console, talkers: Sequence[Talker], prompt: str) -> None:
    """Both at once. While they grow their ends are shown, then both whole."""
    shown = ["" for _ in talkers]

    def listen(number: int) -> None:
        for piece in talkers[number].answer(prompt):
            shown[number] += piece

    def columns(most: int | None = None) -> Table:
        table = Table(expand=True, header_style="bold")
        for one in talkers:
            table.add_column(Text(harmless(one.name)), ratio=1)
        table.add_row(*(Text("\n".join(_last(text, most, console.width // 2 - 4))) for text in shown))
        return table

    with Live(get_renderable=lambda: columns(console.height - 6), console=console, transient=True):
        _together([lambda number=number: listen(number) for number in range(len(talkers))])  # type: ignore[misc]
    console.print(columns())


def _last(text: str, most: int | None, width: int) -> list[str]:
    lines = text.split("\n")
    if most is None:
        return lines
    wrapped = [line[at : at + width] for line in lines for at in range(0, max(len(line), 1), width)]
    return wrapped[-max(most, 1) :]


def _together(works: Sequence[Callable[[], None]]) -> None:
    """Runs all at once, and raises the first error. Ctrl-C does not wait for them: their servers end with the block
    around it."""
    faults: list[Exception] = []

    def work(one: Callable[[], None]) -> None:
        try:
            one()
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that is waiting
            faults.append(error)

    threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for fault in faults:
        raise fault
