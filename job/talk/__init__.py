"""A conversation with a GGUF on this machine, in the bundled llama-server."""
