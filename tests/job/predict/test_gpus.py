"""The table of GPUs."""

import pytest

from job.predict.gpus import GPUS, gpus_named
from k8s.placement.gpu_names import GPU_NAMES


def test_the_table_goes_from_the_smallest_to_the_largest_memory() -> None:
    memory = [gpu.memory for gpu in GPUS.values()]
    assert memory == sorted(memory)


def test_each_gpu_stands_under_its_own_name() -> None:
    assert all(name == gpu.name for name, gpu in GPUS.items())


def test_only_the_t4_cannot_compute_in_bfloat16() -> None:
    assert [gpu.name for gpu in GPUS.values() if not gpu.bfloat16] == ["t4"]


@pytest.mark.parametrize(
    ("nominal", "names"),
    [
        (16, ["t4"]),
        (24, ["l4", "a10", "a10g", "rtx4090"]),
        (32, ["rtx5090"]),
        (40, ["a100-40"]),
        (48, ["l40s"]),
        (80, ["a100-80", "h100"]),
        (141, ["h200"]),
        (180, ["b200"]),
    ],
)
def test_the_memory_that_a_process_sees_is_near_the_nominal_one(nominal: int, names: list[str]) -> None:
    for name in names:
        assert 0.88 * nominal * 2**30 < GPUS[name].memory < nominal * 2**30


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("T4", "t4"),
        ("tesla-t4", "t4"),
        ("NVIDIA-L4", "l4"),
        ("a100_80gb", "a100-80"),
        ("A100-40GB", "a100-40"),
        ("RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 5090", "rtx5090"),
        ("4090", "rtx4090"),
        ("H100-80GB", "h100"),
    ],
)
def test_a_gpu_is_found_by_the_names_that_people_use(said: str, meant: str) -> None:
    assert [gpu.name for gpu in gpus_named(said)] == [meant]


def test_a_gpu_is_found_by_its_label_in_a_cluster() -> None:
    for gpu, names in GPU_NAMES.items():
        assert all([one.name for one in gpus_named(label)] == [gpu] for label in names.gfd)


def test_a_name_of_two_cards_is_both() -> None:
    assert [gpu.name for gpu in gpus_named("A100")] == ["a100-40", "a100-80"]


def test_a_name_that_no_gpu_has_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(ValueError, match=r"'t5' is not known; did you mean t4\?"):
        gpus_named("t5")
