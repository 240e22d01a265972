"""Every command, option, field and variable, almost right: it is refused as wrong usage, and the right word is named.

The words come from the command lines and the spec themselves, so a new option is tried too.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import typer.main

import job.__main__
import k8s.launch
import push.__main__
from job.errors import SpecInvalid, UsageInvalid
from job.predict.gpus import GPUS
from job.spec.load import load
from job.spec.overlay import OTHERS, PREFIX, assignments
from job.spec.schema import every_field
from k8s.errors import ClusterUnreachable, SettingsInvalid
from k8s.placement.platforms import PLATFORMS

PROGRAMS = {"job": job.__main__, "k8s.launch": k8s.launch, "push": push.__main__}
GROUPS: dict[str, Any] = {name: typer.main.get_command(module.app) for name, module in PROGRAMS.items()}
SHOWN = {name: [one for one, command in group.commands.items() if not command.hidden] for name, group in GROUPS.items()}
COMMANDS = [(program, command) for program, commands in SHOWN.items() for command in commands]
USAGE, SETTINGS = UsageInvalid.code, SettingsInvalid.code


class Said(NamedTuple):
    code: int
    text: str


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any) -> Any:
    """Runs a command line as its users do, in this process, in an empty folder and without a cluster."""
    for name in [name for name in os.environ if name.upper().startswith("FINETUNE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    monkeypatch.setenv("FINETUNE_IMAGE", "registry.example/finetune-run:1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.chdir(tmp_path)

    def run(program: str, *words: str) -> Said:
        monkeypatch.setattr(sys, "argv", [program, *words])
        with pytest.raises(SystemExit) as ended:
            PROGRAMS[program].main()
        caught = capsys.readouterr()
        text = " ".join((caught.out + caught.err).split())
        assert "Traceback" not in text and "bug" not in text.lower(), text
        return Said(int(ended.value.code or 0), text)

    return run


def misspelt(word: str) -> Iterator[str]:
    """Almost the word: a letter dropped or doubled, two swapped, the wrong case, the wrong dash."""
    middle = len(word) // 2
    yield word[:middle] + word[middle + 1 :]
    yield word[:middle] + word[middle] * 2 + word[middle + 1 :]
    yield word[:middle] + word[middle + 1 : middle + 2] + word[middle] + word[middle + 2 :]
    yield word.upper()
    yield word.replace("-", "_")
    yield word.replace("_", "-")


def wrong(word: str, known: Any) -> list[str]:
    return sorted({one for one in misspelt(word) if one and one not in known})


def options_of(program: str, command: str) -> Iterator[tuple[str, Any]]:
    """Each spelling of each option, with the option."""
    for option in GROUPS[program].commands[command].params:
        for name in (*option.opts, *option.secondary_opts):
            if name.startswith("-"):
                yield name, option


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_a_misspelt_command_is_answered_with_the_right_one(said: Any, program: str, command: str) -> None:
    for word in wrong(command, GROUPS[program].commands):
        code, text = said(program, word)
        assert code == USAGE and f" {command}`" in text, (word, text)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_command_of_another_command_line_is_answered_with_where_it_is(said: Any, program: str) -> None:
    for word in {command for _, command in COMMANDS} - set(SHOWN[program]):
        code, text = said(program, word)
        assert code == USAGE and f"No such command '{word}'; write `" in text, (word, text)


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_a_misspelt_option_is_answered_with_the_right_one(said: Any, program: str, command: str) -> None:
    known = {name for name, _ in options_of(program, command)}
    for name in known:
        dashes, bare = ("--", name[2:]) if name.startswith("--") else ("-", name[1:])
        for word in wrong(bare, {one.lstrip("-") for one in known}):
            if len(bare) > 1 or len(word) == 1:  # two letters behind one dash are two options
                code, text = said(program, command, f"{dashes}{word}")
                assert code == USAGE and name in text.partition("No such option")[2], (word, text)


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_an_option_without_its_value_is_refused(said: Any, program: str, command: str) -> None:
    for name, option in options_of(program, command):
        if option.is_flag:
            if name.startswith("--"):
                code, text = said(program, command, f"{name}=yes")
                assert code == USAGE and f"{name} takes no value" in text
            continue
        empty = [[name, ""], *([[f"{name}="]] if name.startswith("--") else [])]
        for words in ([name], [name, "--help"], *empty):
            code, text = said(program, command, *words)
            assert code == USAGE and f"{name} has " in text and "value" in text, (words, text)


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_a_value_of_the_wrong_form_is_refused(said: Any, program: str, command: str) -> None:
    for name, option in options_of(program, command):
        kind = option.type_descriptor.annotation
        if kind in (int, float):
            code, text = said(program, command, name, "many", *REQUIRED.get((program, command), ()))
            assert code == USAGE and name in text, (name, text)
        for choice in getattr(kind, "__args__", ()) if "Literal" in str(kind) else ():
            for word in wrong(choice, kind.__args__):
                code, text = said(program, command, name, word)
                assert code == USAGE and f"did you mean {choice}?" in text, (name, word, text)


REQUIRED = {
    ("push", "changed"): ("--before", "0", "--after", "0"),
    ("push", "plan"): ("--base", "0", "--head", "0"),
    ("push", "train"): ("--after", "0"),
    ("k8s.launch", "compare"): ("some-run", "another"),
} | {("k8s.launch", name): ("some-run",) for name in ("status", "logs", "wait", "cancel", "resume", "results")}
RUN = ["--model", "/no/such/model", "--dataset", "/rows.jsonl"]
OFFLINE = [*RUN, "--gpu", "t4", "--platform", "gke", "--dry-run"]


def test_no_value_of_an_option_is_a_bug_of_the_launcher(said: Any) -> None:
    for name, option in options_of("k8s.launch", "launch"):
        if not option.is_flag and name not in ("--model", "--dataset", "--name"):
            code, text = said("k8s.launch", "launch", *OFFLINE, name, "no such thing \u2603")
            refused = (USAGE, SETTINGS, SpecInvalid.code, ClusterUnreachable.code)
            assert code in refused or name in ANYTHING, (name, code, text)


ANYTHING = ("--scratch-class", "--https-proxy", "--http-proxy", "--no-proxy")
"""Options that take any text."""


@pytest.mark.parametrize("command", ["launch", "plan"])
def test_a_misspelt_platform_or_gpu_is_answered_with_the_right_one(said: Any, command: str) -> None:
    for platform in PLATFORMS:
        for word in wrong(platform, PLATFORMS):
            code, text = said("k8s.launch", command, *RUN, "--gpu", "t4", "--platform", word)
            assert code == SETTINGS and platform in text.partition("did you mean")[2], (word, text)
    for gpu in GPUS:
        code, text = said("k8s.launch", command, *RUN, "--gpu", f"{gpu}x")
        assert code == SETTINGS and gpu in text.partition("did you mean")[2], text


def test_a_misspelt_gpu_is_answered_with_the_right_one_in_the_job(said: Any) -> None:
    fields = ["--set", "model.id=owner/name", "--set", "dataset.id=owner/rows"]
    for gpu in GPUS:
        code, text = said("job", "plan", *fields, "--gpu", f"{gpu}x")
        assert code == USAGE and gpu in text.partition("did you mean")[2], text


def test_without_a_cluster_naming_the_platform_is_suggested(said: Any) -> None:
    for words in (["plan", *RUN, "--gpu", "t4"], ["launch", *RUN, "--gpu", "t4", "--dry-run"], ["gpus"]):
        code, text = said("k8s.launch", *words)
        assert code == ClusterUnreachable.code and "--platform gke" in text


def test_a_spec_behind_the_wrong_kind_of_word_is_answered_with_the_right_one(said: Any) -> None:
    assert "it is an argument: write its value without --spec" in said("job", "run", "--spec", "my.yaml").text
    assert "write --spec my.yaml" in said("k8s.launch", "launch", "my.yaml").text
    assert "`launch`, `plan` have it" in said("k8s.launch", "gpus", "--platform", "gke").text
    assert said("k8s.launch", "--version").code == 0


@pytest.mark.parametrize("path", [path for path in every_field() if "." in path])
def test_a_misspelt_field_is_answered_with_the_right_one(path: str) -> None:
    section, _, name = path.rpartition(".")
    base = assignments(["model.id=owner/name", "dataset.id=owner/rows"])
    for word in wrong(name, {one.rpartition(".")[2] for one in every_field()}):
        if word.lower() != name:  # the case of an option's or a variable's path does not count
            with pytest.raises(SpecInvalid) as refusal:
                load(None, {}, [*base, *assignments([f"{section}.{word}=1"])])
            assert path in str(refusal.value).partition("did you mean")[2], str(refusal.value)


@pytest.mark.parametrize("path", [path for path in every_field() if path.count(".") == 1])
def test_a_misspelt_variable_is_answered_with_the_right_one(path: str) -> None:
    right = PREFIX + path.upper().replace(".", "__")
    for word in (right.replace("__", "_"), right.replace("__", "_", 1), right.replace("FINETUNE", "FINETUN")):
        with pytest.raises(SpecInvalid) as refusal:
            load(None, {f"{PREFIX}MODEL__ID": "owner/name", f"{PREFIX}DATASET__ID": "owner/rows", word: "1"})
        assert f"{word} -> not a variable that is read; did you mean {right}?" in str(refusal.value)


@pytest.mark.parametrize("right", OTHERS)
def test_a_misspelt_variable_of_the_programs_is_answered_with_the_right_one(right: str) -> None:
    start, _, rest = right.partition("_")
    for word in (f"{start}_{rest[:-1]}", f"{start}_{rest}{rest[-1]}"):
        with pytest.raises(SpecInvalid) as refusal:
            load(None, {f"{PREFIX}MODEL__ID": "owner/name", f"{PREFIX}DATASET__ID": "owner/rows", word: "1"})
        assert f"{word} -> not a variable that is read; did you mean {right}?" in str(refusal.value)
