"""What the command lines have in common: a wrong word is refused (exit code 2), and the right one named.

typer suggests only options that are spelt almost alike. An empty value would pass for one that was not given, and an
option behind another one without a value for its value.
"""

import enum
import io
import math
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from job.nearest import SHOWN, guess, nearest


class Command(TyperCommand):
    """A command whose words are checked before typer reads them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _check_words(ctx, args)
        return _parsed(super().parse_args, ctx, args)


class Commands(TyperGroup):
    """A group of commands. `elsewhere`: words that are not its commands, each with what to write instead."""

    elsewhere: ClassVar[Mapping[str, str]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _check_words(ctx, args, only_options=True)
        return _parsed(super().parse_args, ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, known = args[0], [name for name, command in self.commands.items() if not command.hidden]
        if name in self.commands:
            return super().resolve_command(ctx, args)
        if name in self.elsewhere:
            ctx.fail(f"No such command '{name}'; write `{self.elsewhere[name]}`")
        meant = nearest(name, [*known, *self.elsewhere])
        words = list(dict.fromkeys(self.elsewhere.get(one, f"{ctx.command_path} {one}") for one in meant))
        hint = f"did you mean `{'` or `'.join(words)}`?" if words else f"the commands are {', '.join(known)}"
        ctx.fail(f"No such command '{name[:SHOWN]}'; {hint}")


class App(typer.Typer):
    """A command line. `elsewhere` as in Commands."""

    def __init__(self, *, elsewhere: Mapping[str, str], **options: Any) -> None:
        group = type("Group", (Commands,), {"elsewhere": dict(elsewhere)})
        # typer's tracebacks show local variables, and with them secrets
        super().__init__(cls=group, no_args_is_help=True, pretty_exceptions_enable=False, **options)

    def __call__(self, *args: Any, **options: Any) -> Any:
        for stream in (sys.stdin, sys.stdout, sys.stderr):  # JSON is UTF-8, and no locale is worth a failed run
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        return super().__call__(*args, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        return super().command(name, **{"cls": Command} | options)


def show_version(text: Callable[[], str]) -> Callable[[bool], None]:
    """The callback of an eager `--version`, which prints the text and ends."""

    def show(wanted: bool) -> None:
        if wanted:
            typer.echo(text())
            raise typer.Exit

    return show


def _parsed(parse: Callable[[Any, list[str]], list[str]], ctx: typer.Context, args: list[str]) -> list[str]:
    try:
        return parse(ctx, args)
    except typer.BadParameter as error:  # pydantic's words, which typer hands on
        error.message = error.message.removeprefix("Value error, ")
        raise


def _check_words(ctx: typer.Context, args: list[str], *, only_options: bool = False) -> None:
    """Fails at the first word that cannot be right. `only_options`: up to the first that is not an option."""
    options = {name: one for one in ctx.command.get_params(ctx) for name in (*one.opts, *one.secondary_opts)}
    rest, places = list(args), _places(ctx.command)
    while rest:
        word = rest.pop(0)
        if word == "--" or (only_options and not word.startswith("-")):
            return
        if not word:
            ctx.fail("an argument is empty; leave it out, or write a value")
        if not word.startswith("-") or word == "-":
            places -= 1
            if places < 0:
                ctx.fail(f"unexpected word '{word[:SHOWN]}'{f'; write --spec {word}' if '--spec' in options else ''}")
            continue
        name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        option: Any = options.get(name) if name.startswith("-") else None
        if option is None:
            ctx.fail(f"No such option: {name[:SHOWN]}{_meant(ctx, name, options)}")
        if getattr(option, "is_flag", False):
            if word.startswith("--") and equals:
                ctx.fail(f"{name} takes no value; write {name} alone, or leave it out")
            continue
        if not equals:
            if not rest or rest[0] in options:
                ctx.fail(f"{name} has no value; write {name} VALUE")
            value = rest.pop(0)
        if not value:
            ctx.fail(f"{name} has an empty value; leave it out, or write a value")
        _check_choice(ctx, name, value, _choices(option))


def _meant(ctx: typer.Context, name: str, options: Mapping[str, Any]) -> str:
    """What was probably meant by an option that this command does not have."""
    if name.lstrip("-").replace("-", "_").lower() in options:
        return f"; it is an argument: write its value without {name}"
    group: Any = ctx.parent.command if ctx.parent else ctx.command
    have = [one for one, command in getattr(group, "commands", {}).items() if name in _names(command)]
    if have:
        return f"; `{'`, `'.join(have)}` {'have' if len(have) > 1 else 'has'} it"
    # The length of a letter's option is 2: it is like another letter's, but not like a word.
    both = dict.fromkeys([*_names(ctx.command), *_names(group)])
    known = [one for one in both if (len(one) == 2) == (len(name) == 2)]
    if not (near := nearest(name, known)):
        return f"; `{ctx.command_path} --help` lists them"
    return guess(name, known) if near[0] in options else f"; did you mean `{ctx.find_root().command_path} {near[0]}`?"


def _places(command: Any) -> float:
    """How many arguments a command takes."""
    taken = [one.nargs for one in command.params if not one.opts[0].startswith("-")]
    return math.inf if -1 in taken else sum(taken)


def _names(command: Any) -> list[str]:
    """A command's options."""
    return [name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")]


def _choices(option: Any) -> list[str]:
    """The words that an option accepts; none if any is."""
    kind = getattr(getattr(option, "type_descriptor", None), "annotation", None)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [str(one.value) for one in kind]
    return [str(one) for one in typing.get_args(kind)] if typing.get_origin(kind) is typing.Literal else []


def _check_choice(ctx: typer.Context, name: str, value: str, choices: list[str]) -> None:
    if choices and value not in choices:
        ctx.fail(f"{name}: '{value[:SHOWN]}' is not one of {', '.join(choices)}{guess(value, choices, most=1)}")
