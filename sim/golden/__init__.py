"""Hold the golden models: numba kernels that define the bits."""
