"""What counts as experts, which get no adapters and are not quantized."""

import torch

from job.train.targets import experts, linear_names


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1d = torch.nn.Conv1d(4, 4, 2)
        self.gate = torch.nn.Linear(4, 2)
        self.up = torch.nn.Parameter(torch.zeros(2, 4, 8))


def test_experts_are_tensors_of_three_dimensions_that_are_no_convolution() -> None:
    block = Block()
    assert list(experts(block)) == ["up"]


def test_a_layer_that_gives_more_than_a_product_is_not_a_linear_one() -> None:
    from transformers.models.llama4 import Llama4TextConfig
    from transformers.models.llama4.modeling_llama4 import Llama4TextMoe

    sizes = {"hidden_size": 8, "intermediate_size": 8, "intermediate_size_mlp": 8, "num_local_experts": 2}
    assert linear_names(Llama4TextMoe(Llama4TextConfig(**sizes))) == {"gate_proj", "up_proj", "down_proj"}


def test_a_linear_layer_of_a_familys_own_class_is_one() -> None:
    from transformers.models.falcon.modeling_falcon import FalconLinear

    block = torch.nn.Module()
    block.dense = FalconLinear(4, 2)
    assert linear_names(block) == {"dense"}
