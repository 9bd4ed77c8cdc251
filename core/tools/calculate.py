"""Calculates arithmetic expressions, exactly if possible; expressions are never run as code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Annotated, Any

from core.errors import ToolError
from core.tools import tool

LONGEST = 1_000       # characters of an expression
MOST_BITS = 20_000    # of a whole number: about 6,000 digits
DIGITS = 4_000        # digits shown; Python itself refuses to print more than 4,300

OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
NAMES = {"pi": math.pi, "e": math.e, "tau": math.tau}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "round": round, "min": min, "max": max, "sqrt": math.sqrt, "exp": math.exp,
    "log": math.log, "log2": math.log2,
    "log10": math.log10, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan, "atan2": math.atan2, "degrees": math.degrees, "radians": math.radians,
    "floor": math.floor,
    "ceil": math.ceil, "gcd": math.gcd, "hypot": math.hypot,
}


@tool(safe=True, timeout=5)
def calculate(expression: Annotated[str, "such as (3 + 4) * 2 ** 10 or sqrt(2) / 3"]) -> str:
    """Calculate an arithmetic expression: + - * / // % **, parentheses, pi, e, sqrt, log, sin,
    round, factorial and the like.
    """
    if len(expression) > LONGEST:
        raise ToolError(f"The expression is longer than {LONGEST:,} characters.")
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
        return _shown(_value(tree.body))
    except (SyntaxError, RecursionError, MemoryError) as problem:
        raise ToolError("This is not an arithmetic expression.") from problem
    except ZeroDivisionError as problem:
        raise ToolError("Division by zero.") from problem
    except (ValueError, TypeError, OverflowError) as problem:
        raise ToolError(f"It cannot be calculated: {problem}.") from problem


def _value(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(operand))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return _bounded(OPERATORS[type(op)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id="factorial"), args=[argument], keywords=[]):
            return _factorial(_value(argument))
        case ast.Call(func=ast.Name(id="round"), args=[number, digits], keywords=[]):
            return _rounded(_value(number), _value(digits))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return _bounded(FUNCTIONS[name](*map(_value, arguments)))
    raise ToolError(f"{type(node).__name__} is not arithmetic.",
                    "Numbers, operators, parentheses and known functions only.")


def _power(base: Any, exponent: Any) -> Any:
    if (isinstance(base, int) and isinstance(exponent, int) and exponent > 0
        and base.bit_length() * exponent > MOST_BITS):
        raise ToolError("That power is too large to be written out.")
    result = base ** exponent
    if isinstance(result, complex):
        raise ToolError("The result is not a real number.")
    return _bounded(result)


def _rounded(number: Any, digits: Any) -> Any:
    """round(), but without computing a huge power of 10 for a whole number and many digits."""
    if isinstance(number, int) and isinstance(digits, int):
        if digits >= 0:
            return number
        if -digits > MOST_BITS:
            return 0
    return _bounded(round(number, digits))


def _factorial(number: Any) -> int:
    if not isinstance(number, int) or not 0 <= number <= 1_400:
        raise ToolError("factorial takes a whole number from 0 to 1400.")
    return math.factorial(number)


def _bounded(number: Any) -> Any:
    if isinstance(number, int) and number.bit_length() > MOST_BITS:
        raise ToolError("The number is too large to be written out.")
    if isinstance(number, float) and not math.isfinite(number):
        raise ToolError("The result is not a finite number.")
    return number


def _shown(number: Any) -> str:
    if isinstance(number, int) and number.bit_length() > DIGITS * 3.3:
        raise ToolError(f"The result has more than {DIGITS:,} digits.")
    return str(number) if isinstance(number, int) else repr(number)
