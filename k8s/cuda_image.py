"""Refuses a GPU for an image whose llama.cpp cannot use it: the card would be paid for while the CPU measures files."""

from job import gpu_code
from job.gpu_faults import VARIABLE
from k8s.errors import SettingsInvalid
from k8s.manifest.settings import Settings, has_registry
from k8s.registry import NotAsked, labels_of

LABEL = "finetune-run.cuda"
"""Of the Dockerfile: the architectures that llama.cpp was built for, or `none`."""
_TOLD = f"--env {VARIABLE}=training"


def check_cuda(settings: Settings) -> list[str]:
    """Notes for the user. Raises SettingsInvalid if the image's label says that it has no code for the GPU.

    Nothing is asked if there is no GPU, if the image comes from no registry, or if the user has set FINETUNE_GPU.
    """
    placement, image = settings.placement, settings.image
    if not placement.resource or VARIABLE in settings.env or not has_registry(image) or settings.pull_policy == "Never":
        return []
    try:
        label = labels_of(image).get(LABEL)
    except NotAsked as error:
        return [f"the registry could not be asked whether {image} has CUDA: {error}"]
    if label is None:
        return []
    if label == "none":
        raise SettingsInvalid(
            f"{image} is CPU-only ({LABEL}=none): the GPU would stand idle while the CPU measures files, for hours",
            hint=f"Build it with CUDA_ARCHITECTURES (docs/image.md), or send it all the same: {_TOLD}.",
        )
    architectures = [one for one in label.split(";") if one]
    lacking = [card.name for card in placement.cards if not gpu_code.runs_on(card.capability, architectures)]
    if lacking:
        raise SettingsInvalid(
            f"{image} has no code for {', '.join(lacking)}: it was built for {gpu_code.named(architectures)}",
            hint=f"Build it for this GPU too (CUDA_ARCHITECTURES), name another --gpu, or send it anyway: {_TOLD}.",
        )
    return []
