"""What differs between runs: specs, pinned sources and versions."""

from pathlib import Path

from job.store import open_store
from k8s.results.differences import differences
from k8s.results.tables import tables
from tests.k8s.results.compared import of, read
from tests.k8s.results.kept import keep


def test_only_what_differs_is_listed(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", lora={"r": 32}, training={"learning_rate": 1e-3})
    found = {one.path: one.values for one in differences(read(tmp_path, "a", "b"))}
    assert found == {"lora.r": ["8", "32"], "training.learning_rate": ["0.0002", "0.001"]}


def test_runs_alike_say_so(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b")
    assert of(tables(read(tmp_path, "a", "b")), "What differs").notes == [
        "Specs, pinned sources and versions are the same."
    ]


def test_a_field_that_a_release_did_not_know_has_its_default(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    lora = {"r": 8, "alpha": 32.0}
    keep(tmp_path, "old", spec_fields={"lora": lora})
    assert "lora.dropout" not in {one.path for one in differences(read(tmp_path, "a", "old"))}
    keep(tmp_path, "new", spec_fields={"lora": lora | {"of_tomorrow": 1}})
    found = {one.path: one.values for one in differences(read(tmp_path, "a", "new"))}
    assert found["lora.of_tomorrow"] == ["", "1"]


def test_two_long_texts_that_begin_alike_do_not_look_alike(tmp_path: Path) -> None:
    for name, end in (("a", "."), ("b", "!")):
        keep(tmp_path, name, chat={"template": "{{ messages }}" + 100 * " " + end})
    (template,) = of(tables(read(tmp_path, "a", "b")), "What differs").rows
    assert template[0] == "chat.template" and template[1] != template[2]


def test_commits_and_versions_that_differ_are_told(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b")
    key = "runs/b/manifest.json"
    store = open_store(str(tmp_path))
    text, _ = store.get(key) or (b"", "")
    store.put(key, text.replace(b"1f" * 20, b"2e" * 20).replace(b'"2.15.0"', b'"2.14.0"'))
    found = {one.path: one.values for one in differences(read(tmp_path, "a", "b"))}
    assert set(found) == {"sources.model", "versions.torch"} and found["versions.torch"] == ["2.15.0", "2.14.0"]
