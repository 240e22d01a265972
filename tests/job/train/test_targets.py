"""What counts as experts, which get no adapters and are not quantized."""

import torch

from job.train.targets import experts


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1d = torch.nn.Conv1d(4, 4, 2)
        self.gate = torch.nn.Linear(4, 2)
        self.up = torch.nn.Parameter(torch.zeros(2, 4, 8))


def test_experts_are_tensors_of_three_dimensions_that_are_no_convolution() -> None:
    block = Block()
    assert list(experts(block)) == ["up"]
