"""What a pod asks for, against the prediction."""

from pathlib import Path
from typing import Any

import pytest

from job import gpu_faults
from job.llama_cpp import bundle
from job.node import GpuHere
from job.pipeline import preflight
from job.predict import disk, ram
from job.predict.anatomy import Anatomy, anatomy_of
from job.predict.prediction import predict
from job.predict.timing import Machine
from job.spec import JobSpec
from k8s.ask import ask
from k8s.manifest.resources import resources_of, with_file_cache
from k8s.manifest.settings import GIB, Resources
from k8s.placement.nodes import Node
from k8s.placement.place import place
from k8s.placement.wish import Wish
from k8s.prepare import predicted, prepare
from tests.job.predict.sizes import SIZES
from tests.tiny_models import write_json


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, "run": {"store": "s3://bucket/runs"}, **sections}
    )


def llama(width: int, layers: int, feed_forward: int, heads: int, vocabulary: int = 32_000) -> Anatomy:
    config = {
        "model_type": "llama", "hidden_size": width, "num_hidden_layers": layers, "intermediate_size": feed_forward,
        "num_attention_heads": heads, "vocab_size": vocabulary, "tie_word_embeddings": False,
    }  # fmt: skip
    return anatomy_of(config, "llama")


SEVEN = llama(4096, 32, 11008, 32)
THIRTEEN = llama(5120, 40, 13824, 40)
T4 = GpuHere("Tesla T4", 15_640_000_000, (7, 5), "580.65.06")


def resources(
    spec: JobSpec, model: Anatomy | None = SEVEN, *, on_gpu: bool = True, base: int | None = None
) -> Resources:
    return resources_of(predict(spec, model, on_gpu=on_gpu, base=base, exact=False))


def test_the_recipe_fits_a_node_with_15_gb_and_the_disk_that_clouds_give() -> None:
    found = resources(spec())
    assert found.memory <= 12 * GIB and found.disk <= 47 * GIB


def test_the_disk_holds_the_base_and_the_unquantized_file_at_once() -> None:
    both = 2 * disk.export_bytes(SEVEN, "f16")
    assert both < resources(spec()).disk < 2 * both


def test_the_unquantized_file_is_cached_where_each_node_has_the_memory() -> None:
    found = predict(spec(), SEVEN, exact=False)
    small, large = Node("a", free_memory=12 * GIB), Node("b", free_memory=28 * GIB)
    cached = with_file_cache(6 * GIB, found, [large])
    assert found.sizes.half + 2 * GIB <= cached <= found.sizes.half + 3 * GIB
    for nodes in ([small, large], [], [Node("not known")]):
        assert with_file_cache(6 * GIB, found, nodes) == 6 * GIB
    assert with_file_cache(6 * GIB, found, [large], pods=2) == 6 * GIB
    assert with_file_cache(20 * GIB, found, [large]) == 20 * GIB


def test_a_store_in_the_work_directory_needs_disk_too_and_one_on_a_volume_none() -> None:
    kept = spec(run={"store": None})
    card = place(Wish(gpus=("t4",), platform="gke"), None)
    most, least = (resources_of(predicted(kept, SEVEN, card, None, on_volume=volume)).disk for volume in (False, True))
    assert most > least == resources(spec()).disk


def test_a_base_from_a_mounted_volume_and_no_judging_need_less_disk() -> None:
    most = resources(spec(export={"types": ["q4_k_m"]})).disk
    no_judge = spec(export={"types": ["q4_k_m"]}, evaluation={"judge": False})
    assert resources(no_judge, base=0).disk < most


def test_on_the_cpu_the_weights_are_in_memory() -> None:
    found = resources(spec(load={"bits": 32}), on_gpu=False)
    assert found.memory > SEVEN.parameters * 4 > resources(spec(load={"bits": 32})).memory


def test_a_family_that_is_not_known_gets_the_defaults() -> None:
    assert resources(spec(), None) == Resources()


def test_a_large_vocabulary_needs_more_memory() -> None:
    wide = llama(5120, 48, 14336, 40, vocabulary=262_144)
    assert resources(spec(), wide).memory > ram.export_ram(wide, "f16")


@pytest.mark.parametrize("sections", [{}, {"evaluation": {"speed_on_cpu": True}}], ids=["", "with the CPU's speed"])
@pytest.mark.parametrize("gpu", [T4, None], ids=["on a GPU", "on the CPU"])
def test_the_pod_has_the_memory_that_preflight_asks_for(
    gpu: GpuHere | None, sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "devices", lambda: ["CUDA0: Tesla T4"] if gpu else [])
    placement = place(Wish(gpus=("t4",), platform="gke"), None) if gpu else place(Wish(gpus=("none",)), None)
    asked = spec(**sections)
    there = resources_of(predicted(asked, THIRTEEN, placement, None, on_volume=False)).memory
    monkeypatch.setattr(preflight, "memory_bytes", lambda: there)
    preflight.check_memory(preflight.predicted(asked, THIRTEEN, gpu, None), gpu)


def test_weights_are_repacked_only_where_llama_cpp_computes_on_the_cpu() -> None:
    copied = THIRTEEN.parameters * ram.MOST_REPACKED / 8

    def held(*, on_gpu: bool, llama_gpu: bool = True, **sections: Any) -> dict[str, int]:
        machine = Machine(llama_gpu=llama_gpu)
        return predict(spec(**sections), THIRTEEN, machine, on_gpu=on_gpu, exact=False).ram

    fast = held(on_gpu=True)
    for slow in (held(on_gpu=False), held(on_gpu=True, llama_gpu=False)):
        assert all(slow[stage] > fast[stage] + copied / 2 for stage in ("quantize", "evaluate"))
    both = held(on_gpu=True, evaluation={"speed_on_cpu": True})
    assert both["evaluate"] > fast["evaluate"] + copied / 2 and both["quantize"] == fast["quantize"]
    assert held(on_gpu=False, export={"types": ["f16"]})["evaluate"] == fast["evaluate"] - ram.CUDA_START


def test_a_gpu_that_only_training_is_sure_to_use_leaves_files_to_the_cpu(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", SIZES["13B"][0])

    def memory(**settings: Any) -> int:
        asked = ask(
            lambda needs: Wish.of("t4", needs=needs, platform="gke"),
            lambda _: spec(model={"id": str(tmp_path)}),
            image="registry.example/job:1",
            **settings,
        )
        return prepare(None, asked).settings.resources.memory

    assert memory(env={gpu_faults.VARIABLE: "training"}) > memory() == memory(env={gpu_faults.VARIABLE: "required"})
