"""The base model as the spec loads it, its tokenizer, and its adapter."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from job import strict_json
from job.architectures import auto_class
from job.bounds import Exceeded, bounded
from job.errors import DataInvalid, SpecInvalid
from job.logs import log
from job.spec import JobSpec
from job.spec.places import public_name
from job.train.precision import Precision, torch_dtype
from job.train.targets import beside_the_text, linear_names, never_adapted, targets_of, trainable_names

ADAPTER_S, ADAPTER_MEMORY = 300, 64 << 30
"""What loading an adapter may take: its config holds regular expressions, which PEFT tries on every module's name."""


def load_base(
    spec: JobSpec, folder: Path, precision: Precision, tokenizer: Any = None, added: Sequence[str] = ()
) -> Any:
    """The base model, quantized as `load` says (4 bits: its experts too), ready for training with adapters, with rows
    for the tokens that were `added` to the tokenizer. Its frozen weights are those of the recipe, in float32, or stay
    in the compute dtype."""
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig

    from job.train.embeddings import pieces_of, prepare_rows
    from job.train.numerics import keep_weights_as_loaded
    from job.train.quantizers import use_quantizers

    assert spec.training
    load = spec.load
    compute = torch_dtype(precision.compute)
    quantization = None
    use_quantizers()
    if load.bits == 4:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=load.quant_type,
            bnb_4bit_use_double_quant=load.double_quant,
            bnb_4bit_compute_dtype=compute,
        )
    elif load.bits == 8:
        quantization = BitsAndBytesConfig(load_in_8bit=True)
    model = auto_class(folder).from_pretrained(
        folder,
        dtype=torch.float32 if load.bits == 32 else compute,
        attn_implementation=spec.training.attention,
        quantization_config=quantization,
        device_map={"": 0} if precision.cuda else {"": "cpu"},
        use_safetensors=True,
        trust_remote_code=False,
    )
    model.config.use_cache = False
    if added:
        prepare_rows(model, tokenizer, pieces_of(folder, added))
    if quantization is not None:
        keep_weights_as_loaded(model)
    if quantization is not None and precision.frozen == "float32":
        # the Trainer turns checkpointing on, which nothing would turn off again
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model


def with_adapter(spec: JobSpec, model: Any, adapter: Path | None, tokens: Sequence[int] = ()) -> Any:
    """The model with a new adapter, which also trains the embeddings of `tokens`, or with the given one to train on.

    Raises SpecInvalid if a target module is not in the model, with those that are, or cannot be trained.
    """
    from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model

    from job.train.embeddings import show_no_bias, trainable_rows

    if adapter is not None:
        linear = linear_names(model)
        _take_rows(model, adapter)
        try:
            with bounded(ADAPTER_S, ADAPTER_MEMORY):
                config = PeftConfig.from_pretrained(adapter)
                config.exclude_modules = never_adapted(model, config.exclude_modules)
                peft = PeftModel.from_pretrained(model, adapter, is_trainable=True, config=config)
        except Exceeded as error:
            raise DataInvalid(f"the adapter {spec.model.adapter} cannot be loaded: {error}") from error
        for config in peft.peft_config.values():
            _check_same(spec, config, linear)
            config.base_model_name_or_path = model.name_or_path  # otherwise PEFT asks the Hub for it at each save
    else:
        config = LoraConfig(
            r=spec.lora.r,
            lora_alpha=spec.lora.alpha,
            lora_dropout=spec.lora.dropout,
            target_modules=targets_of(spec, model),
            exclude_modules=never_adapted(model, beside_the_text(model)),
            use_rslora=spec.lora.use_rslora,
            use_dora=spec.lora.use_dora,
            modules_to_save=list(spec.lora.modules_to_save) or None,
            trainable_token_indices=trainable_rows(spec, model, tokens),
            task_type=TaskType.CAUSAL_LM,
        )
        _check_names(spec, model)
        peft = get_peft_model(model, config)
        show_no_bias(peft)
        if tokens and not spec.lora.modules_to_save:  # their rows are in the adapter; PEFT would save all of them
            peft.save_pretrained = partial(peft.save_pretrained, save_embedding_layers=False)
    train_in_float32(peft)
    _check_head(spec, peft)
    trainable, total = count_parameters(peft)
    log.info("train.parameters", trainable=trainable, total=total, percent=round(100 * trainable / total, 4))
    return peft


def count_parameters(peft: Any) -> tuple[int, int]:
    """How many are trained, and how many there are."""
    from job.train.experts import parameters_in_bytes

    trainable, total = peft.get_nb_trainable_parameters()
    return trainable, total + parameters_in_bytes(peft)


def train_in_float32(peft: Any) -> None:
    """Makes every trainable weight float32: bfloat16 loses small updates, and fp16's gradient scaler refuses float16.

    Only modules that are trained whole are not float32 already. What is around them stays in its dtype.
    """
    import torch
    from peft.utils.other import ModulesToSaveWrapper

    for module in peft.modules():
        if not isinstance(module, ModulesToSaveWrapper):
            continue
        for whole in module.modules_to_save.values():
            dtypes = {weight.dtype for weight in whole.parameters()} - {torch.float32}
            if dtypes:
                whole.float()
                whole.register_forward_pre_hook(_to_float32)
                whole.register_forward_hook(partial(_to_dtype, dtypes.pop()))


def _to_float32(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one.float() if one.is_floating_point() else one for one in inputs)


def _to_dtype(dtype: Any, _: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    return output.to(dtype)


def _take_rows(model: Any, adapter: Path) -> None:
    """Gives the embeddings as many rows as those that the adapter saved whole, e.g. for tokens that it added."""
    from safetensors import safe_open

    embedding = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embedding).rpartition(".")[2]
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        saved = [key for key in file.keys() if f".{name}." in key and key.endswith(".weight")]  # noqa: SIM118
        rows = {file.get_slice(key).get_shape()[0] for key in saved if "lora_" not in key}
    if rows and rows != {embedding.weight.shape[0]}:
        model.resize_token_embeddings(max(rows), mean_resizing=False)


def _check_same(spec: JobSpec, config: Any, linear: set[str]) -> None:
    """An adapter keeps its own settings, so the spec must not ask for others. Raises SpecInvalid."""
    for name, wanted in spec.lora.model_dump(exclude_defaults=True).items():
        found = getattr(config, {"alpha": "lora_alpha", "dropout": "lora_dropout"}.get(name, name))
        if name in ("target_modules", "modules_to_save"):
            wanted, found = sorted(linear if wanted == "all-linear" else wanted), sorted(found or [])
        if wanted != found:
            raise SpecInvalid(
                f"lora.{name}: {wanted}, but the adapter {spec.model.adapter} has {found}",
                hint="Training goes on with the adapter's own settings: leave the lora section out.",
            )


def _check_names(spec: JobSpec, model: Any) -> None:
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules() if name}
    targets = [] if isinstance(spec.lora.target_modules, str) else spec.lora.target_modules
    for field, wanted in (("target_modules", targets), ("modules_to_save", spec.lora.modules_to_save)):
        missing = [name for name in wanted if name.rsplit(".", 1)[-1] not in names]
        if missing:
            raise SpecInvalid(
                f"lora.{field}: {', '.join(missing)} not in {spec.model.id}",
                hint=f"Its linear layers are {', '.join(trainable_names(model))}; all-linear selects them all.",
            )


def _check_head(spec: JobSpec, model: Any) -> None:
    """SFTTrainer multiplies by the weight of the output layer itself, so an adapter there would not be trained."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if spec.training and spec.training.trainer == "trl" and isinstance(model.get_output_embeddings(), BaseTunerLayer):
        raise SpecInvalid(
            "lora.target_modules: `trainer: trl` cannot train an adapter on the output layer (lm_head)",
            hint="Name the layer in lora.modules_to_save instead, or set training.trainer to transformers.",
        )


def float32_adapters(model: Any) -> dict[str, Any]:
    """Copies of the trainable weights: SFTTrainer rounds those of a quantized model to bfloat16 when it is made,
    and `restore` puts these back. bf16 adapters fail with fp16's gradient scaler and lose small updates."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def restore(model: Any, weights: dict[str, Any]) -> None:
    """Puts the trainable weights back as they were."""
    for name, weight in model.named_parameters():
        if name in weights:
            weight.data = weights[name].to(weight.device)


def save_adapter(spec: JobSpec, model: Any, folder: Path) -> None:
    """PEFT's files. The configuration names the base by the spec's id, not by a path of this machine."""
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card; this job writes its own
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = public_name(spec.model.id)
    path.write_text(strict_json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
