"""A place has one meaning everywhere: what the spec accepts is what is opened, published to and kept apart."""

from typing import get_args

from job.spec.places import STORES, Where, data_place, model_place
from job.spec.sections import Publish
from job.spec.types import ADDRESSES
from job.store.open import OPENERS

EVERYWHERE = {"folder": "/published", "s3": "s3://bucket/models", "hub": {"repo_id": "me/quotes-gguf"}}


def test_what_the_spec_takes_for_a_store_can_be_opened() -> None:
    assert set(STORES) == set(ADDRESSES) == set(OPENERS)
    assert set(STORES) | {"hub", "https", "path"} == set(get_args(Where))


def test_an_address_of_a_store_is_one_for_models_and_for_data() -> None:
    for scheme in STORES:
        assert model_place(f"{scheme}://bucket/x") == data_place(f"{scheme}://bucket/x.jsonl") == scheme


def test_every_place_that_can_be_published_to_has_an_address() -> None:
    publish = Publish.model_validate(EVERYWHERE)
    assert set(EVERYWHERE) == set(Publish.model_fields) - {"name"}
    assert len(publish.addresses) == len(EVERYWHERE)


def test_two_runs_of_a_sweep_publish_to_no_place_together() -> None:
    publish = Publish.model_validate(EVERYWHERE)
    first, second = publish.apart(0).addresses, publish.apart(1).addresses
    assert len({*publish.addresses, *first, *second}) == 3 * len(EVERYWHERE)
