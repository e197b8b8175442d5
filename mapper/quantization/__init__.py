"""Find number formats and integer parameters: float Network to int8 Network."""
