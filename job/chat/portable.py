"""Makes a chat template that engines without transformers can render."""

import re

_GENERATION = re.compile(r"(\{%[-+]?)\s*(end)?generation\s*([-+]?%\})")


def portable_template(template: str) -> str:
    """The chat template without `{% generation %}`, which marks answers for training and which only transformers
    knows; it renders the same."""
    return _GENERATION.sub(lambda mark: f"{mark[1]} {'endif' if mark[2] else 'if true'} {mark[3]}", template)
