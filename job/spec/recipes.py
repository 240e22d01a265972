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
    """A spec's data with its recipe's defaults where it says nothing. A fault is left as it is.

    Nothing changes without training; and an adapter to start from keeps its own settings.
    """
    if not isinstance(data, dict) or data.get("training", {}) is None:
        return data
    name, model = data.get("recipe"), data.get("model")
    starts_from_adapter = isinstance(model, dict) and model.get("adapter") is not None
    found = dict(data)
    for section, values in (RECIPES.get(name, {}) if isinstance(name, str) else {}).items():
        given = found.get(section, {})
        if isinstance(given, dict) and not (section == "lora" and starts_from_adapter):
            found[section] = values | given
    return found
