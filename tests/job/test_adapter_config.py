"""Every field of an adapter's config is merged, changes nothing, or is refused."""

import dataclasses

from peft import LoraConfig

from job.adapter_config import CANNOT, HARMLESS, MERGED


def test_every_field_of_this_pefts_lora_is_known() -> None:
    fields = {field.name for field in dataclasses.fields(LoraConfig)}
    assert fields - (MERGED | HARMLESS | CANNOT.keys()) == set(), "say what the merge does with it"
    assert len(MERGED) + len(HARMLESS) + len(CANNOT) == len(MERGED | HARMLESS | CANNOT.keys()), "each is in one place"
