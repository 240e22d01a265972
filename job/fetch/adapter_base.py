"""Whether an adapter was made for the model that it is put on: its config names the one that it was trained on."""

import json
import re
from typing import Any

from job import hub
from job.errors import JobError
from job.fetch.listing import Listing
from job.logs import log
from job.spec.places import model_place

_COPY = re.compile(r"(-unsloth)?(-bnb)?-[48]bit$|-hf$")
"""How the names of copies end that differ in nothing but their format."""
_FREE = {
    "_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "quantization_config",
    "use_cache", "unsloth_fixed", "unsloth_version", "pad_token_id", "auto_map",
}  # fmt: skip
"""Keys of a config.json that say nothing of the weights."""


def compare_base(adapter: Listing, model: Listing) -> None:
    """Warns (`fetch.adapter_base`) if the adapter names another base; says less loudly if the two have the same
    config."""
    named = _parsed(adapter.text("adapter_config.json")).get("base_model_name_or_path")
    if not isinstance(named, str) or not named or _bare(named) == _bare(model.place):
        return
    theirs, ours = _config_of(named), _parsed(model.text("config.json"))
    differing = sorted(key for key in {*theirs, *ours} - _FREE if theirs.get(key) != ours.get(key))
    if not theirs:
        compared = "whose config cannot be read from here"
    elif differing:
        compared = f"whose config differs in {', '.join(differing[:5])}"
    else:
        compared = "whose config is the same"
    what = f"the adapter {adapter.shown} was made for {named}, {compared}; it is put on {model.shown}"
    tell = log.info if theirs and not differing else log.warning
    tell("fetch.adapter_base", adapter=adapter.shown, made_for=named, model=model.shown, differs=differing, what=what)


def _bare(place: str) -> str:
    """A model's name without its owner, folders and the marks of a copy."""
    return _COPY.sub("", place.rstrip("/").rpartition("/")[2].lower())


def _config_of(place: str) -> dict[str, Any]:
    """The config.json of a repository on the Hub; empty if there is none to be read."""
    if model_place(place) != "hub" or place.count("/") != 1:
        return {}
    try:
        return _parsed(Listing(place, hub.commit_of(place)).text("config.json"))
    except JobError:
        return {}


def _parsed(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
