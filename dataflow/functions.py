"""Evaluate and simplify chains of unary functions (Step) in real numbers."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Function, Step

Real = NDArray[np.floating]


def _erf(x: Real) -> Real:
    from scipy.special import erf

    return np.asarray(erf(x))


def _sigmoid(x: Real) -> Real:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))  # an overflow of exp gives the right limit, 0


_FUNCTIONS: dict[Function, Callable[..., Real]] = {
    Function.RELU: lambda x: np.maximum(x, 0.0),
    Function.CLIP: lambda x, low, high: np.clip(x, low, high),
    Function.SIGMOID: _sigmoid,
    Function.HARD_SIGMOID: lambda x, alpha, beta: np.clip(alpha * x + beta, 0.0, 1.0),
    Function.HARD_SWISH: lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    Function.SILU: lambda x: x * _sigmoid(x),
    Function.GELU: lambda x: 0.5 * x * (1.0 + _erf(x * math.sqrt(0.5))),
    Function.TANH: np.tanh,
    Function.ERF: _erf,
    Function.EXP: np.exp,
    Function.SQRT: np.sqrt,
    Function.LEAKY_RELU: lambda x, alpha: np.where(x >= 0, x, alpha * x),
    Function.AFFINE: lambda x, a, b: a * x + b,
    Function.POWER: lambda x, p: np.power(x, p),
    Function.RECIPROCAL: np.reciprocal,
    Function.ABS: np.abs,
}


def apply_steps(steps: tuple[Step, ...], x: Real) -> Real:
    """Return the chain applied to an array of any shape, in its own float dtype.

    Outside a function's domain (square root of a negative number, 1 / 0, overflow) the result is NaN or infinite.
    """
    dtype = x.dtype
    with np.errstate(all="ignore"):
        for step in steps:
            x = np.asarray(_FUNCTIONS[step.function](x, *step.arguments))
    return x.astype(dtype, copy=False)


def simplify(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return an equal chain: neighbouring AFFINE steps merged, identities dropped, clips of [0, inf) spelled RELU."""
    result: list[Step] = []
    for step in steps:
        if step.function is Function.CLIP and step.arguments == (0.0, math.inf):
            step = Step(Function.RELU)
        if step.function is Function.AFFINE and result and result[-1].function is Function.AFFINE:
            (a, b), (c, d) = result.pop().arguments, step.arguments
            step = Step(Function.AFFINE, (c * a, c * b + d))
        if not _is_identity(step):
            result.append(step)
    return tuple(result)


def _is_identity(step: Step) -> bool:
    match step:
        case Step(Function.AFFINE, (a, b)):
            return math.isclose(a, 1.0, rel_tol=1e-7) and b == 0.0
        case Step(Function.CLIP, (low, high)):
            return low == -math.inf and high == math.inf
        case Step(Function.POWER, (p,)):
            return p == 1.0
    return False
