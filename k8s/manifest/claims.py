"""Refuses runs at a time on a volume that one node at a time can mount: the second pod would hold a GPU and wait."""

from k8s.errors import SettingsInvalid
from k8s.manifest.settings import Settings

HOSTNAME = "kubernetes.io/hostname"
"""A node selector with it puts all pods on one node, which can share a ReadWriteOnce volume."""


def check_claims(settings: Settings, runs: int) -> None:
    """Raises SettingsInvalid. A claim whose access mode is not known is let through."""
    at_a_time = min(settings.parallel, runs)
    for claim in (settings.store_pvc, settings.cache_pvc):
        mode = settings.access_modes.get(claim or "", "ReadWriteMany")
        on_one_node = mode == "ReadWriteOnce" and HOSTNAME in settings.node_selector
        if at_a_time > 1 and mode != "ReadWriteMany" and not on_one_node:
            raise SettingsInvalid(
                f"parallel: {at_a_time} runs at a time cannot mount the claim {claim}, which is {mode}: a second pod "
                f"would hold a GPU and wait for the volume",
                hint="Set --parallel 1, name a ReadWriteMany claim, or keep the runs in s3:// (run.store). "
                f"If all runs fit on one node: --node-selector {HOSTNAME}=NODE, for a ReadWriteOnce claim.",
            )
