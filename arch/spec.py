"""Specify the hardware: device, off-chip memory, buffers, arrays, engines, clock. Frozen; units are in the names."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """Base of every spec: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Family(StrEnum):
    """FPGA family: decides which primitives exist."""

    ULTRASCALE_PLUS = "ultrascale_plus"
    VERSAL = "versal"
    SERIES7 = "series7"
    ECP5 = "ecp5"


class MemoryKind(StrEnum):
    """On-chip memory primitive a buffer is built from."""

    BRAM36 = "bram36"
    URAM288 = "uram288"
    LUTRAM = "lutram"
    DP16KD = "dp16kd"


class DeviceSpec(Spec):
    """Budget of one FPGA part."""

    name: str = Field(description="Name in reports")
    part: str = Field(description="Vendor part number")
    family: Family = Field(description="Decides which primitives exist")
    dsp: int = Field(ge=0, description="DSP slices (ECP5: 18x18 multipliers)")
    bram36: int = Field(ge=0, description="36 Kib block RAMs (ECP5: 18 Kib DP16KD blocks)")
    uram: int = Field(ge=0, description="288 Kib UltraRAMs")
    lut: int = Field(ge=1, description="6-input LUTs (ECP5: 4-input)")
    ff: int = Field(ge=1, description="Flip-flops")
    source: str = Field(description="Data sheet the numbers come from")
    board: str | None = Field(default=None, description="Vivado's name of the board, without the files' revision")


class OffChipSpec(Spec):
    """Off-chip memory as a set of equal channels, addresses interleaved over them."""

    kind: Literal["ddr3", "ddr4", "lpddr4", "hbm2"] = Field(description="Decides the energy per byte")
    channels: int = Field(ge=1, le=64, description="Independent channels (HBM: pseudo-channels)")
    channel_bandwidth_gb_s: float = Field(gt=0, description="Peak bandwidth of one channel, 1e9 bytes/s")
    efficiency: float = Field(gt=0, le=1, description="Share of the peak a stream of full bursts reaches")
    latency_ns: float = Field(ge=0, description="Read request to first beat, unloaded")
    interleave_bytes: int = Field(ge=64, description="Consecutive bytes on one channel before the next")

    @property
    def bandwidth_gb_s(self) -> float:
        """1e9 bytes/s that all channels move at their efficiency."""
        return self.channels * self.channel_bandwidth_gb_s * self.efficiency


class AxiSpec(Spec):
    """AXI4 masters of the accelerator. Bursts of a LOAD or STORE take them in turn; FETCH reads through the first."""

    ports: Literal[1, 2, 4, 8, 16] = Field(description="AXI4 master ports, each with a read and a write side")
    data_bits: Literal[32, 64, 128, 256, 512, 1024] = Field(description="Width of one port")
    burst_beats: int = Field(ge=1, le=256, description="Longest burst; bursts never cross 4 KiB")
    max_outstanding: int = Field(ge=1, le=64, description="Read bursts, and write bursts, in flight per port")

    @property
    def row_bytes(self) -> int:
        """Bytes of a row: what LOAD or STORE moves on chip in a cycle, a beat of every port."""
        return self.ports * self.data_bits // 8


class SparseChainArraySpec(Spec):
    """The sparse chain array: `chains` output channels x `chain_length` stages x `lanes` positions."""

    kind: Literal["sparse_chain"] = Field(description="Chains of stages with N:M selection")
    chains: int = Field(ge=8, le=512, multiple_of=8, description="DSP chains side by side, one output channel each")
    chain_length: int = Field(ge=1, le=64, description="Stages per chain, one group of the reduction axis each")
    lanes: int = Field(ge=1, le=16, description="Output positions in parallel that share the same weights")
    group_size: Literal[4, 8, 16] = Field(description="Activations one stage selects from (M_max)")
    weight_rows_per_cycle: int = Field(
        ge=1,
        le=64,
        description="Rows of `chains` weights read per cycle; cuts chains into so many equal segments",
    )


class Stationarity(StrEnum):
    """Which operand stays put in a systolic array."""

    WEIGHT = "ws"
    OUTPUT = "os"
    INPUT = "is"


class SystolicArraySpec(Spec):
    """Plain dense systolic array for comparison with other simulators; has no RTL."""

    kind: Literal["systolic"] = Field(description="Plain dense grid, compute cycles only")
    rows: int = Field(ge=1, le=1024, description="Processing elements from top to bottom")
    columns: int = Field(ge=1, le=1024, description="Processing elements from left to right")
    stationarity: Stationarity = Field(description="Operand that stays put: weight (ws), output (os) or input (is)")


class BufferSpec(Spec):
    """One on-chip buffer."""

    capacity_bytes: int = Field(ge=64, description="Usable bytes, all banks together, without copies for ports")
    memory: MemoryKind = Field(description="Primitive it is built from")


class BuffersSpec(Spec):
    """On-chip memory of the sparse chain core."""

    activation: BufferSpec = Field(description="int8 activations in words of group_size bytes")
    weight: BufferSpec = Field(description="int8 weight values in rows of `chains` bytes")
    index: BufferSpec = Field(description="N:M indices in rows of chains * log2(M) bits")
    accumulator: BufferSpec = Field(description="int32 partial sums in entries of `chains` words, one per position")
    parameter: BufferSpec = Field(description="Bias, requantization multipliers and tables")


class VectorSpec(Spec):
    """VECTOR engine: everything that is not a multiply-accumulate."""

    lanes: int = Field(ge=4, le=512, description="Elements per cycle; a multiple of array.group_size")


class DispatchSpec(Spec):
    """Instruction fetch and dispatch."""

    queue_depth: int = Field(ge=1, le=64, description="Instructions each engine queue holds")


class _Accelerator(Spec):
    """Fields every accelerator has."""

    name: str = Field(description="Name in reports")
    clock_mhz: float = Field(gt=0, le=1000, description="Clock the cycle counts are turned into seconds with")
    clock_source: str = Field(description="Why this clock: a published design, a place-and-route result, an assumption")


class SparseAccelerator(_Accelerator):
    """A complete sparse chain accelerator on a device, as written in YAML, with its device resolved.

    All but `device` and `off_chip` is of one core; `cores` equal ones share the device and off-chip memory.
    """

    cores: int = Field(default=1, ge=1, le=4, description="Equal cores, each with AXI ports of its own")
    device: DeviceSpec = Field(description="FPGA it must fit")
    array: SparseChainArraySpec = Field(description="COMPUTE engine")
    off_chip: OffChipSpec = Field(description="Memory behind the AXI ports")
    axi: AxiSpec = Field(description="LOAD, STORE and instruction fetch ports")
    buffers: BuffersSpec = Field(description="On-chip memories")
    vector: VectorSpec = Field(description="VECTOR engine")
    dispatch: DispatchSpec = Field(description="Instruction queues")


class SystolicAccelerator(_Accelerator):
    """A plain dense systolic array: compute cycles only, for comparison with other simulators."""

    array: SystolicArraySpec = Field(description="The array")


AcceleratorSpec = SparseAccelerator | SystolicAccelerator
