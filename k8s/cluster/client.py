"""The calls to the Kubernetes API that the launcher makes, in JSON, with each failure translated.

kubernetes.client provides configuration, credentials and connection. Its models are not used, since `--dry-run`
prints plain JSON, which k8s/manifest/render.py makes.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from k8s.cluster import client_errors
from k8s.errors import AccessDenied, ClusterUnreachable, ObjectNotFound
from k8s.placement import dra
from k8s.placement.nodes import Node, node_of, quantity

if TYPE_CHECKING:
    from k8s.manifest.settings import AccessMode

Object = dict[str, Any]
TIMEOUT_S = 30
ANSWERS_S = 10.0
"""Seconds without any answer, after which a server counts as unreachable."""
PAGE = 500
KUEUE = "kueue.x-k8s.io"
PODS_THAT_HOLD = "status.phase!=Succeeded,status.phase!=Failed"


class Cluster:
    """One cluster as one user sees it, and a namespace in it."""

    def __init__(self, context: str | None = None, namespace: str | None = None) -> None:
        """From the kubeconfig, else from inside a pod. Raises ClusterUnreachable if there is neither."""
        with _not_installed("kubernetes_validate"):
            from kubernetes import client, config
        from kubernetes.config import ConfigException

        load: Any = config
        file = os.environ.get("KUBECONFIG") or None  # the library reads it only when it is imported
        settings = client.Configuration()
        try:
            load.load_kube_config(config_file=file, context=context, client_configuration=settings)
            active = load.list_kube_config_contexts(config_file=file)
            named = next(one for one in active[0] if one["name"] == context) if context else active[1]
            default = named["context"].get("namespace")
        except (ConfigException, StopIteration, FileNotFoundError) as error:
            default = _in_cluster(settings, context, error)
        settings.retries = False  # k8s/cluster/follow.py decides what to repeat
        self.namespace = namespace or default or "default"
        self.server = settings.host
        self._api = client.ApiClient(settings)

    # --- plain calls ---

    def call(self, verb: str, path: str, body: Any = None, **query: Any) -> Object:
        """Sends one request and returns its JSON. Raises the errors of k8s/cluster/client_errors.py."""
        reply = self._request(verb, path, body, query, timeout=TIMEOUT_S)
        found: Object = json.loads(reply.data)
        return found

    def stream(self, path: str, **query: Any) -> Iterator[bytes]:
        """The lines of a reply, as they come."""
        reply = self._request("GET", path, None, query, timeout=(ANSWERS_S, None))
        rest = b""
        try:
            for part in client_errors.translated_parts(reply, self.server):
                *lines, rest = (rest + part).split(b"\n")
                yield from lines
            if rest:
                yield rest
        finally:
            reply.close()

    def websocket(self, path: str, query: Sequence[tuple[str, str]]) -> Any:
        """An open websocket of websocket-client, e.g. to a pod's `exec`."""
        from kubernetes.stream.ws_client import create_websocket

        with client_errors.translated_websocket(self.server, path):
            _, url, headers, *_ = self._api.param_serialize(
                "GET", path, query_params=[*query], auth_settings=["BearerToken"]
            )
            url = url.replace("http", "ws", 1)
            found = create_websocket(self._api.configuration, url, headers)  # type: ignore[no-untyped-call]
        found.settimeout(TIMEOUT_S)
        return found

    def _request(self, verb: str, path: str, body: Any, query: Mapping[str, Any], timeout: Any) -> Any:
        headers = {"Accept": "application/json"}
        if body is not None:
            patches = verb == "PATCH"
            headers["Content-Type"] = "application/merge-patch+json" if patches else "application/json"
        asked = [(key, value) for key, value in query.items() if value is not None]
        with client_errors.translated(self.server):
            request = self._api.param_serialize(
                verb, path, query_params=asked, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            reply = self._api.call_api(*request, _request_timeout=timeout)
            if not 200 <= reply.status < 300:
                raise client_errors.of_status(reply.status, _all_of(reply), f"{verb} {path}", self.server)
            return reply.response

    def items(self, path: str, **query: Any) -> list[Object]:
        """A whole list, page by page."""
        found: list[Object] = []
        token = None
        while True:
            page = self.call("GET", path, limit=PAGE, **({"continue": token} if token else {}), **query)
            found += page["items"]
            if not (token := page["metadata"].get("continue")):
                return found

    # --- the objects of a run ---

    def _batch(self, name: str = "") -> str:
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs" + (f"/{name}" if name else "")

    def _core(self, kind: str, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def job(self, name: str) -> Object:
        """Raises ObjectNotFound."""
        return self.call("GET", self._batch(name))

    def jobs(self, selector: str, *, everywhere: bool = False) -> list[Object]:
        """Of this namespace, or of all."""
        return self.items("/apis/batch/v1/jobs" if everywhere else self._batch(), labelSelector=selector)

    def pods_of_all(self, selector: str, *, everywhere: bool = False) -> list[Object]:
        """The pods of every run of this namespace, or of all, oldest first."""
        found = self.items("/api/v1/pods" if everywhere else self._core("pods"), labelSelector=selector)
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def pods(self, job: str) -> list[Object]:
        """The pods of a Job, oldest first."""
        found = self.items(self._core("pods"), labelSelector=f"batch.kubernetes.io/job-name={job}")
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def events(self, uid: str) -> list[Object]:
        """The cluster's events about an object, oldest first."""
        found = self.items(self._core("events"), fieldSelector=f"involvedObject.uid={uid}")
        return sorted(found, key=lambda one: one.get("lastTimestamp") or one.get("eventTime") or "")

    def create(self, item: Object, *, dry_run: bool = False) -> Object:
        """Creates a ConfigMap, a Job or a Pod. Raises AlreadyThere."""
        path = {"Job": self._batch(), "ConfigMap": self._core("configmaps"), "Pod": self._core("pods")}[item["kind"]]
        return self.call("POST", path, item, dryRun="All" if dry_run else None)

    def patch_job(self, name: str, change: Object) -> Object:
        return self.call("PATCH", self._batch(name), change)

    def patch_config_map(self, name: str, change: Object) -> Object:
        return self.call("PATCH", self._core("configmaps", name), change)

    def delete_job(self, name: str) -> None:
        """Deletes a Job and its pods, which the API would keep without a propagation policy."""
        self.call("DELETE", self._batch(name), propagationPolicy="Background")

    def delete_config_map(self, name: str) -> None:
        self.call("DELETE", self._core("configmaps", name))

    def config_map(self, name: str) -> Object:
        """Raises ObjectNotFound."""
        return self.call("GET", self._core("configmaps", name))

    def log(self, pod: str, container: str, *, follow: bool, since: str | None = None) -> Iterator[bytes]:
        """The log's lines, each preceded by its time. `since`: an RFC 3339 time."""
        path = self._core("pods", pod) + "/log"
        return self.stream(path, container=container, follow=str(follow).lower(), timestamps="true", sinceTime=since)

    def last_lines(self, pod: str, container: str, count: int, *, namespace: str) -> Iterator[bytes]:
        """The last lines of a log."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        return self.stream(path, container=container, tailLines=count)

    def exists(self, kind: str, name: str) -> bool | None:
        """Whether a Secret, a PersistentVolumeClaim, … exists; None if this user is not allowed to read it."""
        try:
            self.call("GET", self._core(kind, name))
        except ObjectNotFound:
            return False
        except AccessDenied:
            return None
        return True

    def access_mode(self, claim: str) -> "AccessMode | None":
        """The widest access mode of a PersistentVolumeClaim and of its volume; None if this user is not allowed to read
        it, or there is none."""
        try:
            found = self.call("GET", self._core("persistentvolumeclaims", claim))
        except (AccessDenied, ObjectNotFound):
            return None
        modes = {*found["spec"].get("accessModes", ()), *found.get("status", {}).get("accessModes", ())}
        widest: tuple[AccessMode, ...] = ("ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
        return next((one for one in widest if one in modes), "ReadWriteOncePod")

    def served_version(self, group: str) -> str:
        """The version of an API group that this cluster prefers. Raises ObjectNotFound if it does not serve the
        group."""
        return str(self.call("GET", f"/apis/{group}")["preferredVersion"]["version"])

    def local_queue(self, name: str) -> Object | None:
        """Kueue's LocalQueue, in the version that this cluster serves; None if this user is not allowed to read it.

        Raises ObjectNotFound, also if Kueue is not installed."""
        try:
            version = self.served_version(KUEUE)
            return self.call("GET", f"/apis/{KUEUE}/{version}/namespaces/{self.namespace}/localqueues/{name}")
        except AccessDenied:
            return None

    def limits_memory(self) -> bool:
        """Whether the namespace may limit a pod's memory: it has a quota or a limit range, or they cannot be read."""
        try:
            return any(self.items(self._core(kind)) for kind in ("resourcequotas", "limitranges"))
        except AccessDenied:
            return True

    # --- the cluster's nodes ---

    def nodes(self) -> list[Node] | None:
        """The nodes, with what running pods request, and GPUs served by DRA, if this user can read these; None if the
        user cannot read nodes."""
        try:
            found = self.items("/api/v1/nodes")
        except AccessDenied:
            return None
        used, (by_dra, mapped) = self._in_use(), self._gpus_by_dra()
        names = [one["metadata"]["name"] for one in found]
        return [
            node_of(one, None if used is None else used.get(name, {}), dra=by_dra.get(name, 0), mapped=mapped)
            for name, one in zip(names, found, strict=True)
        ]

    def _gpus_by_dra(self) -> tuple[dict[str, int], bool]:
        """As `node_of` takes them; none in a cluster before 1.34, or if this user cannot read them."""
        path = "/apis/resource.k8s.io/v1"
        try:
            slices, classes = self.items(f"{path}/resourceslices"), self.items(f"{path}/deviceclasses")
        except (AccessDenied, ObjectNotFound):
            return {}, False
        return dra.whole_gpus(slices), dra.is_mapped(classes)

    def _in_use(self) -> dict[str, dict[str, int]] | None:
        """By node and resource; None if this user cannot read pods."""
        try:
            pods = self.items("/api/v1/pods", fieldSelector=PODS_THAT_HOLD)
        except AccessDenied:
            return None
        used: dict[str, dict[str, int]] = {}
        for pod in pods:
            held = used.setdefault(pod["spec"].get("nodeName", ""), {})
            for container in pod["spec"]["containers"]:
                for name, count in (container.get("resources", {}).get("requests") or {}).items():
                    if name == "memory" or name.startswith("nvidia.com/"):
                        held[name] = held.get(name, 0) + int(quantity(count))
        return used


@contextmanager
def _not_installed(name: str) -> Iterator[None]:
    """Hides a package while the block lasts. The library imports kubernetes-validate if it is there, only to have it:
    it compiles a grammar, which takes longer than any command here."""
    hidden: Any = None
    sys.modules.setdefault(name, hidden)
    try:
        yield
    finally:
        if sys.modules[name] is hidden:
            del sys.modules[name]


def _in_cluster(settings: Any, context: str | None, why: Exception) -> str:
    """Loads the configuration of a pod's service account; returns its namespace."""
    from pathlib import Path

    from kubernetes import config
    from kubernetes.config import ConfigException

    if context:
        raise ClusterUnreachable(f"--context: {why}", hint="`kubectl config get-contexts` lists them.") from why
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except ConfigException:
        raise ClusterUnreachable(
            f"no cluster is configured: {why}", hint="Set KUBECONFIG, or log in with your cloud's own tool."
        ) from why
    file = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return file.read_text().strip() if file.is_file() else "default"


def _all_of(reply: Any) -> bytes:
    return bytes(reply.read() or b"")
