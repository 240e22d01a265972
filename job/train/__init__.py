"""QLoRA supervised fine-tuning: the parts of the train stage. Everything heavy is imported inside functions."""
