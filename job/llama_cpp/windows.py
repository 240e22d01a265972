"""How much text is judged at a time, and what its logits take on the disk: plain numbers, for predictions too."""

LOGITS_LIMIT = 4 << 30  # bytes
SHORTEST = 32  # tokens of context, below which a perplexity says nothing
LEAST_SCORED = 100
"""Tokens below which llama-perplexity gives no statistics of a comparison (tools/perplexity/perplexity.cpp)."""
BATCH = 512
"""Tokens that llama-perplexity takes at a time where a window is shorter; its own 2048 need four times the memory for
logits, keys and values, and are no faster."""


def logits_bytes(vocabulary: int, context: int, chunks: int) -> int:
    """The size of the logits file: 16 bits for each token of the vocabulary, and 8 bytes, per scored token."""
    return chunks * scored(context) * 2 * (2 * ((vocabulary + 1) // 2) + 4)


def scored(context: int) -> int:
    """How many tokens of a window are scored."""
    return context - 1 - context // 2


def windows(tokens: int, vocabulary: int, context: int, max_tokens: int) -> tuple[int, int]:
    """The context and the number of windows, of so many tokens: llama-perplexity wants two windows of text at least,
    and the logits of the unquantized file must fit on the disk beside everything else (LOGITS_LIMIT). No window where
    there is less than twice SHORTEST, or less than LEAST_SCORED would be scored."""
    context = min(context, tokens // 2)
    if context < SHORTEST:
        return context, 0
    fitting = LOGITS_LIMIT // logits_bytes(vocabulary, context, 1) * context
    chunks = max(1, min(tokens, max_tokens, fitting) // context)
    return context, chunks if chunks * scored(context) >= LEAST_SCORED else 0
