"""Columns that `dataset.template` writes from those that a row has: Jinja templates, in a sandbox, with bounds on time
and memory.

A template sees each column by its name, and all of them as `row`. Nothing is written that a model should not learn: a
column that is missing or null, or a list or an object where text is wanted, makes the row broken.
"""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from job.chat.rendering import Budget
from job.dataset.rows import Broken, kind_name, listed, shown
from job.errors import SpecInvalid

_ROW = "row"


class Written:
    """The templates of one data set, by the columns that they write."""

    def __init__(self, templates: dict[str, str]) -> None:
        from jinja2 import StrictUndefined, TemplateSyntaxError, meta
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, finalize=_text, keep_trailing_newline=True
        )
        environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
        self._budget = Budget(is_own=True, whose="dataset.template")
        self._names: dict[str, set[str]] = {}
        self._compiled = {}
        for column, template in templates.items():
            try:
                with self._budget.rendering():
                    found = meta.find_undeclared_variables(environment.parse(template))
                    self._compiled[column] = environment.from_string(template)
            except TemplateSyntaxError as error:
                raise SpecInvalid(f"dataset.template.{column}: not a Jinja template: {error}") from error
            self._names[column] = found - set(environment.globals)

    @property
    def reads(self) -> set[str] | None:
        """The columns that are needed; None for all."""
        names = set().union(*self._names.values())
        return None if _ROW in names else names

    def check(self, columns: Iterable[str], name: str) -> None:
        """Raises SpecInvalid for a column that the data set `name` does not have."""
        known = list(columns)
        for column, names in self._names.items():
            for missing in sorted(names - set(known) - {_ROW}):
                raise SpecInvalid(
                    f"dataset.template.{column} uses {missing}, which is not a column of {name}; its columns are "
                    f"{listed(map(shown, known))}",
                    hint="Write one of them; a name that is not a word is written row['a name'].",
                )

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The columns written from a row. Raises Broken."""
        from jinja2 import TemplateError

        found = {}
        for column, template in self._compiled.items():
            try:
                with self._budget.rendering():
                    found[column] = template.render({_ROW: row} | row)
            except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
                raise Broken(f"dataset.template.{column}: {listed([str(error)[:200]])}") from error
        return found


@cache
def _written(templates: tuple[tuple[str, str], ...]) -> Written:
    return Written(dict(templates))


def written_by(templates: dict[str, str]) -> Written | None:
    """The templates, compiled once; None if there are none. Raises SpecInvalid."""
    return _written(tuple(templates.items())) if templates else None


def _text(value: Any) -> Any:
    """What a template writes for a value."""
    from jinja2 import Undefined

    if isinstance(value, str | Undefined) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ValueError(f"it writes {kind_name(value)}; use a condition, a filter such as join or tojson, or default")
