"""State what the DSP slices of two families differ in, as the cascades and adders instantiate them."""

from dataclasses import dataclass

from gossamer.arch.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class DspSlice:
    """Widths of a primitive's ports in bits, and its own names.

    `one_sum`: what USE_SIMD calls a sum of all bits. `mode`: parameters of its own, for one product. `pins`: inputs of
    its own, tied low.
    """

    primitive: str
    a_bits: int
    b_bits: int
    sum_bits: int
    one_sum: str
    mode: str
    pins: str

    @property
    def unused_pins(self) -> str:
        """Resets, and the ways between slices that no slice here uses; the vendor's models read open inputs as ones."""
        return (
            "        .RSTA(1'b0), .RSTB(1'b0), .RSTC(1'b0), .RSTD(1'b0), .RSTM(1'b0), .RSTP(1'b0), .RSTINMODE(1'b0),\n"
            f"        .RSTCTRL(1'b0), .RSTALUMODE(1'b0), .RSTALLCARRYIN(1'b0),{self.pins}\n"
            f"        .ACIN({self.a_bits}'h0), .BCIN({self.b_bits}'h0), .CARRYCASCIN(1'b0), .MULTSIGNIN(1'b0),\n"
            "        .ACOUT(), .BCOUT(), .CARRYCASCOUT(), .MULTSIGNOUT(), .CARRYOUT(), .OVERFLOW(), .UNDERFLOW(),\n"
            "        .PATTERNDETECT(), .PATTERNBDETECT(), .XOROUT()\n"
        )


DSP48E2 = DspSlice(primitive="DSP48E2", a_bits=30, b_bits=18, sum_bits=48, one_sum="ONE48", mode="", pins="")
DSP58 = DspSlice(
    primitive="DSP58", a_bits=34, b_bits=24, sum_bits=58, one_sum="ONE58", mode='.DSP_MODE("INT24"), ',
    pins=" .ASYNC_RST(1'b0), .NEGATE(3'b000),",
)  # fmt: skip

SLICES = {Target.XCUP: DSP48E2, Target.VERSAL: DSP58}
"""What the cascades of a target are made of; the other targets have none."""
