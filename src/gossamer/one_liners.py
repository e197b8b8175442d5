"""Turn one-liners such as `gemm:64x784x512` into a Network with seeded random weights."""

import re

import numpy as np

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Conv2d, Network, Tensor

GEMM_FORM = "gemm:MxKxN (positions x reduction x output channels), for example gemm:64x784x512"
CONV_FORM = "conv:HxWxC:KHxKWxN[:s=STRIDE][:p=PAD][:d=DILATION][:g=GROUPS], for example conv:56x56x64:3x3x128:s=2:p=1"
_MAX_DIMENSION = 1 << 20
_MAX_WEIGHTS = 1 << 28


def is_one_liner(text: str) -> bool:
    """Return whether a model argument is meant as a one-liner."""
    return text.startswith(("gemm:", "conv:"))


def parse_one_liner(text: str, seed: int = 0) -> Network:
    """Return a one-layer Network; weights are seeded normal noise. Raises ModelError for a malformed one-liner."""
    kind, _, body = text.partition(":")
    if kind == "gemm":
        match = re.fullmatch(r"(\d{1,9})x(\d{1,9})x(\d{1,9})", body)
        if match is None:
            raise ModelError(f"{text}: expected {GEMM_FORM}")
        positions, reduction, channels = (int(group) for group in match.groups())
        return convolution_network(text, (1, positions, reduction), (1, 1, channels), op="gemm", seed=seed)
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})x(\d{1,9}):(\d{1,9})x(\d{1,9})x(\d{1,9})((?::[spdg]=\d{1,6})*)", body)
    if match is None:
        raise ModelError(f"{text}: expected {CONV_FORM}")
    rows, columns, depth, kernel_rows, kernel_columns, channels = (int(group) for group in match.groups()[:6])
    options = {"s": 1, "p": 0, "d": 1, "g": 1}
    for option in match[7].split(":")[1:]:
        options[option[0]] = int(option[2:])
    return convolution_network(
        text,
        (rows, columns, depth),
        (kernel_rows, kernel_columns, channels),
        stride=(options["s"], options["s"]),
        pad=options["p"],
        dilation=options["d"],
        groups=options["g"],
        seed=seed,
    )


def convolution_network(
    name: str,
    image: tuple[int, int, int],
    kernel: tuple[int, int, int],
    *,
    op: str = "conv",
    stride: tuple[int, int] = (1, 1),
    pad: int = 0,
    dilation: int = 1,
    groups: int = 1,
    seed: int = 0,
) -> Network:
    """Return a Network of one convolution.

    image (rows, columns, channels), kernel (rows, columns, output channels). Raises ModelError for shapes that do not
    fit together or are too large to hold.
    """
    rows, columns, depth = image
    kernel_rows, kernel_columns, channels = kernel
    if min(*image, *kernel, *stride, dilation, groups) < 1 or max(*image, *kernel, *stride, pad) > _MAX_DIMENSION:
        raise ModelError(f"{name}: every dimension must be between 1 and {_MAX_DIMENSION}")
    if depth % groups or channels % groups:
        raise ModelError(
            f"{name}: groups must divide the channels, but {groups} does not divide {depth} and {channels}"
        )
    if kernel_rows * kernel_columns * depth // groups * channels > _MAX_WEIGHTS:
        raise ModelError(f"{name}: more than {_MAX_WEIGHTS} weights; use a smaller layer")
    out_rows = (rows + 2 * pad - dilation * (kernel_rows - 1) - 1) // stride[0] + 1
    out_columns = (columns + 2 * pad - dilation * (kernel_columns - 1) - 1) // stride[1] + 1
    if out_rows < 1 or out_columns < 1:
        raise ModelError(
            f"{name}: the kernel {kernel_rows}x{kernel_columns} (dilation {dilation}) does not fit the padded input "
            f"{rows + 2 * pad}x{columns + 2 * pad}"
        )
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((channels, kernel_rows, kernel_columns, depth // groups), dtype=np.float32)
    weight *= np.float32((kernel_rows * kernel_columns * depth / groups) ** -0.5)
    layer = Conv2d(
        name=op, inputs=("input",), output="output", op=op, weight=weight, stride=stride,
        pads=(pad, pad, pad, pad), dilation=(dilation, dilation), groups=groups,
    )  # fmt: skip
    tensors = {
        "input": Tensor(name="input", shape=(1, rows, columns, depth)),
        "output": Tensor(name="output", shape=(1, out_rows, out_columns, channels)),
    }
    return Network(
        name=name, inputs=("input",), outputs=("output",), tensors=tensors, layers=(layer,),
        notes=(f"weights are random (seed {seed})",),
    )  # fmt: skip
