"""Files of this machine go along with a run onto a volume, through a pod."""

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.launcher import Launcher, Said
from tests.k8s.rights import granted, user_with
from tests.k8s.volume_pods import started, volume

pytestmark = pytest.mark.slow


@pytest.fixture
def launcher(cluster: Cluster, tmp_path: Path) -> Iterator[Launcher]:
    (tmp_path / "store").mkdir()
    with volume(cluster, tmp_path / "store") as found:
        yield found


def rows(path: Path, count: int = 100) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": f"row {number} of some text"}) + "\n" for number in range(count)))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def options(place: Path, *more: str) -> list[str]:
    base = ["launch", "--model", "/no/such/model", "--dataset", str(place), "--store-pvc", "runs"]
    return [*base, "--gpu", "none", "--detach", *more]


def launch(launcher: Launcher, place: Path, *more: str) -> Said:
    with started(launcher, "writer"):
        return launcher(*options(place, *more))


def sent(launcher: Launcher) -> dict[str, Any]:
    maps = launcher.cluster.core.list_namespaced_config_map(launcher.namespace).items
    (found,) = [one for one in maps if one.data and "spec.json" in one.data]
    return dict(json.loads(found.data["spec.json"]))


def pods(launcher: Launcher, role: str) -> list[str]:
    return [one.metadata.name for one in launcher.cluster.pods(launcher.namespace) if f"-{role}-" in one.metadata.name]


def test_a_folder_is_put_on_the_volume_by_its_content_and_its_list_last(launcher: Launcher, tmp_path: Path) -> None:
    rows(tmp_path / "data" / "train.jsonl")
    rows(tmp_path / "data" / "test.jsonl", 10)
    said = launch(launcher, tmp_path / "data", "--set", "dataset.eval_split=test")
    assert said.code == 0, said.err
    place = Path(sent(launcher)["dataset"]["id"])
    assert place.is_relative_to("/store/inputs") and place.name == "data"
    here = tmp_path / "store" / place.relative_to("/store")
    assert sorted(one.name for one in here.iterdir()) == ["test.jsonl", "train.jsonl"]
    listed = here.with_name("data.sha256").read_bytes()
    assert hashlib.sha256(listed).hexdigest() == place.parent.name
    assert pods(launcher, "writer") == []


def test_a_killed_upload_goes_on_where_it_stopped_and_shows_nothing_before_it_is_whole(
    launcher: Launcher, tmp_path: Path
) -> None:
    sha256 = rows(tmp_path / "rows.jsonl", 1_500_000)
    folder = tmp_path / "store" / "inputs" / sha256
    part = folder / f".rows.jsonl.{sha256[:16]}.tmp"
    with started(launcher, "writer"), launcher.started(*options(tmp_path / "rows.jsonl")) as process:
        eventually(lambda: part.exists() and part.stat().st_size > 1 << 20, "the first bytes", timeout_s=120)
        process.send_signal(signal.SIGKILL)
    assert not (folder / "rows.jsonl").exists() and launcher.jobs() == []
    for name in pods(launcher, "writer"):
        launcher.cluster.core.delete_namespaced_pod(name, launcher.namespace, grace_period_seconds=0)
    eventually(lambda: not pods(launcher, "writer"), "the first pod to go")
    had = part.stat().st_size
    assert 0 < had < (tmp_path / "rows.jsonl").stat().st_size
    assert launch(launcher, tmp_path / "rows.jsonl").code == 0
    assert (folder / "rows.jsonl").read_bytes() == (tmp_path / "rows.jsonl").read_bytes()
    assert [one.name for one in folder.iterdir()] == ["rows.jsonl"]


def test_what_the_pod_for_the_upload_waits_for_is_told_and_ctrl_c_takes_it_away(
    launcher: Launcher, tmp_path: Path
) -> None:
    rows(tmp_path / "rows.jsonl")
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["gone"]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    launcher.cluster.core.patch_persistent_volume(f"runs-{launcher.namespace}", {"spec": {"nodeAffinity": affinity}})
    with launcher.started(*options(tmp_path / "rows.jsonl")) as process:
        assert process.stderr
        told = next((line for line in process.stderr if "node affinity" in line), "nothing")
        assert told.startswith("… no node for its pod yet")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130 and pods(launcher, "writer") == [] and launcher.jobs() == []


def test_the_role_of_the_launcher_is_enough(launcher: Launcher, tmp_path: Path) -> None:
    rows(tmp_path / "rows.jsonl")
    user, config = user_with(launcher.cluster, launcher.namespace, tmp_path, "Role", "RoleBinding")
    person = Launcher(launcher.cluster, launcher.namespace, config)
    said = launch(person, tmp_path / "rows.jsonl")
    assert said.code == 0, said.err
    used = launcher.cluster.plane.asked_by(user)
    assert {one for one in used if one[1].startswith("pods")} <= granted("Role")
