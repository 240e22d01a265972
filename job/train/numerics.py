"""Changes to libraries that would compute other results, or need more memory, on some machines.

Each function describes the library's behaviour, and why this job changes it.
"""

from typing import Any

from job.spec.training import TILE_TOKENS, TILE_WORDS


def keep_weights_as_loaded(model: Any) -> None:
    """Makes training, evaluation, samples and the trace use the same 4-bit weights on every CPU.

    On a CPU with AVX512-BF16, bitsandbytes 0.50 (nn/modules.py, Linear4bit.forward) repacks a layer's weight in place
    for its inference kernel when it is called in eval mode without gradients, and rounds the block constants to
    bfloat16. Nothing undoes that when training goes on: the backward pass then reads packed bytes as plain ones.
    bitsandbytes issue 2078 describes a similar case. `forward` reads this attribute; 8-bit layers are not repacked.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def compute_loss_in_small_tiles() -> None:
    """Makes TRL's loss use the tile size that the prediction assumes.

    Without Triton, which the image does not have, seven float32 copies of a tile exist beside it
    (trl/kernels/chunked_logprob.py, `_backward_tile`): 4.5 GB of a T4's 16 at TRL's own size of 4,096 tokens by 32,768
    vocabulary entries. A narrower tile also needs a narrower slice of the output layer; with fewer tokens per tile it
    would be cast again more often.
    """
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    chunked_logprob.TOKEN_CHUNK_SIZE = TILE_TOKENS
    utils._CHUNKED_LOGPROB_CHUNK_SIZE = TILE_WORDS
