"""Writes what an image consists of as a CycloneDX 1.6 document: Debian packages, Python packages, llama.cpp.

    sbom.py OUT

Runs inside the image, so that it names what is there and nothing else. Source: cyclonedx.org/docs/1.6/json; package
URLs as github.com/package-url/purl-spec has them.
"""

import hashlib
import json
import platform
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")
Component = dict[str, Any]


def main() -> int:
    found = sorted([*debian(DPKG), *python(), *llama(Path(sys.prefix) / "llama.cpp")], key=lambda one: one["bom-ref"])
    Path(sys.argv[1]).write_text(json.dumps(document(found), indent=1) + "\n")
    return 0


def document(components: list[Component]) -> dict[str, Any]:
    """Without a date or a random number: the same image has the same document."""
    whole: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "finetune-run", "bom-ref": "finetune-run"}},
        "components": components,
    }
    digest = hashlib.sha256(json.dumps(whole).encode()).hexdigest()
    parts = (digest[:8], digest[8:12], "8" + digest[13:16], "8" + digest[17:20], digest[20:32])  # RFC 9562, version 8
    return {**whole, "serialNumber": "urn:uuid:" + "-".join(parts)}


def component(purl: str, name: str, version: str, **more: Any) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl} | more


def debian(status: Path) -> list[Component]:
    found = []
    for paragraph in status.read_text().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={arch}"
            found.append(component(purl, name, version))
    return found


def python() -> list[Component]:
    found = [component(f"pkg:generic/python@{platform.python_version()}", "python", platform.python_version())]
    for one in distributions():
        name, version = one.metadata["Name"], one.version
        expression = one.metadata.get("License-Expression")
        licenses = {"licenses": [{"expression": expression}]} if expression else {}
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version, safe='')}"
        found.append(component(purl, name, version, **licenses))
    return found


def llama(folder: Path) -> list[Component]:
    """Its version as scripts/build-llama.sh wrote it: llama.cpp's own, the source's, the patches', and the
    GPUs it has code for."""
    own, source, patches, *cuda = (folder / "VERSION").read_text().splitlines()
    version = own.removeprefix("llama.cpp ")
    facts = {"source": source, "patches": patches.removeprefix("patches ")}
    facts["cuda"] = "".join(line.removeprefix("cuda ") for line in cuda) or "none"
    properties = [{"name": f"finetune-run:{name}", "value": value} for name, value in facts.items()]
    purl = f"pkg:github/ggml-org/llama.cpp@{quote(version, safe='')}"
    return [component(purl, "llama.cpp", version, properties=properties)]


if __name__ == "__main__":
    sys.exit(main())
