"""Rows become tokens, once, in one child process before a GPU is used (docs/architecture.md).

`tokenizer` loads the model's tokenizer, `renderer` renders chats with its template, `answers` finds the answers in what
was rendered, `encoder` makes ids and labels of a row, `files` keeps them; `stage` does it for all rows.
"""
