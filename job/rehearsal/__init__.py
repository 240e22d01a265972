"""The model's way through a run, rehearsed without its weights: they are holes of the right size behind real headers.

What a family cannot do is known before its weights are fetched and before anything is trained.
"""
