"""Parse and evaluate the expressions of sweep files: arithmetic and conditions over fields, vectorised.

The language: names (dotted fields, axes), numbers, quoted texts (compared with == and != only), + - * / // % **,
comparisons, and, or, not, min(), max(). All arithmetic is IEEE double: whole numbers are exact below 2**53, and a
division by zero gives an infinity or NaN, with which every comparison but != is as IEEE says.
"""

import ast
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, cast

import numpy as np

from gossamer.arch.problems import shown, suggestion

Kind = Literal["number", "text", "truth"]
"""What an expression or a name yields."""

MAX_CHARACTERS = 2_000
MAX_DEPTH = 50
_LARGEST_WHOLE = 2**53

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod, ast.Pow: np.power,
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal, ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {"min": np.minimum, "max": np.maximum}
_LANGUAGE = "names, numbers, quoted texts, + - * / // % **, comparisons, and, or, not, min(), max()"


class ExpressionError(ValueError):
    """An expression is malformed; the message completes "the expression `...`"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A checked expression: its text, what it yields, and the names in it."""

    text: str
    kind: Kind
    names: frozenset[str]

    def evaluate(self, columns: Mapping[str, Any]) -> Any:
        """Return the value over columns (arrays of one length, or scalars) of every name; not yet broadcast."""
        with np.errstate(all="ignore"):
            return _value(_tree(self.text), columns)


def parse_expression(text: str, kinds: Mapping[str, Kind]) -> Expression:
    """Return the expression in `text` over names of these kinds. Raises ExpressionError that says what is wrong."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"must have at most {MAX_CHARACTERS} characters, not {len(text)}")
    try:
        tree = _tree(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ExpressionError(f"must be made of {_LANGUAGE}: {getattr(error, 'msg', None) or error}") from None
    names: set[str] = set()
    kind = _check(tree, kinds, names, 0)
    return Expression(text=text, kind=kind, names=frozenset(names))


def _tree(text: str) -> ast.expr:
    with warnings.catch_warnings():  # of unknown escapes in quoted texts
        warnings.simplefilter("ignore")
        return ast.parse(text.strip(), mode="eval").body


def _name(node: ast.expr) -> str | None:
    """Return `a.b.c` of a name or attribute, None of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (above := _name(node.value)) is not None:
        return f"{above}.{node.attr}"
    return None


def _part(node: ast.AST) -> str:
    return f"`{shown(ast.unparse(node))}`"


def _check(node: ast.expr, kinds: Mapping[str, Kind], names: set[str], depth: int) -> Kind:
    """Return what a node yields, collecting its names. Raises ExpressionError."""
    if depth > MAX_DEPTH:
        raise ExpressionError(f"must be nested at most {MAX_DEPTH} levels deep")

    def require(kind: Kind, *operands: ast.expr) -> None:
        for operand in operands:
            found = _check(operand, kinds, names, depth + 1)
            if found != kind:
                words = {"number": "a number", "text": "a text", "truth": "a condition"}
                raise ExpressionError(f"needs {words[kind]} for {_part(operand)} in {_part(node)}, not {words[found]}")

    match node:
        case ast.Name() | ast.Attribute() if (name := _name(node)) is not None:
            if name not in kinds:
                raise ExpressionError(f"has no `{shown(name)}` to use; {_hint(name, list(kinds))}".rstrip("; "))
            names.add(name)
            return kinds[name]
        case ast.Constant(value=str()):
            return "text"
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            if not abs(value) <= (_LARGEST_WHOLE if isinstance(value, int) else 1e300):
                raise ExpressionError(f"must hold numbers up to 2**53, not {shown(str(value), 30)}")
            return "number"
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            require("number", operand)
            return "number"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            require("truth", operand)
            return "truth"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
            require("number", left, right)
            return "number"
        case ast.BoolOp(values=values):
            require("truth", *values)
            return "truth"
        case ast.Compare(left=left, ops=operators, comparators=others) if all(
            type(o) in _COMPARISONS for o in operators
        ):
            equality = all(isinstance(o, ast.Eq | ast.NotEq) for o in operators)
            kind = _check(left, kinds, names, depth + 1) if equality else "number"
            require("number" if kind == "truth" else kind, left, *others)
            return "truth"
        case ast.Call(func=ast.Name(id=function), args=[_, _, *_] as operands, keywords=[]) if function in _FUNCTIONS:
            require("number", *operands)
            return "number"
    raise ExpressionError(f"must be made of {_LANGUAGE}, not of {_part(node)}")


def _hint(name: str, valid: list[str]) -> str:
    """Return the nearest valid name, also by its last part: `chains` for `array.chains`."""
    ending = [choice for choice in valid if choice.rsplit(".", 1)[-1] == name]
    return f"did you mean `{ending[0]}`?" if ending else suggestion(name, valid).strip()


def _value(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    """Return the value of a checked node."""
    match node:
        case ast.Constant(value=value):
            return value if isinstance(value, str) else np.float64(cast(float, value))
        case ast.UnaryOp(op=operator, operand=operand):
            value = _value(operand, columns)
            return np.logical_not(value) if isinstance(operator, ast.Not) else (
                -value if isinstance(operator, ast.USub) else value
            )  # fmt: skip
        case ast.BinOp(left=left, op=operation, right=right):
            return _ARITHMETIC[type(operation)](_value(left, columns), _value(right, columns))
        case ast.BoolOp(op=junction, values=values):
            combine: Any = np.logical_and if isinstance(junction, ast.And) else np.logical_or
            return reduce(combine, (_value(operand, columns) for operand in values))
        case ast.Compare(left=left, ops=operators, comparators=others):
            operands = [_value(operand, columns) for operand in (left, *others)]
            pairs = [
                _COMPARISONS[type(comparison)](operands[at], operands[at + 1])
                for at, comparison in enumerate(operators)
            ]
            return reduce(np.logical_and, pairs)
        case ast.Call(func=ast.Name(id=function), args=arguments):
            return reduce(_FUNCTIONS[function], (_value(argument, columns) for argument in arguments))
        case _:
            column = columns[str(_name(node))]
            texts = isinstance(column, str) or np.asarray(column).dtype.kind in "UO"
            return column if texts else np.asarray(column, np.float64)
