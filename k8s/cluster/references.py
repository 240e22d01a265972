"""Checks that what a run names is in the cluster."""

from k8s.cluster.client import Cluster
from k8s.errors import ObjectNotFound
from k8s.manifest.settings import Settings


def check_references(cluster: Cluster, settings: Settings) -> None:
    """Checks that named objects exist, before anything is sent. Raises ObjectNotFound."""
    named = [("secrets", name) for name in (*settings.env_secrets, *settings.pull_secrets, *settings.secret_files)]
    named += [("secrets", one.name) for one in settings.secret_env.values()]
    named += [("persistentvolumeclaims", name) for name in (settings.store_pvc, settings.cache_pvc) if name]
    named += [("configmaps", settings.ca.name)] if settings.ca else []
    named += [("serviceaccounts", settings.service_account)] if settings.service_account else []
    for kind, name in dict.fromkeys(named):
        if cluster.exists(kind, name) is False:
            raise ObjectNotFound(
                f"there is no {kind.removesuffix('s')} {name} in namespace {cluster.namespace}",
                hint="Create it first, or name another one.",
            )
    if settings.queue:
        try:
            cluster.local_queue(settings.queue)
        except ObjectNotFound as error:
            raise ObjectNotFound(
                f"there is no LocalQueue {settings.queue} in namespace {cluster.namespace}",
                hint="Check that Kueue is installed; `kubectl get localqueues` lists the queues.",
            ) from error
