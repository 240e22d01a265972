"""The windows of text that files are judged on, the size of their logits, and how many an importance matrix takes:
plain numbers, used in predictions too."""

import math

LOGITS_LIMIT = 4 << 30  # bytes
SHORTEST = 32  # tokens of context; with fewer, a perplexity is meaningless
LEAST_SCORED = 100
"""With fewer scored tokens, llama-perplexity reports no statistics of a comparison
(tools/perplexity/perplexity.cpp)."""
SOUND = 16_384
"""Tokens that a perplexity to 2% takes: half are scored, and losses of single tokens deviate by about 2.2 (the standard
errors that llama-perplexity reports of many models on wikitext)."""
DEVIATION = 2.2
BATCH = 512
"""Tokens that llama-perplexity computes at a time if a window is shorter. Its default of 2048 needs four times the
memory for logits, keys and values, and is not faster."""
MOST_CHUNKS = 64
"""Of an importance matrix. With more it changes little; 33,000 tokens are half an hour for a 7B model on four CPUs."""


def logits_bytes(vocabulary: int, context: int, chunks: int) -> int:
    """The size of the logits file: per scored token 16 bits for each token of the vocabulary, and 8 bytes."""
    return chunks * scored(context) * 2 * (2 * ((vocabulary + 1) // 2) + 4)


def scored(context: int) -> int:
    """The number of scored tokens in a window."""
    return context - 1 - context // 2


def error_of(tokens: int, context: int) -> float:
    """The relative standard error to expect of a perplexity over so many windows' tokens: 0.02 is 2%."""
    return DEVIATION / math.sqrt(max(1, tokens * scored(context) // context))


def least_tokens(vocabulary: int, context: int, max_tokens: int) -> int | None:
    """The smallest number of tokens with a window to judge on; None if these settings never give one."""
    counts = range(2 * SHORTEST, 4 * LEAST_SCORED)
    return next((tokens for tokens in counts if windows(tokens, vocabulary, context, max_tokens)[1]), None)


def halves(context: int, chunks: int) -> tuple[int, int]:
    """The windows that files are judged on, and those after them that a mix of types is searched on; none of the latter
    if either would be fewer than LEAST_SCORED scored tokens."""
    searched = chunks // 2
    return (chunks - searched, searched) if searched * scored(context) >= LEAST_SCORED else (chunks, 0)


def windows(tokens: int, vocabulary: int, context: int, max_tokens: int) -> tuple[int, int]:
    """The context and the number of windows for `tokens` tokens. llama-perplexity needs text for at least two windows,
    and the unquantized file's logits must fit on the disk (LOGITS_LIMIT). No window if there are fewer than twice
    SHORTEST tokens, or fewer than LEAST_SCORED would be scored."""
    context = min(context, tokens // 2)
    if context < SHORTEST:
        return context, 0
    fitting = LOGITS_LIMIT // logits_bytes(vocabulary, context, 1) * context
    chunks = max(1, min(tokens, max_tokens, fitting) // context)
    return context, chunks if chunks * scored(context) >= LEAST_SCORED else 0
