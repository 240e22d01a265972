"""Whether llama.cpp computes with a model what transformers does, on its first layers: what the converter does not know
of a config, it leaves out without a word.
"""
