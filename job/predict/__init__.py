"""What a run will need, from its spec and the model's config.json: VRAM, memory, disk, time."""
