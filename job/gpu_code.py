"""Which GPUs a program has machine code for, by the architectures that it was built for.

Code of one architecture runs on GPUs of its major version with the same or a later minor one (CUDA C++ Programming
Guide, binary compatibility): 8.6's on 8.9. Intermediate code (PTX), which a driver compiles, does not count: that of a
toolkit newer than the driver is refused (CUDA Compatibility guide), and the image's is newer than driver 580.
"""

import re
from collections.abc import Sequence

_ARCHITECTURE = re.compile(r"(sm_|compute_)?(\d+)(\d)([af]?)(-real|-virtual)?")
"""As torch (`sm_86`, `compute_120`) and CMake (`86`, `90a-real`) write them."""


def runs_on(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether a GPU of this compute capability runs code built for these.

    Names such as `native` and `all`, which do not say which they are, are taken to include it.
    """
    major, minor = capability
    for architecture in architectures:
        found = _ARCHITECTURE.fullmatch(architecture)
        if found is None:
            return True
        prefix, built_major, built_minor, only, kind = found.groups()
        is_exact = only == "a"  # its instructions are in no other GPU
        if prefix == "compute_" or kind == "-virtual" or int(built_major) != major:
            continue
        if minor == int(built_minor) or (minor > int(built_minor) and not is_exact):
            return True
    return False


def named(architectures: Sequence[str]) -> str:
    """E.g. `7.5, 8.6`; names that are not numbers as they are."""
    found = [(_ARCHITECTURE.fullmatch(one), one) for one in architectures]
    return ", ".join(f"{match[2]}.{match[3]}{match[4]}" if match else name for match, name in found)
