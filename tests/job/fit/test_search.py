"""The search over a model whose divergence is known: it stays within its budgets, and finds what is there."""

import itertools
import random
from math import prod

import pytest

from job.fit.groups import Group, groups_of
from job.fit.knapsack import choose
from job.fit.search import ERRORS, Mix, Point, search
from job.fit.tensors import Tensor


def tensors(layers: int = 8, width: int = 256) -> list[Tensor]:
    found = [Tensor(name="token_embd.weight", columns=width, elements=width * 1500)]
    for layer in range(layers):
        for kind, rows in (("attn_q", 1), ("attn_k", 0.5), ("attn_v", 0.5), ("ffn_gate", 3), ("ffn_down", 3)):
            name = f"blk.{layer}.{kind}.weight"
            found.append(Tensor(name=name, columns=width, elements=int(width * width * rows)))
    return found


class Model:
    """Its divergence is the sum of what the groups cost, each as sensitive as chance has it, with a little beside."""

    def __init__(self, groups: list[Group], seed: int = 1) -> None:
        chance = random.Random(seed)
        self.groups, self.measured = groups, list[Mix]()
        self.weights = {group.name: group.elements * 10 ** chance.uniform(-7.5, -6) for group in groups}
        self.bent = {(group.name, kind): chance.uniform(0.7, 1.4) for group in groups for kind in group.types}

    def measure(self, mix: Mix) -> Point:
        self.measured.append(dict(mix))
        parts = [self.weights[name] * ERRORS[kind] * self.bent[name, kind] for name, kind in mix.items()]
        return Point(mix=mix, size=self.size(mix), kld=round(0.005 + sum(parts), 6))

    def size(self, mix: Mix) -> int:
        return sum(group.size(mix[group.name]) for group in self.groups)


GROUPS = groups_of(tensors(), whole="f16", has_matrix=True)


def budget_of(bits: float) -> int:
    return int(sum(group.elements for group in GROUPS) * bits / 8)


def best_uniform(model: Model, budget: int) -> float:
    kinds = set.intersection(*(set(group.types) for group in GROUPS))
    mixes = [{group.name: kind for group in GROUPS} for kind in kinds]
    return min(Model.measure(model, mix).kld for mix in mixes if model.size(mix) <= budget)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bits", [2.7, 4.5, 5.8])
def test_a_mix_is_found_that_is_much_better_than_one_type_for_all(seed: int, bits: float) -> None:
    model = Model(GROUPS, seed)
    budget = budget_of(bits)
    uniform = best_uniform(model, budget)
    found = search(GROUPS, budget, model.measure, 40)
    assert found.best.kld - 0.005 < 0.85 * (uniform - 0.005)
    assert model.size(found.best.mix) <= budget


@pytest.mark.parametrize("judgings", [12, 20, 48])
def test_no_more_mixes_are_measured_than_asked_for_and_none_twice(judgings: int) -> None:
    model = Model(GROUPS)
    found = search(GROUPS, budget_of(4.5), model.measure, judgings)
    assert len(model.measured) == len(found.points) <= judgings
    assert len({tuple(sorted(mix.items())) for mix in model.measured}) == len(model.measured)
    assert found.best.kld == min(point.kld for point in found.points if point.size <= budget_of(4.5))


def test_more_judgings_never_make_it_worse_here_and_few_are_enough_to_be_good() -> None:
    found = [search(GROUPS, budget_of(4.5), Model(GROUPS).measure, count).best.kld for count in (24, 48, 96)]
    assert sorted(found, reverse=True) == found


def test_the_same_measurements_give_the_same_search() -> None:
    first, second = Model(GROUPS), Model(GROUPS)
    assert search(GROUPS, budget_of(4.5), first.measure, 30) == search(GROUPS, budget_of(4.5), second.measure, 30)
    assert first.measured == second.measured


def test_the_knapsack_is_as_good_as_trying_everything() -> None:
    chance = random.Random(3)
    for _ in range(40):
        sizes = [sorted(chance.sample(range(1, 60), 4)) for _ in range(5)]
        costs = [sorted((chance.random() for _ in range(4)), reverse=True) for _ in range(5)]
        budget = chance.randrange(sum(one[0] for one in sizes), sum(one[-1] for one in sizes))
        every = [
            sum(cost[at] for cost, at in zip(costs, chosen, strict=True))
            for chosen in itertools.product(range(4), repeat=5)
            if sum(size[at] for size, at in zip(sizes, chosen, strict=True)) <= budget
        ]
        chosen = choose(sizes, costs, budget)
        assert chosen is not None
        assert sum(size[at] for size, at in zip(sizes, chosen, strict=True)) <= budget
        assert sum(cost[at] for cost, at in zip(costs, chosen, strict=True)) == pytest.approx(min(every))


def test_nothing_is_chosen_if_the_smallest_do_not_fit() -> None:
    assert choose([[3, 5], [4, 9]], [[1, 0], [1, 0]], 6) is None


def test_groups_are_of_one_kind_and_neighbouring_layers_and_no_tensor_is_in_two() -> None:
    names = [tensor.name for group in GROUPS for tensor in group.tensors]
    assert sorted(names) == sorted(tensor.name for tensor in tensors())
    assert [group.name for group in GROUPS if group.name.startswith("attn_qk")] == [
        "attn_qk 0", "attn_qk 1-3", "attn_qk 4-6", "attn_qk 7",
    ]  # fmt: skip


def test_a_group_is_offered_only_what_fits_its_width_and_what_the_matrix_allows() -> None:
    narrow = groups_of(tensors(width=192), whole="bf16", has_matrix=True)
    assert narrow[0].types == ["iq4_nl", "q4_1", "q5_0", "q5_1", "q8_0", "bf16"]
    without = groups_of(tensors(), whole="f16", has_matrix=False)
    assert not {"iq2_xxs", "iq2_s", "iq3_xxs"} & set(without[0].types)
    for group in [*narrow, *without]:
        sizes = [group.size(kind) for kind in group.types]
        assert sizes == sorted(sizes)


def test_a_size_is_that_of_whole_blocks() -> None:
    tensor = Tensor(name="blk.0.attn_q.weight", columns=512, elements=prod((512, 100)))
    assert tensor.size("q4_k") == 512 * 100 // 256 * 144
    assert not tensor.model_copy(update={"columns": 192}).can_be("q4_k")


def probed(model: Model, count: int) -> list[str]:
    """The groups that the first measurements after the start changed."""
    start, *others = model.measured
    return [next(name for name in start if start[name] != mix[name]) for mix in others[:count]]


def test_without_weights_the_largest_groups_are_probed_first() -> None:
    model = Model(GROUPS)
    search(GROUPS, budget_of(4.5), model.measure, 12)
    sizes = {group.name: group.elements for group in GROUPS}
    found = [sizes[name] for name in probed(model, 8)]
    assert found == sorted(sizes.values(), reverse=True)[:8]


def test_the_weightiest_groups_are_probed_first_after_those_of_which_nothing_is_known() -> None:
    model, names = Model(GROUPS), [group.name for group in GROUPS]
    weights = {name: float(number) for number, name in enumerate(names) if name != "token_embd"}
    search(GROUPS, budget_of(4.5), model.measure, 12, weights=weights)
    assert probed(model, 8) == ["token_embd", *names[:-8:-1]]
