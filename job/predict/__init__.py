"""Predicts what a run needs, from its spec and the model's config.json: VRAM, memory, disk, time."""
