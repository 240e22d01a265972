"""Chat templates by name, for base models without one: `chat.template: chatml`.

Each marks the assistant's turns with `{% generation %}` and ends a turn with a token. Tokens that the vocabulary lacks
are added to it and trained (`chat.add_tokens`).
"""

READY = {
    "chatml": (
        r"{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        r"{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
        r"{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
        r"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "llama3": (
        r"{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
        r"{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|eot_id|>{% endgeneration %}"
        r"{% else %}{{ m.content }}<|eot_id|>{% endif %}{% endfor %}"
        r"{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "phi3": (
        r"{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ '<|system|>\n' }}"
        r"{% elif m.role == 'user' %}{{ '<|user|>\n' }}{% else %}{{ '<|assistant|>\n' }}{% endif %}"
        r"{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
        r"{% else %}{{ m.content }}<|end|>{% endif %}{{ '\n' }}{% endfor %}"
        r"{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    ),
    "plain": (
        r"{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
        r"Assistant:{% generation %} {{ m.content }}{{ eos_token }}{% endgeneration %}{{ '\n' }}"
        r"{% else %}{{ m.role | capitalize }}: {{ m.content }}{{ '\n' }}{% endif %}{% endfor %}"
        r"{% if add_generation_prompt %}Assistant:{% endif %}"
    ),
}
"""`plain` needs no tokens but BOS and EOS, so it fits every vocabulary."""
