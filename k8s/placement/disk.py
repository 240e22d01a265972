"""Whether a node that is started for a run has enough disk, as far as its platform's defaults say."""

from k8s.placement.placement import Placement
from k8s.placement.platforms import PLATFORMS


def disk_notes(placement: Placement, needed: int) -> list[str]:
    """A note for each platform on which the run may wait without end for `needed` bytes; none if a node is there."""
    found = {} if placement.nodes else {one: PLATFORMS[one].disk_note(needed) for one in placement.platforms}
    return [
        f"the run asks for {needed >> 30} GiB of the node's disk. On {one}, {note}; or put the work directory on a "
        "volume with --scratch."
        for one, note in found.items()
        if note
    ]
