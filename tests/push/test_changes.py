"""Which specs a push has changed, on real histories: what is chosen is always what the commits differ in."""

import os
from pathlib import Path

import pytest

from job.errors import SpecInvalid
from k8s.errors import SettingsInvalid
from push.changes import of_names, of_push, of_request
from tests.push.git_repository import ZEROS, Repository

SPEC = "model: {id: owner/name}\n"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def names(repo: Repository, before: str, after: str) -> list[str]:
    return [one.name for one in of_push(repo.folder, before, after).specs]


def test_a_push_runs_what_it_adds_and_what_it_changes_and_nothing_else(repo: Repository) -> None:
    repo.write("runs/new.yaml", SPEC)
    repo.write("README.md", "changed\n")
    repo.write("other/runs/x.yaml", SPEC)
    middle = repo.commit()
    assert names(repo, repo.start, middle) == ["runs/new.yaml"]
    repo.write("runs/old.yaml", SPEC)
    assert names(repo, middle, repo.commit()) == ["runs/old.yaml"]


def test_a_push_of_several_commits_counts_as_one_change(repo: Repository) -> None:
    for name in ("a", "b"):
        repo.write(f"runs/{name}.yaml", SPEC)
        repo.commit()
    assert names(repo, repo.start, repo.head()) == ["runs/a.yaml", "runs/b.yaml"]


def test_the_first_push_of_a_branch_runs_nothing(repo: Repository) -> None:
    found = of_push(repo.folder, ZEROS, repo.start)
    assert (found.kind, found.specs) == ("first", ())


def test_a_push_that_changes_no_spec_runs_nothing(repo: Repository) -> None:
    repo.write("README.md", "changed\n")
    assert names(repo, repo.start, repo.commit()) == []
    assert names(repo, repo.start, repo.start) == []


def test_a_force_push_runs_what_the_branch_says_now_and_did_not_before(repo: Repository) -> None:
    repo.write("runs/both.yaml", SPEC)
    repo.write("runs/gone.yaml", SPEC)
    before = repo.commit()
    repo.git("reset", "--quiet", "--hard", repo.start)
    repo.write("runs/both.yaml", SPEC)
    repo.write("runs/new.yaml", SPEC)
    found = of_push(repo.folder, before, repo.commit())
    assert (found.kind, [one.name for one in found.specs]) == ("forced", ["runs/new.yaml"])


def test_a_commit_before_that_is_not_here_is_refused_and_not_taken_for_nothing(repo: Repository) -> None:
    with pytest.raises(SettingsInvalid, match=r"is not here, so the changes are unknown and nothing is sent"):
        of_push(repo.folder, "1" * 40, repo.start)


def test_a_checkout_without_history_is_refused(repo: Repository, tmp_path: Path) -> None:
    repo.write("runs/new.yaml", SPEC)
    after = repo.commit()
    shallow = tmp_path / "shallow"
    repo.git("clone", "--quiet", "--depth", "1", f"file://{repo.folder}", str(shallow))
    with pytest.raises(SettingsInvalid, match="is not here"):
        of_push(shallow, repo.start, after)
    with pytest.raises(SettingsInvalid, match="only a part of the history"):
        of_request(shallow, after, after)


@pytest.mark.parametrize("name", ["main", "HEAD", "--all", "", "abc", "HEAD~1", "0" * 39])
def test_only_a_full_id_is_a_commit(repo: Repository, name: str) -> None:
    with pytest.raises(SettingsInvalid, match="is not a commit"):
        of_push(repo.folder, repo.start, name)


def test_the_id_of_a_file_is_no_commit(repo: Repository) -> None:
    file = repo.git("rev-parse", "HEAD:README.md")
    with pytest.raises(SettingsInvalid, match="is not here"):
        of_push(repo.folder, file, repo.start)


def test_a_merge_runs_what_it_brings(repo: Repository) -> None:
    repo.git("checkout", "--quiet", "-b", "side")
    repo.write("runs/side.yaml", SPEC)
    repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.write("runs/main.yaml", SPEC)
    before = repo.commit()
    repo.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert names(repo, before, repo.head()) == ["runs/side.yaml"]


def test_a_merge_that_keeps_neither_side_runs_what_it_says(repo: Repository) -> None:
    repo.git("checkout", "--quiet", "-b", "side")
    repo.write("runs/old.yaml", SPEC + "# side\n")
    repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.write("runs/old.yaml", SPEC + "# main\n")
    before = repo.commit()
    repo.git("merge", "--quiet", "-s", "ours", "--no-commit", "side")
    repo.write("runs/old.yaml", SPEC + "# both\n")
    assert names(repo, before, repo.commit()) == ["runs/old.yaml"]


def test_a_renamed_spec_is_a_new_name_and_an_old_one_that_is_gone(repo: Repository) -> None:
    repo.git("config", "diff.renames", "copies")
    repo.git("mv", "runs/old.yaml", "runs/new.yaml")
    found = of_push(repo.folder, repo.start, repo.commit())
    assert [one.name for one in found.specs] == ["runs/new.yaml"]
    assert found.ignored == ("runs/old.yaml was deleted; a run of it that is active is not ended",)


def test_a_deleted_spec_runs_nothing(repo: Repository) -> None:
    repo.path("runs/old.yaml").unlink()
    assert names(repo, repo.start, repo.commit()) == []


def test_a_spec_whose_mode_alone_has_changed_runs_nothing(repo: Repository) -> None:
    repo.path("runs/old.yaml").chmod(0o755)
    assert names(repo, repo.start, repo.commit()) == []


@pytest.mark.parametrize("target", ["old.yaml", "../README.md", "/etc/passwd", "nowhere"])
def test_a_symbolic_link_is_refused(repo: Repository, target: str) -> None:
    repo.path("runs/link.yaml").symlink_to(target)
    with pytest.raises(SpecInvalid, match=r"runs/link\.yaml is a symbolic link"):
        of_push(repo.folder, repo.start, repo.commit())


def test_a_spec_that_becomes_a_symbolic_link_is_refused(repo: Repository) -> None:
    repo.path("runs/old.yaml").unlink()
    repo.path("runs/old.yaml").symlink_to("../README.md")
    with pytest.raises(SpecInvalid, match="is a symbolic link"):
        of_push(repo.folder, repo.start, repo.commit())


def test_a_folder_of_specs_that_becomes_a_link_brings_nothing(repo: Repository) -> None:
    repo.write("elsewhere/x.yaml", SPEC)
    repo.path("runs/old.yaml").unlink()
    repo.path("runs").rmdir()
    repo.path("runs").symlink_to("elsewhere")
    assert names(repo, repo.start, repo.commit()) == []


def test_a_submodule_is_refused(repo: Repository) -> None:
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{repo.start},runs/module.yaml")
    repo.git("commit", "--quiet", "-m", "module")
    with pytest.raises(SpecInvalid, match=r"runs/module\.yaml is a submodule"):
        of_push(repo.folder, repo.start, repo.head())


ODD = {
    b"runs/two\nlines.yaml": r"runs/two\nlines.yaml",
    b"runs/a\"quote'.yaml": "runs/a\"quote'.yaml",
    b"runs/-rf.yaml": "runs/-rf.yaml",
    b"runs/--help.yaml": "runs/--help.yaml",
    b"runs/$(id) `id`;.yaml": "runs/$(id) `id`;.yaml",
    b"runs/\xff\xfe.yaml": r"runs/\xff\xfe.yaml",
    b"runs/::error::.yaml": "runs/::error::.yaml",
    b"runs/*.yaml": "runs/*.yaml",
    b"runs/:(top)x.yaml": "runs/:(top)x.yaml",
    b"runs/tab\there.yaml": r"runs/tab\there.yaml",
    "runs/größe.yaml".encode(): "runs/größe.yaml",
}


@pytest.mark.parametrize("path", ODD, ids=ODD.values())
def test_an_odd_name_is_one_spec_and_shown_on_one_line(repo: Repository, path: bytes) -> None:
    repo.write(path, SPEC)
    (one,) = of_push(repo.folder, repo.start, repo.commit()).specs
    assert (one.path, one.name) == (path, ODD[path])


@pytest.mark.parametrize("path", ["runs/x.yml", "runs/.yaml", "runs/deep/x.yaml", "runs/x.yaml.bak", "runs/x.YAML"])
def test_other_files_below_runs_are_named_and_not_run(repo: Repository, path: str) -> None:
    repo.write(path, SPEC)
    found = of_push(repo.folder, repo.start, repo.commit())
    assert found.specs == () and found.ignored == (f"{path} is not a spec: specs are runs/NAME.yaml",)


def test_a_pull_request_counts_from_where_it_left(repo: Repository) -> None:
    repo.git("checkout", "--quiet", "-b", "side")
    repo.write("runs/side.yaml", SPEC)
    head = repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.write("runs/main.yaml", SPEC)
    found = of_request(repo.folder, repo.commit(), head)
    assert [one.name for one in found.specs] == ["runs/side.yaml"]


def test_a_run_by_hand_takes_files_of_the_commit_by_their_exact_names(repo: Repository) -> None:
    repo.write("runs/*.yaml", SPEC)
    after = repo.commit()
    assert [one.name for one in of_names(repo.folder, after, ["runs/*.yaml"]).specs] == ["runs/*.yaml"]


@pytest.mark.parametrize(
    "name", ["README.md", "runs/../README.md", "/etc/passwd", "runs", "runs/", "../runs/old.yaml", "runs/none.yaml", ""]
)
def test_a_run_by_hand_of_a_file_outside_runs_is_refused(repo: Repository, name: str) -> None:
    with pytest.raises(SpecInvalid, match="is not a spec in commit"):
        of_names(repo.folder, repo.start, [name])


def test_a_run_by_hand_of_a_link_is_refused(repo: Repository) -> None:
    repo.path("runs/link.yaml").symlink_to("../README.md")
    with pytest.raises(SpecInvalid, match="is a symbolic link"):
        of_names(repo.folder, repo.commit(), ["runs/link.yaml"])


def test_what_the_repository_configures_for_git_changes_nothing(repo: Repository, tmp_path: Path) -> None:
    repo.write(".gitattributes", "*.yaml diff=evil -text\n")
    repo.git("config", "diff.evil.textconv", f"touch {tmp_path}/ran")
    repo.git("config", "diff.evil.command", f"touch {tmp_path}/ran")
    repo.git("config", "diff.relative", "true")
    repo.write("runs/new.yaml", SPEC)
    assert names(repo, repo.start, repo.commit()) == ["runs/new.yaml"]
    assert not os.path.lexists(tmp_path / "ran")
