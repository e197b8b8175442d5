"""Turn quantized layers into instructions, one module per kind of work."""
