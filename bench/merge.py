"""What rounding merged weights to the base's bfloat16 costs: PEFT's merge does it, this project's export does not.

    python -m bench.merge [--types q8_0 q4_k_m] [--windows 12]

SmolLM2-135M-Instruct in bfloat16 with a LoRA adapter on all linear layers (random factors: how much is rounded depends
on the base's weights), merged into float16 files: by this project's export, and by PEFT's `merge_and_unload` with
`save_pretrained` and llama.cpp's converter. Each, and the types made from it, is compared with the merge in float32.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from bench.imatrix import SPEC, smollm2_folder
from job import logs
from job.llama_cpp import perplexity, quantize
from tests.export_reference import converted, exported, load, make_adapter, merged_by_peft
from tests.tiny_models import training_text

CONTEXT = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", nargs="+", default=["q8_0", "q4_k_m"])
    parser.add_argument("--windows", type=int, default=12, help=f"windows of {CONTEXT} tokens")
    given = parser.parse_args()
    logs.configure(to_stdout=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = in_bfloat16(smollm2_folder(), folder / "base")
        adapter = make_adapter(base, folder / "adapter")
        files = {
            "this export": exported(base, adapter, folder / "ours").gguf,
            "PEFT's merge": converted(merged_by_peft(base, adapter, folder / "merged"), folder / "peft.gguf"),
        }
        exact = exported(base, adapter, folder / "exact", export={"dtype": "f32"}).gguf
        ids, logits = folder / "ids.txt", folder / "logits.bin"
        ids.write_text(" ".join(map(str, tokens(base))))
        perplexity.perplexity(exact, ids, context=CONTEXT, chunks=given.windows, logits=logits)
        print("| file | merged by | KLD from the merge in float32 | same top token |\n| --- | --- | ---: | ---: |")
        for kind in ("f16", *given.types):
            for who, gguf in files.items():
                line(kind, who, gguf, logits, folder / "made")


def in_bfloat16(model: Path, folder: Path) -> Path:
    import torch

    load(model, dtype=torch.bfloat16).save_pretrained(folder)
    for path in model.glob("tokenizer*"):
        shutil.copyfile(path, folder / path.name)
    return folder


def tokens(model: Path) -> list[int]:
    from transformers import AutoTokenizer

    text = training_text()
    ids: list[int] = AutoTokenizer.from_pretrained(model)(text[len(text) * 9 // 10 :])["input_ids"]
    return ids


def line(kind: str, who: str, gguf: Path, logits: Path, folder: Path) -> None:
    """A line of the table: the file itself, or one of the type `kind` made from it."""
    if kind != "f16":
        gguf = quantize.make(SPEC, quantize.Inputs(gguf=gguf, type=kind), folder).file
    found = perplexity.distance(gguf, logits, context=CONTEXT)
    print(f"| {kind} | {who} | {found.kld:.6f} ± {found.kld_error:.6f} | {found.same_top:.2%} |", flush=True)


if __name__ == "__main__":
    main()
