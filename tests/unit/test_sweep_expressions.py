"""Expressions of sweep files against Python's own arithmetic, and everything they refuse."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.explore.expressions import ExpressionError, Kind, parse_expression

KINDS: dict[str, Kind] = {"a": "number", "b.c": "number", "b.d": "number", "t": "text"}

numbers = st.deferred(
    lambda: (
        st.sampled_from(["a", "b.c", "b.d", "3", "0.5", "7"])
        | st.tuples(numbers, st.sampled_from(["+", "-", "*", "/", "//", "%"]), numbers).map(
            lambda p: f"({' '.join(p)})"
        )
        | st.tuples(st.sampled_from(["min", "max"]), numbers, numbers).map(lambda p: f"{p[0]}({p[1]}, {p[2]})")
        | numbers.map(lambda text: f"-{text}")
    )
)
conditions = st.deferred(
    lambda: (
        st.tuples(numbers, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers).map(" ".join)
        | st.sampled_from(["t == 'x'", "t != 'x'", "'y' == t"])
        | st.tuples(conditions, st.sampled_from(["and", "or"]), conditions).map(lambda p: f"({' '.join(p)})")
        | conditions.map(lambda text: f"(not {text})")
        | st.tuples(numbers, numbers, numbers).map(" < ".join)
    )
)
values = st.lists(
    st.tuples(st.integers(1, 64), st.integers(1, 64), st.sampled_from([0.25, 1.0, 3.5]), st.sampled_from(["x", "y"])),
    min_size=1,
    max_size=6,
)


def python_value(text: str, row: tuple[Any, ...]) -> Any:
    """Return what Python makes of an expression, None if it divides by zero."""
    names = {"a": float(row[0]), "bc": float(row[1]), "bd": row[2], "t": row[3], "min": min, "max": max}
    code = text.replace("b.c", "bc").replace("b.d", "bd")
    try:
        return eval(code, {"__builtins__": {}}, names)
    except ZeroDivisionError:
        return None


@given(numbers | conditions, values)
def test_value_is_pythons(text: str, rows: list[tuple[int, int, float, str]]) -> None:
    expression = parse_expression(text, KINDS)
    columns = dict(zip(KINDS, (np.array(column) for column in zip(*rows, strict=True)), strict=True))
    found = np.broadcast_to(expression.evaluate(columns), len(rows)).tolist()
    for row, value in zip(rows, found, strict=True):
        expected = python_value(text, row)
        if expected is None:
            continue
        assert (expression.kind == "truth") == isinstance(expected, bool)
        assert value == expected or math.isclose(value, expected, rel_tol=1e-12)


def test_powers_and_scalars() -> None:
    expression = parse_expression("a ** 2 - 2 ** b.c", KINDS)
    assert expression.names == {"a", "b.c"}
    assert expression.evaluate({"a": np.array([3, 4]), "b.c": 3}).tolist() == [1.0, 8.0]


def test_division_by_zero_is_ieee() -> None:
    row = {"a": np.array([0]), "b.c": np.array([1])}
    assert parse_expression("b.c / a", KINDS).evaluate(row).tolist() == [math.inf]
    assert parse_expression("a / a < 1 or a / a >= 1", KINDS).evaluate(row).tolist() == [False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be made of names"),
        ("a +", "must be made of names"),
        ("a b", "must be made of names"),
        ("(" * 300 + "a" + ")" * 300, "must be made of names"),
        ("-" * 100 + "a", "nested at most 50 levels"),
        ("a" * 3000, "at most 2000 characters"),
        ("x + 1", "has no `x` to use"),
        ("c > 1", "has no `c` to use; did you mean `b.c`?"),
        ("b", "has no `b` to use"),
        ("a if a > 1 else 2", "not of `a if a > 1 else 2`"),
        ("__import__('os')", "not of `__import__('os')`"),
        ("a.__class__", "has no `a.__class__`"),
        ("[a]", "not of `[a]`"),
        ("a[0]", "not of `a[0]`"),
        ("lambda: a", "not of `lambda: a`"),
        ("(a := 3)", "not of"),
        ("a @ a", "not of `a @ a`"),
        ("~a", "not of `~a`"),
        ("a in a", "not of `a in a`"),
        ("min(a)", "not of `min(a)`"),
        ("min(*a)", "not of"),
        ("max(a, key=a)", "not of"),
        ("abs(a, a)", "not of `abs(a, a)`"),
        ("True", "not of `True`"),
        ("None", "not of `None`"),
        ("1j", "not of `1j`"),
        ("b'x'", "not of"),
        ("f'{a}'", "not of"),
        ("1e999", "numbers up to 2**53"),
        ("99999999999999999999", "numbers up to 2**53"),
        ("t + 1", "needs a number for `t` in `t + 1`, not a text"),
        ("t < 'x'", "needs a number for `t`"),
        ("t == 1", "needs a text for `1` in `t == 1`, not a number"),
        ("a and 1", "needs a condition for `a`"),
        ("not a", "needs a condition for `a`"),
        ("-(a > 1)", "needs a number for `a > 1`"),
        ("min(a, t)", "needs a number for `t`"),
        ("(a > 1) == (b.c > 1)", "needs a number for `a > 1`"),
        ("a\x00", "must be made of names"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, KINDS)
    assert message in str(caught.value)
