"""Sets of defaults: `recipe: classic` has those of the fields themselves, `modern` replaces some.

What is written in a spec wins over the recipe. Keys and ids depend on the values alone, not on the recipe's name.
"""

from typing import Any

MODERN: dict[str, dict[str, Any]] = {
    "lora": {"r": 16, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear"},
    "training": {"max_grad_norm": 1.0},
}
"""docs/recipes.md has the source of each value."""
RECIPES: dict[str, dict[str, dict[str, Any]]] = {"classic": {}, "modern": MODERN}


def with_recipe(data: Any) -> Any:
    """A spec's data with its recipe's defaults where it says nothing. A fault is left as it is."""
    found = dict(data) if isinstance(data, dict) else data
    for section, values in set_by_recipe(data).items():
        found[section] = values | found.get(section, {})
    return found


def set_by_recipe(data: Any) -> dict[str, dict[str, Any]]:
    """The values that a spec's recipe gives, and its data does not.

    Nothing changes without training; and an adapter to start from keeps its own settings.
    """
    if not isinstance(data, dict) or data.get("training", {}) is None:
        return {}
    name, model = data.get("recipe"), data.get("model")
    starts_from_adapter = isinstance(model, dict) and model.get("adapter") is not None
    found = {}
    for section, values in (RECIPES.get(name, {}) if isinstance(name, str) else {}).items():
        given = data.get(section, {})
        if isinstance(given, dict) and not (section == "lora" and starts_from_adapter):
            found[section] = {field: value for field, value in values.items() if field not in given}
    return found
