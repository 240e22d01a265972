"""The whole spec."""

from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

from job.spec.parts import Parts
from job.spec.places import shown_places
from job.spec.recipes import set_by_recipe, with_recipe
from job.spec.rules import cross_faults


class JobSpec(Parts):
    """A whole run. `model` and `dataset` are enough."""

    @model_validator(mode="wrap")
    @classmethod
    def _has_the_defaults_of_its_recipe(cls, data: Any, validated: ModelWrapValidatorHandler[Self]) -> Self:
        found = validated(with_recipe(data))
        for section, fields in set_by_recipe(data).items():
            getattr(found, section).model_fields_set.difference_update(fields)
        return found

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        faults = tuple(cross_faults(self))
        if faults:
            text = "; ".join(f"{fault.paths[0]}: {fault.message}" for fault in faults)
            raise PydanticCustomError("parts_do_not_fit", "{text}", {"text": text, "faults": faults})
        return self

    def shown(self) -> dict[str, Any]:
        """The spec as it is shown and kept, in JSON: without what an address may hold beside host and path."""
        found: dict[str, Any] = shown_places(self.model_dump(mode="json"))
        return found
