"""The bundled programs of llama.cpp."""
