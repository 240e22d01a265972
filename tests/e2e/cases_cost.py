"""What a run costs on a cluster: said while it runs and afterwards, and its end when it may cost no more."""

from tests.e2e.place import Place

PRICE = ("--env", "FINETUNE_PRICE_PER_HOUR=3600")
"""One a second."""


def test_a_run_that_has_cost_its_limit_ends_and_goes_on_with_a_higher_one(place: Place) -> None:
    """The limit is given as the run reads it: the launcher would not send what will likely cost more."""
    job, said = place.launch(place.spec(), *PRICE, "--env", "FINETUNE_MAX_COST=5", follow=True)
    assert said.code == 85, said.err + place.state()
    assert "its limit is 5" in said.err
    assert place.condition(job) == "Failed"
    run = place("status", job, "-o", "json").json()
    assert run["code"] == 85 and run["cost"] == run["held_s"] >= 5
    _, again = place.launch(place.spec(), *PRICE, "--env", "FINETUNE_MAX_COST=100000", follow=True)
    assert again.code == 0, again.err + place.state()
    line = next(line for line in place("list").out.splitlines() if job in line)
    assert "complete" in line and line.split()[-1].replace(".", "").isdigit()


def test_what_will_likely_cost_more_is_not_sent(place: Place) -> None:
    known = set(place.jobs())
    _, said = place.launch(place.spec(), "--price", "3600", "--max-cost", "0.01", follow=True)
    assert said.code == 16 and "--max-cost is 0.01" in said.err and set(place.jobs()) == known
