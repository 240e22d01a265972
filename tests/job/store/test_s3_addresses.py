"""Where a bucket is: its region, its style of address, its name, and keys that are prefixes, too."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from job.errors import EnvironmentUnfit, SpecInvalid
from job.fetch.objects import objects_at
from job.publish.stores import StorePlace
from job.store import open_store
from job.store.base import Head
from tests.job.store.files import file_of
from tests.s3_proxy import Proxy
from tests.s3_server import Bucket, Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in another region than most, where buckets have hosts of their own, too."""
    server = Server(tmp_path_factory.mktemp("elsewhere"), region="eu-north-1", domain="s3.test")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def there(elsewhere: Server, s3: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A bucket there, and the environment that leads to it, which says another region."""
    name = f"{tmp_path.name.replace('_', '-').lower()[:40]}.with.dots"
    (elsewhere.root / name).mkdir()
    monkeypatch.setenv("AWS_ENDPOINT_URL", elsewhere.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", elsewhere.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", elsewhere.secret_key)
    return f"s3://{name}/models"


@pytest.mark.parametrize("given", ["us-east-1", None])
def test_a_bucket_of_another_region_is_written_there_and_the_region_is_named_before(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    if given is None:
        monkeypatch.delenv("AWS_DEFAULT_REGION")
    with capture_logs() as logged:
        place = StorePlace(there)
        place.check_write()
        stored = open_store(there).put_file("m.gguf", file_of(tmp_path, 100_000))  # begins with HEAD
    (told,) = [one for one in logged if one["event"] == "s3.region"]
    assert told["log_level"] == ("warning" if given else "info") and told["region"] == "eu-north-1"
    assert f"{there.rpartition('/')[0]} is in eu-north-1" in told["what"]
    assert open_store(there).measure("m.gguf") == stored


def test_a_head_alone_finds_the_region(there: str) -> None:
    assert open_store(there).head("missing") is None


def test_a_bad_request_that_names_no_region_says_what_to_check(s3: Bucket, s3_proxy: Proxy) -> None:
    s3_proxy.answer = lambda _: 400
    with pytest.raises(EnvironmentUnfit, match="400") as caught:
        open_store(s3.url).head("x")
    assert "AWS_DEFAULT_REGION" in caught.value.hint


@pytest.mark.parametrize("style", ["virtual", "path", "auto"])
def test_a_bucket_with_dots_is_reached_in_each_style(
    there: str, elsewhere: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    resolve, hosts = socket.getaddrinfo, []

    def local(host: Any, *arguments: Any, **options: Any) -> Any:
        hosts.append(str(host))
        return resolve("127.0.0.1" if str(host).endswith("s3.test") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    config = tmp_path / "aws"
    config.write_text(f"[default]\ns3 =\n  addressing_style = {style}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://s3.test:{elsewhere.port}")
    store = open_store(there)
    assert store.probe()
    store.put_file("m.gguf", file_of(tmp_path, 100_000))
    assert list(store.list()) == ["m.gguf"]
    bucket = there.split("/")[2]
    assert set(hosts) == {f"{bucket}.s3.test" if style == "virtual" else "s3.test"}


def test_a_prefix_that_is_an_object_on_such_a_server_is_refused_before_a_run(s3: Bucket) -> None:
    folder, _, name = s3.url.rpartition("/")
    open_store(folder).put(name, b"an object")
    with pytest.raises(SpecInvalid, match="writing s3://") as caught:
        StorePlace(f"{s3.url}/below").check_write()
    assert "Name another prefix" in caught.value.hint


def test_the_mark_of_a_folder_that_a_console_makes_is_no_object_of_it(s3: Bucket) -> None:
    s3.client.put_object(Bucket=s3.bucket, Key="prefix/rows/", Body=b"")
    open_store(s3.url).put("rows/a.jsonl", b"{}")
    assert list(open_store(f"{s3.url}/rows").list()) == ["a.jsonl"]
    assert objects_at(f"{s3.url}/rows").names == ["a.jsonl"]


class Held:
    """A store by keys and sizes: the real server cannot hold what S3 can, an object and a prefix of one name."""

    def __init__(self, sizes: dict[str, int], place: str) -> None:
        self._sizes, self._below = sizes, place.removeprefix("s3://bucket").strip("/")

    def list(self) -> Iterator[str]:
        start = f"{self._below}/" if self._below else ""
        return iter(key.removeprefix(start) for key in self._sizes if key.startswith(start) and key != start)

    def head(self, key: str) -> Head | None:
        full = f"{self._below}/{key}".strip("/")
        return Head(self._sizes[full], "tag") if full in self._sizes else None


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ({"data/rows": 9}, ["rows"]),
        ({"data/rows": 0, "data/rows/a.jsonl": 5}, ["a.jsonl"]),  # the object marks a folder
        ({"data/rows/": 0, "data/rows/a.jsonl": 5}, ["a.jsonl"]),
        ({"data/rows": 9, "data/rows/a.jsonl": 5}, None),
    ],
    ids=["an object", "a folder with a mark", "a folder of a console", "both"],
)
def test_an_address_that_is_an_object_and_a_prefix_is_refused(
    monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int], names: list[str] | None
) -> None:
    monkeypatch.setattr("job.fetch.objects.open_store", lambda place: Held(sizes, place))
    if names:
        assert objects_at("s3://bucket/data/rows").names == names
        return
    with pytest.raises(SpecInvalid, match="is an object, and there are 1 objects below"):
        objects_at("s3://bucket/data/rows")
