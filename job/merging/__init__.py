"""A base model and its adapter as one: into a GGUF, a folder of safetensors, or the adapter alone as a GGUF.

`peft_adapter` reads what PEFT saved, `merge_plan` says which tensors change, `merge` computes one of them, `model_view`
shows base and tokenizer as one folder, `gguf_convert` and `gguf_stream` write the GGUF, tensor by tensor.
"""
