"""A run of the tiny model that something happens to, in one attempt or several, and what must hold after every end."""

import hashlib
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from job.run.records import Manifest, read_manifest, verify_manifest
from job.store import open_store
from tests.hub_server import Hub
from tests.job_process import Ended, Event, follow, kill, started
from tests.s3_server import Bucket

RUN = "disturbed"
SAVE_STEPS = 2
MANIFEST = "manifest.json"
REPO = "me/tiny"
CANARIES = {"SLACK_HOOK": "canary-slack-hook-0123456789", "MYSQL_PWD": "canary-database-password-0123456789"}
"""Secrets in the run's environment, beside those of the servers."""
Process = subprocess.Popen[str]
OnEvent = Callable[[Process, Event], None]


def spec_of(root: Path, model: Path, quotes: Path) -> dict[str, Any]:
    """Ten steps of training and one file, judged, into a folder."""
    steps = {"max_steps": 10, "max_length": 48, "save_steps": SAVE_STEPS, "logging_steps": 1}
    return {
        "model": {"id": str(model)},
        "dataset": {"id": str(quotes), "text": "quote", "eval_fraction": 0.1},
        "training": steps | {"per_device_train_batch_size": 2},
        "evaluation": {"samples": 0},
        "export": {"types": ["q8_0"], "imatrix": "none"},
        "publish": {"name": "tiny", "folder": str(root / "published")},
        "run": {"id": RUN, "store": str(root / "store")},
    }


@dataclass
class Run:
    """`losses`: those of an undisturbed run; `unusable`: steps whose checkpoints a test has damaged."""

    spec: dict[str, Any]
    root: Path
    losses: list[float] | None = None
    bucket: Bucket | None = None
    hub: Hub | None = None
    repo: str = REPO
    environ: dict[str, str] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    unusable: set[int] = field(default_factory=set)

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def id(self) -> str:
        return str(self.spec["run"]["id"])

    @property
    def uploads_keep_up(self) -> str:
        """The fault that makes steps last as long as uploads to this run's folder."""
        return f"uploads_keep_up:{self.spec['run']['store']}"

    def into_s3(self, bucket: Bucket) -> None:
        """Store and files go to a bucket."""
        self.bucket = bucket
        self.spec["run"]["store"] = f"{bucket.url}/runs"
        self.spec["publish"] = {"name": "tiny", "s3": f"{bucket.url}/published"}

    def onto_the_hub(self, hub: Hub, repo: str = REPO) -> None:
        """Files go to a repository; the store stays where it is."""
        self.hub, self.repo = hub, repo
        self.spec["publish"] = {"name": "tiny", "hub": {"repo_id": repo}}

    def attempt(
        self,
        on_event: OnEvent | None = None,
        *,
        when: Callable[[], Any] | None = None,
        do: Callable[[Process], Any] = kill,
        fault: str | None = None,
        under: tuple[str, ...] = (),
        **environ: str,
    ) -> Ended:
        """Runs it to an end. `when` something is so, `do` is done to it; `fault`: see `in_a_stage`."""
        extra = CANARIES | self.environ | environ | ({"FINETUNE_TEST_FAULT": fault} if fault else {})
        with started(self.spec, self.work, extra, under) as process:
            if when:
                threading.Thread(target=_do_when, args=(process, when, do), daemon=True).start()
            ended = follow(process, (lambda event: on_event(process, event)) if on_event else None)
        self.ended.append(ended)
        return ended

    def completes(self, **how: Any) -> Ended:
        """One more attempt, to whose end all is well."""
        ended = self.attempt(**how)
        assert ended.code == 0, f"{ended.code}: {ended.output[-3000:]}"
        self.check_after()
        return ended

    def ends(self, code: int, on_event: OnEvent | None = None, **how: Any) -> Ended:
        """One more attempt, that ends with a code and has published nothing."""
        ended = self.attempt(on_event, **how)
        assert ended.code == code, f"{ended.code}: {ended.output[-3000:]}"
        self.check_after()
        assert self.manifest() is None and self.published(MANIFEST) is None
        return ended

    def lose_node(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)

    def manifest(self) -> Manifest | None:
        return read_manifest(open_store(self.spec["run"]["store"]), self.id)

    def check_after(self) -> None:
        """What must hold whatever happened, after every end."""
        store = open_store(self.spec["run"]["store"])
        manifests = [key for key in store.list(f"runs/{self.id}/") if key.endswith(MANIFEST)]
        assert manifests in ([], [f"runs/{self.id}/{MANIFEST}"])
        assert not self.ended or self.ended[-1].code or manifests, "it ended well and has no manifest"
        if published := self.published(MANIFEST):
            self._check_files(Manifest.model_validate_json(published))
        if manifest := self.manifest():
            assert published, "it is done, and its place has no manifest"
            verify_manifest(store, manifest)
            self._check_losses(manifest)
        if self.hub and (repo := self.hub.repos.find("model", self.repo)):
            assert len(repo.history("main")) <= 2, "the first commit is the Hub's own, the run makes one"
        self._check_nothing_stored_was_lost()
        self._check_no_secret()

    def published(self, name: str) -> bytes | None:
        """A file as it is at the place, or None."""
        if self.hub:
            repo = self.hub.repos.find("model", self.repo)
            commit = repo.at("main") if repo else None
            return self.hub.repos.read(repo, name) if repo and commit and name in commit.files else None
        folder = self.bucket.file("published") if self.bucket else self.root / "published"
        return (folder / name).read_bytes() if (folder / name).is_file() else None

    def _check_files(self, manifest: Manifest) -> None:
        """Every file that a place's manifest names is there as it says."""
        for file in (*manifest.files, *manifest.earlier):
            content = self.published(file.name)
            assert content is not None, f"{file.name} is not published"
            assert hashlib.sha256(content).hexdigest() == file.sha256, f"{file.name} is not what its manifest says"

    def _check_losses(self, manifest: Manifest) -> None:
        if self.losses is not None:
            found = [one["loss"] for one in manifest.stages["train"].metrics["losses"]]
            assert [round(loss, 4) for loss in found] == [round(loss, 4) for loss in self.losses]

    def _check_nothing_stored_was_lost(self) -> None:
        """An attempt goes on from the newest checkpoint that an earlier one has stored, or from a later one."""
        stored = 0
        for ended in self.ended:
            steps = [one["step"] for one in ended.named("train.log")]
            assert not steps or steps[0] > stored, f"step {steps[0]} was done again, step {stored} was stored"
            told = {one["step"] for one in ended.named("checkpoint.stored")}
            stored = max({stored, *told} - self.unusable, default=0)

    def _check_no_secret(self) -> None:
        secrets = [value.encode() for value in CANARIES.values()]
        folders = [self.root]
        if self.bucket:
            secrets.append(self.bucket.server.secret_key.encode())
            folders.append(self.bucket.root)
        if self.hub:
            secrets += [token.encode() for token in self.hub.repos.accounts]
            folders.append(self.hub.repos.root / "blobs")
        texts = {f"output {number}": ended.output.encode() for number, ended in enumerate(self.ended, 1)}
        texts |= {str(path): path.read_bytes() for folder in folders for path in _files(folder)}
        assert [name for name, text in texts.items() for secret in secrets if secret in text] == []


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _do_when(process: Process, when: Callable[[], Any], do: Callable[[Process], Any]) -> None:
    while process.poll() is None:
        if when():
            do(process)
            return
        time.sleep(0.01)


def stop(process: Process) -> None:
    process.send_signal(signal.SIGTERM)


def once(do: Callable[[Process], Any], event: str, **fields: Any) -> OnEvent:
    """Does it at the first event of that name with those fields. `step`: that one, or a later one."""
    done = False

    def seen(process: Process, one: Event) -> None:
        nonlocal done
        same = all(one.get(name) == value for name, value in fields.items() if name != "step")
        if not done and one["event"] == event and same and one.get("step", 0) >= fields.get("step", 0):
            done = True
            do(process)

    return seen
