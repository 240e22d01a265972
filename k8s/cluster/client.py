"""The calls to the Kubernetes API that the launcher makes: the objects of a run, and the cluster's nodes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from k8s.cluster.connection import Connection, Object
from k8s.errors import AccessDenied, ClusterUnreachable, ObjectNotFound
from k8s.placement import dra
from k8s.placement.nodes import Node, node_of, quantity

if TYPE_CHECKING:
    from k8s.manifest.settings import AccessMode

KUEUE = "kueue.x-k8s.io"
PODS_THAT_HOLD = "status.phase!=Succeeded,status.phase!=Failed"


class Cluster(Connection):
    """One cluster as one user sees it, and a namespace in it."""

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


def cluster_or_none(context: str | None, namespace: str | None, *, needed: bool) -> Cluster | None:
    """The cluster; None if there is none, none is named, and it is not needed."""
    try:
        return Cluster(context, namespace)
    except ClusterUnreachable as error:
        if context and not needed:
            raise
        if needed:
            advice = "`plan` and `--dry-run` need none if the platform is named: --platform gke, eks, aks, …"
            raise ClusterUnreachable(error.message, hint=f"{error.hint} {advice}".strip()) from error
        return None
