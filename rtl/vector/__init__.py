"""VECTOR engine: everything that is not a multiply-accumulate."""
