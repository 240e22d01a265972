"""Estimates trained parameters and VRAM, from the spec and the model's config.json alone.

job/predict/ram.py and job/predict/disk.py predict memory and disk by stage; docs/prediction.md shows the formulas.
"""

from job.artifacts import Frozen
from job.predict import activations
from job.predict.anatomy import Anatomy
from job.spec import JobSpec
from job.spec.precision import BF16_CAPABILITY, precision_of

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
    other, so the larger one counts; `loading`, beside the weights, is over before training begins."""

    weights: int
    loading: int
    adapter: int
    optimizer: int
    activations: int
    block: int
    loss: int
    context: int

    @property
    def total(self) -> int:
        training = self.adapter + self.optimizer + self.activations + max(self.block, self.loss)
        return self.weights + self.context + max(self.loading, training)

    @property
    def loaded(self) -> int:
        """The peak before the first row."""
        return self.weights + self.context + self.loading


def trainable(spec: JobSpec, model: Anatomy) -> int:
    """LoRA's parameters, with DoRA one more per output, and the modules that are trained whole."""
    return _lora(spec, model) + sum(
        model.vocabulary * model.width for name in spec.lora.modules_to_save if name in ("embed_tokens", "lm_head")
    )


def _lora(spec: JobSpec, model: Anatomy) -> int:
    inside = [(model.copies(name), shape) for name, shape in activations.targets(spec, model).items()]
    outside = [(1, shape) for shape in model.outside if spec.lora.target_modules == "all-linear"]
    return sum(
        copies * (spec.lora.r * (rows + columns) + rows * spec.lora.use_dora)
        for copies, (rows, columns) in (*inside, *outside)
    )


def vram(spec: JobSpec, model: Anatomy, *, capability: tuple[int, int] | None = None, triton: bool = False) -> Vram:
    """VRAM of training, with memory-efficient attention. `capability`: the GPU's, on which the precision depends; 8.0
    or higher if it is not known. `triton`: whether it is installed; the image does not have it.

    The adapter's gradients come while the activations go, so the larger of the two counts, unless gradients accumulate.
    """
    assert spec.training
    trained, lora = trainable(spec, model), _lora(spec, model)
    precision = precision_of(spec, [model.model_type], capability or BF16_CAPABILITY)
    size = activations.widths(spec, precision)
    gradients = lora * activations.FLOAT
    stays = trained * activations.FLOAT - gradients + gradients * (spec.training.accumulation > 1)
    return Vram(
        weights=weight_bytes(spec, model, size.stream),
        loading=loading_bytes(spec, model, size.stream),
        adapter=trained * activations.FLOAT + stays,
        optimizer=trained * OPTIMIZER_BYTES.get(spec.training.optim, 8),
        activations=max(activations.kept(spec, model, size), gradients),
        block=activations.backward(spec, model, size),
        loss=activations.loss(spec, model, size, triton=triton),
        context=int(CUDA_CONTEXT),
    )


def weight_bytes(spec: JobSpec, model: Anatomy, frozen: int) -> int:
    """Bytes of the loaded base. `frozen`: bytes of each weight that 4 and 8 bits do not quantize."""
    bits = {4: BITS_OF_DOUBLE if spec.load.double_quant else BITS_OF_4, 8: 8.0}.get(spec.load.bits)
    if bits is None:
        return model.parameters * spec.load.bits // 8
    experts = model.expert_parameters if spec.load.bits == 4 else 0
    rest = model.expert_parameters - experts + model.embedding_parameters + model.small_parameters
    return int((model.linear_parameters + experts) * bits / 8) + rest * frozen


def loading_bytes(spec: JobSpec, model: Anatomy, frozen: int) -> int:
    """Bytes beside the weights at the peak of loading: a tensor in 16 bits that is being quantized or cast. Of experts
    the matrices of a block's gates and ups are there, and one tensor of them all."""
    if spec.load.bits not in (4, 8):
        return 0
    cast = model.largest_tensor if frozen == activations.FLOAT else model.largest_linear
    return max(cast, activations.experts_of_a_block(spec, model) * 4 // 3) * activations.HALF
