"""Notifies a chat at the end of a run: sends FINETUNE_WEBHOOK_URL `{"text": …}`, which Slack, Mattermost, Google Chat
and Rocket.Chat accept; Discord's addresses get `{"content": …}`. A failed webhook never fails the run.
"""

import os
from urllib.parse import urlsplit

import urllib3

from job import network, strict_json
from job.errors import JobError, SpecInvalid
from job.escape import chat
from job.logs import log
from job.redaction import redact
from job.report import table
from job.report.times import cost_of
from job.run.records import Manifest

VARIABLE = "FINETUNE_WEBHOOK_URL"
LIMIT = 1900  # characters; Discord's limit is 2000
TIMEOUT_S = 10.0


def tell_done(manifest: Manifest, where: str) -> None:
    """Sends the result, the table of files, and their places."""
    files = table.published(manifest)
    lines = [f"{manifest.name}: done (run {manifest.run})"]
    train = manifest.stages["train"].metrics if "train" in manifest.stages else {}
    if train.get("loss_before") is not None and train.get("loss_after") is not None:
        lines.append(f"held-out loss {train['loss_before']:.3f} before, {train['loss_after']:.3f} after")
    if said := cost_of(manifest.stages):
        lines.append(said)
    found = table.lines(files, manifest.stages)
    for line in found:
        told = [f"{column.heading} {text}" for column in table.columns(found)[2:] if (text := column.shown(line))]
        if line.name in dict(files):
            lines.append(f"{line.name}: {', '.join(told)}")
    _send("\n".join([*lines, *manifest.places, where]))


def tell_failed(name: str, run: str, error: JobError) -> None:
    """Sends the exit code, what happened and what to do next."""
    _send(f"{name}: failed with exit code {error.code} (run {run})\n{error}")


def _send(text: str) -> None:
    url = os.environ.get(VARIABLE, "").strip()
    if not url:
        return
    key = "content" if (urlsplit(url).hostname or "").endswith(("discord.com", "discordapp.com")) else "text"
    try:
        reply = network.pool_for(url, timeout=urllib3.Timeout(TIMEOUT_S)).request(
            "POST",
            url,
            body=strict_json.dumps({key: chat(redact(text))[:LIMIT]}).encode(),
            headers={"Content-Type": "application/json"},
            retries=urllib3.Retry(2, backoff_factor=0.5, status_forcelist=(429, 502, 503), allowed_methods=None),
        )
        said = f"status {reply.status}" if reply.status >= 300 else ""
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        said = type(error).__name__  # its text contains the address, which is a secret
    except SpecInvalid as error:  # its text names a host alone
        said = str(error)
    if said:
        log.warning("webhook.not_sent", why=said)
