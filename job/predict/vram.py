"""Estimates trained parameters and VRAM, from the spec and the model's config.json alone.

job/predict/ram.py and job/predict/disk.py predict memory and disk by stage; docs/prediction.md shows the formulas.
"""

from job.artifacts import Frozen
from job.predict import activations
from job.predict.anatomy import Anatomy
from job.spec import JobSpec

GB = 1_000_000_000
CUDA_CONTEXT = 0.6 * GB
"""Bytes of context, kernels and cuBLAS workspaces of one process: 0.4 to 0.8 GB, depending on GPU and driver."""
BITS_OF_4 = 4 + 32 / 64
"""Bits per weight: bitsandbytes' 4 bits, and a float32 constant for each 64 weights (arXiv:2305.14314)."""
BITS_OF_DOUBLE = 4 + 8 / 64 + 32 / (64 * 256)
OPTIMIZER_BYTES = {"paged_adamw_8bit": 2, "adamw_8bit": 2, "sgd": 0}
"""Bytes of optimizer state per trained parameter; 8 for AdamW in 32 bits."""


class Vram(Frozen):
    """Bytes on the GPU while training, by part. `block` (one block's backward pass) and `loss` come one after the
    other, so the larger one counts."""

    weights: int
    adapter: int
    optimizer: int
    activations: int
    block: int
    loss: int
    context: int

    @property
    def total(self) -> int:
        return sum(int(part) for part in self.model_dump().values()) - min(self.block, self.loss)


def trainable(spec: JobSpec, model: Anatomy) -> int:
    """LoRA's parameters: r * (inputs + outputs) for each target layer, and one per output with DoRA."""
    found: int = 0
    for rows, columns in activations.targets(spec, model).values():
        found += model.layers * (spec.lora.r * (rows + columns) + rows * spec.lora.use_dora)
    for name in spec.lora.modules_to_save:
        if name in ("embed_tokens", "lm_head"):
            found += model.vocabulary * model.width
    return found


def vram(spec: JobSpec, model: Anatomy, *, triton: bool = False) -> Vram:
    """VRAM of training, with memory-efficient attention. `triton`: whether it is installed; the image does not have
    it."""
    assert spec.training
    trained = trainable(spec, model)
    size = activations.widths(spec, on_gpu=True)
    return Vram(
        weights=weight_bytes(spec, model),
        adapter=trained * 8,
        optimizer=trained * OPTIMIZER_BYTES.get(spec.training.optim, 8),
        activations=activations.kept(spec, model, size),
        block=activations.backward(spec, model, size),
        loss=activations.loss(spec, model, size, triton=triton),
        context=int(CUDA_CONTEXT),
    )


def weight_bytes(spec: JobSpec, model: Anatomy) -> int:
    """Bytes of the loaded base. With 4 and 8 bits, all other weights are float32: prepare_model_for_kbit_training casts
    them."""
    bits = {4: BITS_OF_DOUBLE if spec.load.double_quant else BITS_OF_4, 8: 8.0}.get(spec.load.bits)
    if bits is None:
        return model.parameters * spec.load.bits // 8
    return int(model.linear_parameters * bits / 8) + (model.embedding_parameters + model.small_parameters) * 4
