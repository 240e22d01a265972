"""Removes secrets from everything that is written: logs, exceptions, the spec's copy, cards.

A secret is recognized by its shape, or as the value of an environment variable whose name marks it as secret. Not
recognized: a secret of unknown shape that is in no such variable, and values under 8 characters, which would hide
ordinary words.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

PLAIN_NAMES = r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY|CREDENTIAL|PRIVATE_KEY|WEBHOOK|SSHPASS"
"""Those that Go's regular expressions can say too: the chart's templates refuse them (k8s/chart/tables.py)."""
_SECRET_NAMES = re.compile(
    rf"{PLAIN_NAMES}"
    r"|CONN(ECTION)?_?STR(ING)?|(?<![A-Z])(PASS|PWD|SAS|HOOK|KEY|PAT|AUTH|DSN|JWT|COOKIE)(_?(URL|VALUE|ID|[0-9]+))?$",
    re.I,
)
NOT_SECRET_NAMES = (
    r"^(OLD)?PWD$|(_FILE|_PATH|_DIR|_URI|_ROLE_ARN)$|^TOKENIZERS_|^FINETUNE__(\w+__)?(PAD_TOKEN|MAX_NEW_TOKENS)$"
)
_NOT_SECRET = re.compile(NOT_SECRET_NAMES, re.I)
PLAIN_SHAPES = (
    r"hf_[A-Za-z0-9]{20,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{35}"
)
SECRET_SHAPES = re.compile(
    rf"{PLAIN_SHAPES}"
    r"|(?i:(?<=\bbearer ))(?:(?=[A-Za-z._~+/-]{0,100}[0-9])[\w.~+/-]{8,}|[\w.~+/-]{20,})=*"
    r"|(?i:(?<=\bauthorization: basic ))[\w+/-]{8,}=*"
    r"|(?i:\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)=|(?<=;)(?:Password|Pwd)=)[^;\s\"']{4,}"
    r"|\beyJ[\w-]{10,500}\.eyJ[\w-]{10,4000}\.[\w-]{10,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^/\s\"'<>]+(?=@)"
    r"|(?i:(?<=[?&])(?:X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)|sig|signature"
    r"|api_?key|jwt|(?:access_|private_|auth_|id_)?token|password|(?:client_)?secret)=[^&\s\"']+)"
)
MASK = "[redacted]"


def secret_values(environ: Mapping[str, str] | None = None) -> list[str]:
    """The values of environment variables whose names mark them as secret, longest first.

    White space around a value (the line end of a mounted file) is not part of it.
    """
    values = {
        value.strip()
        for name, value in (os.environ if environ is None else environ).items()
        if len(value.strip()) >= 8 and _SECRET_NAMES.search(name) and not _NOT_SECRET.search(name)
    }
    return sorted(values, key=len, reverse=True)


def redact(text: str, environ: Mapping[str, str] | None = None) -> str:
    """`text` without the environment's secrets and without anything shaped like one."""
    for value in secret_values(environ):
        text = text.replace(value, MASK)
    return SECRET_SHAPES.sub(MASK, text)


def redact_all(value: Any, environ: Mapping[str, str] | None = None) -> Any:
    """The same for every string in nested dicts (keys too), lists, tuples and sets.

    Any other value except a number (a path, an exception) becomes its redacted text, since writing it later would
    bypass the redaction.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {
            redact(key, environ) if isinstance(key, str) else key: redact_all(item, environ)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact_all(item, environ) for item in value]
    return redact(str(value), environ)
