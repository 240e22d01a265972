"""Prices by card, and what a launch may cost."""

from pathlib import Path

import pytest

from job.budget import MOST, PRICE, budget
from job.predict.timing import Seconds
from k8s.budget import Allowed
from k8s.errors import SettingsInvalid
from k8s.placement.place import place
from k8s.placement.placement import Placement
from k8s.placement.prices import price_of, prices_of, read_prices, same_for_all
from k8s.placement.wish import Wish

HOUR = 3600.0
PRICES = prices_of({"t4": 0.35, "l4": {"on_demand": 0.71, "spot": 0.22}}, "prices")


def on(*gpus: str, spot: bool = False) -> Placement:
    return place(Wish(gpus=gpus, platform="gke", spot=spot), None)


def test_the_dearest_card_that_the_run_may_get_counts() -> None:
    assert price_of(on("t4"), PRICES) == 0.35
    assert price_of(on("t4", "l4"), PRICES) == 0.71
    assert price_of(on("l4", spot=True), PRICES) == 0.22


def test_a_price_that_is_not_known_is_not_guessed() -> None:
    assert price_of(on("t4", "h100"), PRICES) is None
    assert price_of(on("l4", spot=True), prices_of({"l4": {"on_demand": 0.71}}, "prices")) is None
    assert price_of(place(Wish(gpus=("none",)), None), same_for_all(1.0)) is None


def test_one_price_is_that_of_every_card() -> None:
    assert price_of(on("h100"), same_for_all(2.5)) == 2.5
    with pytest.raises(SettingsInvalid, match="--price"):
        same_for_all(-1)


def test_a_file_of_prices_is_read_and_its_faults_are_named(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("t4: 0.35\nl4: {on_demand: 0.71, spot: 0.22}\n")
    assert read_prices(file) == PRICES
    for text, said in (
        ("t4: free\n", "t4: not a price"),
        ("t5: 0.35\n", "t5 is not a known card; did you mean"),
        ("- t4\n", "the file: not a price"),
        ("t4: [\n", "cannot be read"),
    ):
        file.write_text(text)
        with pytest.raises(SettingsInvalid, match=f"--price-file .*prices.yaml: {said}"):
            read_prices(file)


def test_each_run_of_a_sweep_may_cost_its_share() -> None:
    found, notes = Allowed(PRICES, 4.0).variables(on("t4"), Seconds(HOUR, 2 * HOUR), 4)
    assert found == {PRICE: "0.35", MOST: "1"} and notes == []
    assert budget(found) == (0.35, 1.0)


def test_without_a_limit_the_price_alone_goes_along() -> None:
    assert Allowed(PRICES).variables(on("t4"), Seconds(None, None), 1) == ({PRICE: "0.35"}, [])
    assert Allowed().variables(on("t4"), Seconds(HOUR, HOUR), 1) == ({}, [])


def test_what_will_likely_cost_more_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(SettingsInvalid, match=r"the 2 runs would cost 3\.50 \(at 0\.35 an hour\), and --max-cost is 3"):
        Allowed(PRICES, 3.0).variables(on("t4"), Seconds(10 * HOUR, 90 * HOUR), 2)
    assert Allowed(PRICES, 4.0).variables(on("t4"), Seconds(10 * HOUR, 90 * HOUR), 2)[1] == []


def test_a_limit_without_a_price_or_a_time_is_told() -> None:
    with pytest.raises(SettingsInvalid, match="the price of h100 is not known"):
        Allowed(PRICES, 3.0).variables(on("h100"), Seconds(HOUR, HOUR), 1)
    _, notes = Allowed(PRICES, 3.0).variables(on("t4"), Seconds(None, None), 1)
    assert notes == ["how long it takes is not known; it ends when it has cost 3"]
