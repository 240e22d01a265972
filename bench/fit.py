"""The mix found for a budget against llama.cpp's own types of at most that size.

    python -m bench.fit [--only trained|smollm2] [--like q4_k_m] [--judgings 48] [--windows 12] [--work DIR]
                        [--by-size]

The budget is the size of the type `--like`. As the job does it, the mix is searched on one half of the windows, and
what is reported comes from the other half. Two models, as in bench.imatrix: SmolLM2-135M-Instruct, whose width is not a
multiple of 256, and a Llama of width 256 that is trained here. Every measurement is kept in the work folder, so a
second call with the same --work goes on where the first was stopped.

With --by-size the search knows nothing of the importance matrix: it probes the largest groups first.

SmolLM2 is read back from a Q4_1 GGUF: its layers lie on that type's grid, so that q4_1 loses nothing of them, which
would be true of no other model. Noise of half a step is added to them first; with --as-it-is it is not.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.imatrix import SPEC, smollm2_folder, train
from job import logs
from job.artifacts import digest_of
from job.export import stage as export_stage
from job.fit.budget import compared, model_of
from job.fit.groups import groups_of, types_of
from job.fit.importance import weights_of
from job.fit.search import Mix, Point, search
from job.llama_cpp import imatrix, perplexity, quantize
from job.tokens.rows import CALIBRATION_BYTES
from tests.tiny_models import make_llama, training_text

CONTEXT = 256
LEVELS = 15
"""Steps between the least and the largest weight of a q4_1 block."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("trained", "smollm2"))
    parser.add_argument("--like", default="q4_k_m", help="the type whose size is the budget")
    parser.add_argument("--judgings", type=int, default=48)
    parser.add_argument("--windows", type=int, default=12, help=f"windows of {CONTEXT} tokens in each half")
    parser.add_argument("--steps", type=int, default=1200, help="of training the small model")
    parser.add_argument("--as-it-is", action="store_true", help="SmolLM2 on the grid of q4_1")
    parser.add_argument("--by-size", action="store_true", help="the largest groups first")
    parser.add_argument("--work", type=Path, help="a folder to keep what is measured")
    given = parser.parse_args()
    logs.configure(to_stdout=False)
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        if given.only != "smollm2":
            Bench(work / "trained", given, trained(given.steps)).report()
        if given.only != "trained":
            Bench(work / f"smollm2{'-as-it-is' * given.as_it_is}", given, smollm2(as_it_is=given.as_it_is)).report()


def trained(steps: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        small = make_llama(folder / "small", layers=4, intermediate=768, dtype="float32")
        train(small, training_text()[: len(training_text()) * 9 // 10], steps)
        return small

    return make


def smollm2(*, as_it_is: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return smollm2_folder() if as_it_is else off_the_grid(smollm2_folder(), folder / "model")

    return make


def off_the_grid(model: Path, out: Path) -> Path:
    """The model with evenly distributed noise of half a step on each weight of the tensors that have steps."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    shutil.copytree(model, out, dirs_exist_ok=True)
    tensors = load_file(model / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.dim() == 2 and tensor.shape[1] % 32 == 0:
            blocks = tensor.float().reshape(-1, 32)
            if max(len(block.unique()) for block in blocks[:200]) <= LEVELS + 1:
                step = (blocks.amax(1, keepdim=True) - blocks.amin(1, keepdim=True)) / LEVELS
                tensor = (blocks + (torch.rand_like(blocks) - 0.5) * step).reshape(tensor.shape)
        tensors[name] = tensor.half()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


class Bench:
    """One model. `make` puts it into a folder, if it is not there yet."""

    def __init__(self, work: Path, given: argparse.Namespace, make: Callable[[Path], Path]) -> None:
        self._work, self._given = work, given
        work.mkdir(parents=True, exist_ok=True)
        self.gguf, self.matrix = work / "model-f16.gguf", work / "imatrix.gguf"
        if not self.matrix.is_file():
            self._prepare(make(work))
        self._known = work / "measured.json"
        self._logits = [self._logits_of(half) for half in (0, 1)]

    def _prepare(self, model: Path) -> None:
        from transformers import AutoTokenizer

        text = training_text()
        cut = len(text) * 9 // 10
        export_stage.run(SPEC, export_stage.Inputs(model=model, name="model"), self._work)
        ids = AutoTokenizer.from_pretrained(model)(text[cut:])["input_ids"]
        (self._work / "ids.txt").write_text(" ".join(map(str, ids)))
        (self._work / "text.txt").write_text(text[:cut][:CALIBRATION_BYTES])
        imatrix.make_imatrix(self.gguf, self._work / "text.txt", self.matrix, context=512)

    def _logits_of(self, half: int) -> Path:
        count = self._given.windows * CONTEXT
        logits = self._work / f"logits-{half}-{self._given.windows}.bin"
        if not logits.is_file():
            tokens = (self._work / "ids.txt").read_text().split()[half * count : (half + 1) * count]
            (self._work / "half.txt").write_text(" ".join(tokens))
            perplexity.perplexity(
                self.gguf, self._work / "half.txt", context=CONTEXT, chunks=self._given.windows, logits=logits
            )
        return logits

    def measured(self, kind: str, types: dict[str, str], half: int) -> Point:
        known = json.loads(self._known.read_text()) if self._known.is_file() else {}
        key = digest_of([kind, types, half, self._given.windows])
        if key not in known:
            inputs = quantize.Inputs(gguf=self.gguf, type=kind, imatrix=self.matrix, types=types, preset=kind)
            made = quantize.make(SPEC, inputs, self._work / "candidate")
            found = perplexity.distance(made.file, self._logits[half], context=CONTEXT)
            known[key] = {"size": made.file.stat().st_size, "kld": found.kld, "error": found.kld_error}
            made.file.unlink()
            self._known.write_text(json.dumps(known))
        return Point(mix={}, **known[key])

    def report(self) -> None:
        like = self._given.like
        model = model_of(self.gguf, "f16", has_matrix=True, matrix=self.matrix)
        budget = model.presets[like]
        groups = groups_of(model.tensors, whole="f16", has_matrix=True)

        def measure(mix: Mix) -> Point:
            point = self.measured(like, types_of(groups, mix), 0).model_copy(update={"mix": mix})
            print(f"searched: {point.size / 1e6:.2f} MB, KLD {point.kld:.5f}", flush=True)
            return point

        weights = {} if self._given.by_size else weights_of(groups, self.gguf, self.matrix)
        found = search(groups, budget, measure, self._given.judgings, model.fixed, weights)
        print(f"\n{self._work.name}, {len(groups)} groups, {len(found.points)} judgings\n")
        print("| type | MB | KLD, search half | KLD, other half |\n| --- | ---: | ---: | ---: |")
        for kind in dict.fromkeys([like, *compared(model, budget)]):
            self._line(kind, self.measured(kind, {}, 0), self.measured(kind, {}, 1))
        self._line("the mix found", found.best, self.measured(like, types_of(groups, found.best.mix), 1))
        print("\n" + "\n".join(f"{group}: {kind}" for group, kind in found.best.mix.items()))

    @staticmethod
    def _line(kind: str, searched: Point, judged: Point) -> None:
        said = f"{judged.kld:.5f} ± {judged.error:.5f}"
        print(f"| {kind} | {judged.size / 1e6:.2f} | {searched.kld:.5f} | {said} |", flush=True)


if __name__ == "__main__":
    main()
