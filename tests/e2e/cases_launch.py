"""The launcher's way, from the command to a file that generates text."""

import subprocess
from pathlib import Path

from job.llama_cpp import bundle
from tests.e2e.place import Place


def generated(gguf: Path) -> str:
    """What the file says after `Of time`."""
    options = ["-no-cnv", "--no-warmup", "-t", "1", "-n", "8", "--temp", "0"]
    command = [bundle.program("llama-completion"), "-m", gguf, "-p", "Of time", *options]
    said = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
    return said.decode(errors="replace")  # a tiny model writes bytes that are no text


def fetched(place: Place, job: str, folder: Path) -> Path:
    """The run's GGUF, by `results`."""
    said = place("results", job, "--into", str(folder))
    assert said.code == 0, said.err
    return folder / "tiny-Q8_0.gguf"


def test_a_launched_run_completes_and_its_file_generates_text(place: Place, tmp_path: Path) -> None:
    job, said = place.launch(place.spec(), follow=True)
    assert said.code == 0, said.err + place.state()
    assert place.condition(job) == "Complete"
    assert "tiny-Q8_0.gguf" in {Path(key).name for key in place.stored("models/")}
    text = generated(fetched(place, job, tmp_path / "results"))
    assert text.removeprefix("Of time").strip()


def test_results_come_from_a_store_on_a_volume_through_a_pod(place: Place, tmp_path: Path) -> None:
    folder = place.volume("runs")
    spec = place.spec(run={"store": None}, publish={"s3": None})
    job, said = place.launch(spec, "--store-pvc", "runs", follow=True)
    assert said.code == 0, said.err + place.state()
    assert (folder / "runs" / job / "manifest.json").is_file()
    assert generated(fetched(place, job, tmp_path / "results")).removeprefix("Of time").strip()
    assert [one.metadata.name for one in place.pods() if "reader" in one.metadata.name] == []


def test_rows_and_a_model_of_this_machine_go_along_below_the_store(
    place: Place, quotes: Path, tiny_model: Path, tmp_path: Path
) -> None:
    spec = place.spec(model={"id": str(tiny_model)}, dataset={"id": str(quotes)})
    job, said = place.launch(spec, follow=True)
    assert said.code == 0, said.err + place.state()
    assert {Path(key).name for key in place.stored("runs/inputs/")} >= {"quotes.jsonl", "model.safetensors"}
    assert generated(fetched(place, job, tmp_path / "results")).removeprefix("Of time").strip()


def test_rows_of_this_machine_go_along_to_a_volume_through_a_pod(place: Place, quotes: Path) -> None:
    folder = place.volume("runs")
    spec = place.spec(dataset={"id": str(quotes)}, run={"store": None}, publish={"s3": None})
    job, said = place.launch(spec, "--store-pvc", "runs", follow=True)
    assert said.code == 0, said.err + place.state()
    assert [one.name for one in (folder / "inputs").glob("*/*")] == ["quotes.jsonl"]
    assert (folder / "runs" / job / "manifest.json").is_file()


def test_small_rows_of_this_machine_go_along_without_a_store(place: Place, quotes: Path) -> None:
    spec = place.spec(dataset={"id": str(quotes)}, run={"store": None})
    _, said = place.launch(spec, follow=True)
    assert said.code == 0, said.err + place.state()
    assert "tiny-Q8_0.gguf" in {Path(key).name for key in place.stored("models/")}
