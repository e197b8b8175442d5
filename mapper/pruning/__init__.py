"""Prune weights to N:M and write pruned models."""
