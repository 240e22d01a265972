"""What `load.bits` 4 and 8 quantize, where it is not what transformers and bitsandbytes do.

bitsandbytes quantizes layers. Experts whose weights are one tensor for all of them, as in transformers 5, are none: in
4 bits they are quantized here while they are loaded, one tensor at a time, in blocks of 64 as layers are.
"""

from typing import Any

from transformers.integrations.bitsandbytes import Bnb4bitQuantize
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
from transformers.quantizers.quantizer_bnb_8bit import Bnb8BitHfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name, should_convert_module

from job.spec.training import CLAMPED
from job.train.targets import experts


def use_quantizers() -> None:
    """Makes `from_pretrained` take this module's quantizers."""
    AUTO_QUANTIZER_MAPPING["bitsandbytes_4bit"] = In4Bits
    AUTO_QUANTIZER_MAPPING["bitsandbytes_8bit"] = In8Bits


class _WithoutClamped:
    """Leaves layers as they are whose weights the model clamps as numbers: packed ones it would destroy."""

    @staticmethod
    def get_modules_to_not_convert(*given: Any, **options: Any) -> list[str]:
        return [*HfQuantizer.get_modules_to_not_convert(*given, **options), *CLAMPED]


class In8Bits(_WithoutClamped, Bnb8BitHfQuantizer):  # type: ignore[misc]
    """That of transformers."""


class In4Bits(_WithoutClamped, Bnb4BitHfQuantizer):  # type: ignore[misc]
    """That of transformers, for experts too."""

    experts: frozenset[str] = frozenset()

    def _process_model_before_weight_loading(self, model: Any, device_map: Any, **options: Any) -> None:
        super()._process_model_before_weight_loading(model, device_map, **options)
        kept = self.modules_to_not_convert
        self.experts = frozenset(name for name in experts(model) if should_convert_module(name, kept))

    def param_needs_quantization(self, model: Any, param_name: str, **options: Any) -> bool:
        return param_name in self.experts or bool(super().param_needs_quantization(model, param_name, **options))

    def get_quantize_ops(self) -> Any:
        return _Quantize(self)

    def _process_model_after_weight_loading(self, model: Any, **options: Any) -> Any:
        from bitsandbytes.nn.parametrize import replace_parameter_4bit_prequantized

        for full_name in sorted(self.experts):
            module, name = get_module_from_name(model, full_name)
            state = getattr(module, name).quant_state
            replace_parameter_4bit_prequantized(module, name, state.as_dict(packed=True), state.absmax.device)
        return super()._process_model_after_weight_loading(model, **options)


class _Quantize(Bnb4bitQuantize):  # type: ignore[misc]
    """What is done to a tensor when it is loaded."""

    def convert(self, input_dict: dict[str, Any], model: Any = None, **options: Any) -> dict[str, Any]:
        done: dict[str, Any] = {}
        for name, weight in input_dict.items():
            if name in self.hf_quantizer.experts:
                done[name] = self._packed(weight[0] if isinstance(weight, list) else weight)
            else:
                done |= super().convert({name: weight}, model=model, **options)
        return done

    def _packed(self, weight: Any) -> Any:
        import torch
        from bitsandbytes.functional import quantize_4bit

        wanted = self.hf_quantizer.quantization_config
        packed, state = quantize_4bit(
            weight.contiguous(),
            compress_statistics=wanted.bnb_4bit_use_double_quant,
            quant_type=wanted.bnb_4bit_quant_type,
        )
        parameter = torch.nn.Parameter(packed, requires_grad=False)
        parameter.quant_state = state  # type: ignore[attr-defined]
        return parameter
