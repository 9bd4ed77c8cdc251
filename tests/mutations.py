"""The changes that `make mutants` makes in a module, one at a time."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Continue: ast.Break,
    ast.Break: ast.Continue}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a module: where it is, and what it is in words."""

    module: str
    line: int
    what: str
    code: str           # the line as it is, without its indentation
    source: str
    place: tuple[int, int]      # which node of the tree, and which of its changes
    last_line: int              # of the expression
    in_function: bool           # else it is read when the module is imported

    def tree(self) -> ast.Module:
        """The module with this change."""
        mutated = ast.parse(self.source)
        number, which = self.place
        node = next(each for place, each in enumerate(ast.walk(mutated)) if place == number)
        list(_changes(node))[which][1](node)
        return ast.fix_missing_locations(mutated)


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree, lines = ast.parse(source), source.split("\n")
    spared = {id(node) for node in _not_code(tree)}
    called = {id(inner) for node in ast.walk(tree)
              if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
              for statement in node.body for inner in ast.walk(statement)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in spared:
            continue
        for which, (what, _) in enumerate(_changes(node)):
            line = getattr(node, "lineno", 1)
            yield Mutant(module, line, what, lines[line - 1].strip(), source, (number, which),
                         getattr(node, "end_lineno", None) or line, id(node) in called)


def _not_code(tree: ast.Module) -> Iterator[ast.AST]:
    """Docstrings, annotations, options of dataclasses, and what only the type check reads."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (isinstance(body, list) and body and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)):
            yield from ast.walk(body[0])
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                yield from ast.walk(getattr(node, name))
        for decorator in getattr(node, "decorator_list", ()):      # frozen=True, slots=True
            yield from ast.walk(decorator)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from ast.walk(node)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("TYPE_CHECKING",
                                                                             "__all__"):
            yield from ast.walk(node)


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in SWAPS:
            yield _named(operator), lambda found: _set_operator(found, SWAPS[type(operator)]())
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in SWAPS:
            yield _named(operator), lambda found: setattr(found, "op", SWAPS[type(operator)]())
        case ast.UnaryOp(op=ast.Not()):
            yield "not dropped", _drop_not
        case ast.Constant(value=bool() as value):
            yield f"{value} turned", lambda found: setattr(found, "value", not value)
        case ast.Constant(value=int() | float() as number):
            # a limit of 3,001 is one of 3,000
            other = number + 1 if abs(number) < 100 else number * 2
            yield f"{number} -> {other}", lambda found: setattr(found, "value", other)
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield "returns None", lambda found: setattr(found, "value", ast.Constant(None))
        case ast.Expr(value=ast.Call()):
            yield "call dropped", lambda found: setattr(found, "value", ast.Constant(None))
        case ast.IfExp():
            yield "other branch", _turn_around


def _turn_around(node: ast.AST) -> None:
    assert isinstance(node, ast.IfExp)
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _drop_not(node: ast.AST) -> None:
    """As bool(x): +x would fail on most values, which any test notices."""
    assert isinstance(node, ast.UnaryOp)
    truth = ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])
    node.op, node.operand = ast.UAdd(), truth


def _set_operator(node: ast.AST, operator: ast.AST) -> None:
    assert isinstance(node, ast.Compare) and isinstance(operator, ast.cmpop)
    node.ops[0] = operator


def _named(operator: ast.AST) -> str:
    return f"{type(operator).__name__} -> {SWAPS[type(operator)].__name__}"
