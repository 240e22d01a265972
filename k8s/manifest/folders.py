"""Refuses folders of the pod that are lost with it, and a volume for the store that no field of the spec uses."""

import posixpath
from pathlib import PurePosixPath

from job.spec import JobSpec
from k8s.errors import SettingsInvalid
from k8s.manifest.base import CACHE, STORE, WORK
from k8s.manifest.settings import Settings

LOST = ("emptyDir", "ephemeral")
"""Volumes that Kubernetes deletes with the pod."""


def check_folders(spec: JobSpec, settings: Settings) -> None:
    """Raises SettingsInvalid if what the run makes would be lost with the pod, or if the store's volume is unused."""
    kept = _kept(settings)
    for field, folder in (("publish.folder", spec.publish.folder), ("run.store", spec.run.store)):
        if folder and "://" not in folder and not any(_in_pod(folder).is_relative_to(one) for one in kept):
            raise SettingsInvalid(
                f"{field}: {folder} is a folder of the pod, which is lost with it",
                hint=f"Leave it out, and set --store-pvc (in the chart: store): the files are in the run's store then, "
                f"and `finetune-run results` downloads them. Or write a folder below {STORE}, or an s3:// address.",
            )
    if settings.store_pvc and spec.run.store and f'"{STORE}' not in spec.model_dump_json():
        raise SettingsInvalid(
            f"the volume {settings.store_pvc} for the run store would stay empty: run.store is {spec.run.store}",
            hint="Leave one of the two out (--set run.store=null does).",
        )


def _kept(settings: Settings) -> list[str]:
    """Where volumes are mounted that outlive the pod."""
    lost = {one["name"] for one in settings.volumes if any(kind in one for kind in LOST)}
    mounts = [one["mountPath"] for one in settings.volume_mounts if one["name"] not in lost]
    return [*mounts, *([STORE] if settings.store_pvc else []), *([CACHE] if settings.cache_pvc else [])]


def _in_pod(folder: str) -> PurePosixPath:
    """An absolute path; a relative one is below the image's working directory."""
    return PurePosixPath(posixpath.normpath(posixpath.join(WORK, folder)))
