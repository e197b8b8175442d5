"""Generate the sparse chain array: stages, chains of them, segments of chains, and what feeds and adds them."""
