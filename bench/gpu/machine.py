"""What the numbers were measured on: GPU, driver, and the versions of the libraries that compute."""

from importlib.metadata import PackageNotFoundError, version

import torch

from bench.gpu.record import Bench
from job import driver

LIBRARIES = ("torch", "triton", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "tokenizers")


def run(bench: Bench) -> None:
    with bench.case("machine") as fields:
        found = driver.ask()
        fields["driver"] = found.version
        fields["gpus"] = [{"name": gpu.name, "memory": gpu.memory} for gpu in found.gpus]
        fields["cuda"] = torch.version.cuda
        fields["capability"] = list(torch.cuda.get_device_capability()) if torch.cuda.is_available() else None
        fields["versions"] = {name: version_of(name) for name in LIBRARIES}


def version_of(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
