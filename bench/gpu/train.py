"""The job's train stage beside a plain SFTTrainer script with the same settings: in float16 as on a T4, in bfloat16."""

import tempfile
from pathlib import Path

import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

from bench.gpu.measure import BATCH, Clock, device, finite, length, precision, rows, spec_of, train_job
from bench.gpu.model import folder_of
from bench.gpu.record import Bench, Line
from tests.plain_training import RECIPE, load


def run(bench: Bench, kind: str, half: str, model: str) -> None:
    """`kind`: job or plain. `half`: fp16 or bf16."""
    if half == "fp16":
        attend_as_a_t4()
    steps = 3 if bench.tiny else 12
    with bench.case(f"{kind} {half}") as fields:
        if kind == "job":
            fields |= train_job(bench, model, spec_of(bench, model, steps, precision(half)))
        else:
            fields |= train_plain(bench, model, half, steps)


def attend_as_a_t4() -> None:
    """Memory-efficient attention: FlashAttention needs compute capability 8.0, a T4 has 7.5."""
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def train_plain(bench: Bench, model: str, half: str, steps: int) -> Line:
    """What a user without this project would write."""
    on_gpu, clock = torch.cuda.is_available(), Clock()
    mixed = {"fp16": half == "fp16" and on_gpu, "bf16": half == "bf16"}
    dtype = torch.float16 if mixed["fp16"] else torch.bfloat16 if mixed["bf16"] else torch.float32
    peft, tokenizer = load(folder_of(bench, model), dtype=dtype, device=0 if on_gpu else "cpu")
    settings = RECIPE | mixed | {"max_steps": steps, "max_length": length(bench), "use_cpu": not on_gpu}
    settings |= {"per_device_train_batch_size": BATCH, "warmup_steps": 0.03, "logging_steps": 25}
    settings |= {"optim": "paged_adamw_8bit" if on_gpu else "adamw_torch"}
    settings |= {"include_num_input_tokens_seen": "non_padding"}
    with tempfile.TemporaryDirectory(dir=bench.work) as work:
        data = str(rows(bench, Path(work), steps))
        trainer = SFTTrainer(
            model=peft,
            args=SFTConfig(output_dir=work, **settings),
            train_dataset=load_dataset("json", data_files=data, split="train", cache_dir=f"{work}/cache"),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        for (
            weight
        ) in peft.parameters():  # SFTTrainer has rounded them to bfloat16, which fp16's gradient scaler refuses
            if weight.requires_grad:
                weight.data = weight.data.float()
        loss = trainer.train().training_loss
    return {"model": model, "device": device(), "loss": finite(loss)} | clock.measured()
