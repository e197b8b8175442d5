"""Show runs to other tools: traces for Perfetto, signal lists for waveform viewers."""
