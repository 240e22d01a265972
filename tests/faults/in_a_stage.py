"""Faults that a stage's own process brings about: what a library, the GPU or the kernel would do to it.

A run with `FINETUNE_TEST_FAULT=NAME:ARGUMENT` has its forked stages call `inject` before they begin. Nothing of the job
itself is replaced: functions of torch and transformers are wrapped, and do what they do, or fail as they can fail.
"""

import io
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def inject(fault: str) -> None:
    """`NAME:ARGUMENT`; several with `;` between them."""
    for one in fault.split(";"):
        name, _, argument = one.partition(":")
        FAULTS[name](argument)


def slow_steps(seconds: str) -> None:
    """Steps that take as long as those of a real model."""
    _before_each_step(lambda _: time.sleep(float(seconds)))


def uploads_keep_up(store: str) -> None:
    """Steps that take as long as those of a real model: until every checkpoint before them is in that folder."""

    def wait(trainer: Any) -> None:
        done, every = trainer.state.global_step, trainer.args.save_steps
        while done and done % every == 0 and not list(Path(store).glob(f"**/step-{done:06d}/COMPLETE.json")):
            time.sleep(0.01)

    _before_each_step(wait)


def killed_at(step: str) -> None:
    """As the kernel kills a process that takes too much memory: in this step, whenever it is reached."""
    last = int(step) - 1
    _before_each_step(
        lambda trainer: os.kill(os.getpid(), signal.SIGKILL) if trainer.state.global_step == last else None
    )


def room_for(rows: str) -> None:
    """A GPU that has room for so many rows at once."""
    import torch
    from transformers.models.llama.modeling_llama import LlamaModel

    forward = LlamaModel.forward

    def limited(self: Any, *arguments: Any, **options: Any) -> Any:
        ids = options.get("input_ids")
        if self.training and ids is not None and ids.shape[0] > int(rows):
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total of 14.6 GiB"
            )
        return forward(self, *arguments, **options)

    LlamaModel.forward = limited


def slow_evaluation(seconds: str) -> None:
    """An evaluation between steps that lasts, and says that it has begun."""
    from transformers import Trainer

    from job.logs import log

    loop = Trainer.evaluation_loop

    def slow(self: Any, *arguments: Any, **options: Any) -> Any:
        if self.state.global_step:
            log.info("test.evaluating", step=self.state.global_step)
            time.sleep(float(seconds))
        return loop(self, *arguments, **options)

    Trainer.evaluation_loop = slow


def half_a_checkpoint(step: str) -> None:
    """Stops for ever in the middle of writing that step's optimizer, and says so."""
    import torch

    from job.logs import log

    save = torch.save

    def half(value: Any, path: Any, *arguments: Any, **options: Any) -> None:
        if not str(path).endswith(f"checkpoint-{step}/optimizer.pt"):
            return save(value, path, *arguments, **options)
        whole = io.BytesIO()
        save(value, whole, *arguments, **options)
        Path(path).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        log.info("test.half_a_checkpoint", step=int(step))
        time.sleep(3600)

    torch.save = half


def told(_: str) -> None:
    """For tests of the forking itself: says who it is, and waits."""
    os.write(1, f"{os.getpid()} {Path.cwd()} {os.environ.get('TOLD')}\n".encode())
    time.sleep(3600)


def _before_each_step(do: Callable[[Any], Any]) -> None:
    """`do` is given the trainer."""
    from transformers import Trainer

    train = Trainer.training_step

    def step(self: Any, *arguments: Any, **options: Any) -> Any:
        do(self)
        return train(self, *arguments, **options)

    Trainer.training_step = step


FAULTS = {
    function.__name__: function
    for function in (slow_steps, uploads_keep_up, killed_at, room_for, slow_evaluation, half_a_checkpoint, told)
}
