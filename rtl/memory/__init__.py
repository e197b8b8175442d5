"""On-chip buffers: banks, windows that start at any byte, and the arbitration between engines."""
