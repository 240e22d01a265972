"""Defaults of a team and of a person, and limits: a ConfigMap of the namespace, then a file, then the command line.

A later layer wins; lists and labels are put together. Limits can be tightened by a later layer, never loosened. They
save a mistake, not a cluster from its users: what a user may do is for the cluster's own quotas and rights.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from job.artifacts import Frozen
from job.predict.gpus import GPUS, gpus_named
from job.spec import JobSpec
from k8s.cluster.client import Cluster
from k8s.configuration import MAX_BYTES, Price, Shared, Targets, read_text, within
from k8s.errors import AccessDenied, ObjectNotFound, SettingsInvalid
from k8s.placement.prices import Prices, prices_of, same_for_all

CONFIG_MAP, KEY = "finetune-run-defaults", "defaults.yaml"
HINT = "docs/launcher.md has an example; `finetune-run config` shows what is in effect."
BUILT_IN = "default"


class Limits(Frozen):
    """What no run may exceed."""

    largest_gpu: str | None = None
    """The largest card: of the known ones this and those before it, of others those with no more memory."""
    publish: Targets | None = None
    """Where runs may publish; unset: anywhere."""
    max_cost: Price | None = None
    """The most that the runs of one launch may cost, by prediction before and by the clock while they run."""


class Defaults(Shared):
    """One layer."""

    prices: dict[str, Any] = {}
    """As in --price-file."""
    limits: Limits = Limits()


class Layer(NamedTuple):
    """Defaults, and where they are."""

    where: str
    values: Defaults


class Effective(NamedTuple):
    """What is in effect, and from where each value comes; a key that is not in `values` is unset everywhere."""

    values: dict[str, Any]
    origins: dict[str, str]
    notes: tuple[str, ...] = ()

    def get(self, key: str, given: Any) -> Any:
        """The command line's value if it has one, else the default's."""
        return self.values.get(key) if given is None else given

    def listed(self, key: str, given: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.values.get(key, ()), *(given or ())]))

    def labels(self, given: Mapping[str, str]) -> dict[str, str]:
        return {**self.values.get("labels", {}), **given}

    def prices(self) -> Prices:
        if "prices" in self.values:
            return prices_of(self.values["prices"], f"{self.origins['prices']}: prices")
        hourly = self.values.get("price_per_hour")
        return same_for_all(hourly) if hourly else {}

    def max_cost(self, given: float | None) -> float | None:
        """Raises SettingsInvalid if the command line's is more than the limit."""
        limit: float | None = self.values.get("limits.max_cost")
        if given is not None and limit is not None and given > limit:
            raise SettingsInvalid(
                f"--max-cost {given:g} is more than {self._limit('max_cost', f'{limit:g}')}", hint="Lower it."
            )
        return limit if given is None else given

    def check_targets(self, specs: list[JobSpec]) -> None:
        """Raises SettingsInvalid for a place to publish to that is not allowed."""
        allowed: Targets | None = self.values.get("limits.publish")
        if allowed is None:
            return
        for spec in specs:
            private = spec.publish.hub is None or spec.publish.hub.private
            for address in spec.publish.addresses:
                for refused in allowed.refusals(address, private=private):
                    raise SettingsInvalid(f"{refused} ({self.origins['limits.publish']}: limits.publish)")

    def check_cards(self, cards: list[Any]) -> None:
        """Raises SettingsInvalid for a card that is larger than the largest one, or of which nobody knows."""
        largest: str | None = self.values.get("limits.largest_gpu")
        if largest is None:
            return
        allowed = allowed_cards(largest)
        most = GPUS[allowed[-1]].memory
        for card in cards:
            if card.name not in allowed and (card.name in GPUS or not 0 < card.memory <= most * 1.05):
                raise SettingsInvalid(
                    f"the run may get {card.name}, and {self._limit('largest_gpu', largest)} is the largest",
                    hint=f"Name others with --gpu: {', '.join(allowed)}.",
                )

    def _limit(self, key: str, value: str) -> str:
        return f"{value}, the limit of {self.origins[f'limits.{key}']} (limits.{key})"


def allowed_cards(largest: str) -> list[str]:
    """The known cards up to this one."""
    names = list(GPUS)
    return names[: names.index(gpus_named(largest)[-1].name) + 1]


def file_of(environ: Mapping[str, str]) -> Path:
    """The person's file (XDG Base Directory Specification)."""
    base = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "finetune-run.yaml"


def defaults(cluster: Cluster | None, environ: Mapping[str, str] = os.environ) -> Effective:
    """What is in effect before the command line. Raises SettingsInvalid, with the layer and the key, and the errors of
    the API; a ConfigMap that this user may not read is a note."""
    layers: list[Layer] = []
    notes = []
    if cluster:
        try:
            layers += _of_cluster(cluster)
        except AccessDenied as error:
            notes.append(f"the team's defaults are not applied: {error.message} (ConfigMap {CONFIG_MAP})")
    layers += _of_file(file_of(environ))
    return _together(layers)._replace(notes=tuple(notes))


def _of_cluster(cluster: Cluster) -> Iterator[Layer]:
    where = f"ConfigMap {CONFIG_MAP} in {cluster.namespace}"
    try:
        found = cluster.config_map(CONFIG_MAP)
    except ObjectNotFound:
        return
    if set(found.get("data") or {}) != {KEY}:
        raise SettingsInvalid(f"{where} has not exactly the key {KEY}", hint=f"Put the settings below {KEY}. {HINT}")
    yield Layer(where, _read(found["data"][KEY], where))


def _of_file(path: Path) -> Iterator[Layer]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{path} cannot be read: {error}", hint=HINT) from error
    yield Layer(str(path), _read(text, str(path)))


def _read(text: str, where: str) -> Defaults:
    found = read_text(text, Defaults, where, HINT)
    if found.store and found.store_pvc:
        raise SettingsInvalid(f"{where}: store and store_pvc are two stores", hint="Leave one of the two out.")
    if found.prices:
        prices_of(found.prices, f"{where}: prices")
    try:
        gpus_named(found.limits.largest_gpu or "t4")
    except ValueError as error:
        raise SettingsInvalid(f"{where}: limits.largest_gpu: {error}") from error
    return found


def _together(layers: list[Layer]) -> Effective:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for where, layer in layers:
        given = {name: getattr(layer, name) for name in layer.model_fields_set - {"limits"}}
        if {"store", "store_pvc"} & set(given):  # one store replaces the other
            for name in ("store", "store_pvc"):
                values.pop(name, None)
        if {"prices", "price_per_hour"} & set(given):
            for name in ("prices", "price_per_hour"):
                values.pop(name, None)
        for name, value in given.items():
            added = name in ("labels", "secrets", "pull_secrets") and name in values
            values[name] = _added(values[name], value) if added else value
            origins[name] = f"{origins[name]}, {where}" if added else where
        for name in layer.limits.model_fields_set:
            limit = getattr(layer.limits, name)
            _check_tighter(values.get(f"limits.{name}"), limit, name, where, origins)
            values[f"limits.{name}"], origins[f"limits.{name}"] = limit, where
    return Effective({name: value for name, value in values.items() if value is not None}, origins)


def _added(before: Any, more: Any) -> Any:
    """Both maps, or both lists, each item once."""
    return {**before, **more} if isinstance(more, dict) else tuple(dict.fromkeys([*before, *more]))


def _check_tighter(before: Any, limit: Any, name: str, where: str, origins: Mapping[str, str]) -> None:
    """Raises SettingsInvalid if a later layer's limit is looser."""
    if before is None:
        return
    if limit is None:
        looser = True
    elif name == "max_cost":
        looser = limit > before
    elif name == "largest_gpu":
        looser = len(allowed_cards(limit)) > len(allowed_cards(before))
    else:
        owners, known = ({*map(str.lower, one.hub)} for one in (limit, before))
        looser = not all(within(one, before.s3) for one in limit.s3) or not owners <= known
        looser = looser or limit.public > before.public
    if looser:
        raise SettingsInvalid(
            f"{where}: limits.{name} is looser than that of {origins[f'limits.{name}']}",
            hint="A later layer can only tighten a limit: lower it, or leave it out.",
        )
