"""A module's body made the body of a function, so that programs in one file keep their names."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator

# They look names up in the module, which a joined program shares with the others.
_LOOKS_INTO_THE_MODULE = {"globals", "locals", "exec", "eval"}


class NotJoinable(Exception):
    """Why a program cannot be joined with others in one file, in one line."""


def check(source: str) -> None:
    """Make sure that ``source`` is a program with an ``act`` that can be joined with others.

    Raises:
        NotJoinable: it cannot be parsed, defines no ``act``, or uses what cannot be moved.
    """
    for node in ast.walk(parsed(source)):
        line = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            raise NotJoinable(
                f"{line}: 'from {node.module} import *' is not possible; name what you import"
            )
        if isinstance(node, ast.Name) and node.id in _LOOKS_INTO_THE_MODULE:
            raise NotJoinable(f"{line}: {node.id} is not possible; use plain names")
    table = symtable.symtable(source, "program", "exec")
    if "act" not in _bound(table):
        raise NotJoinable("there is no function act(state) in it")
    _check_globals(table, ())


def parsed(source: str) -> ast.Module:
    """The syntax tree.

    Raises:
        NotJoinable: it is no Python; the line is named.
    """
    if "\0" in source:
        raise NotJoinable("it holds a null character")
    try:
        tree = ast.parse(source)
        # For what the grammar allows and the compiler refuses, as 'return' outside a function.
        compile(source, "program", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise NotJoinable(f"line {error.lineno or 0}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise NotJoinable(f"it cannot be parsed ({error})") from None
    return tree


def as_function(name: str, source: str) -> tuple[ast.FunctionDef, bool]:
    """The function ``name()`` that runs the program's module body and returns its ``act``.

    What was a global name is then a local one of that function: ``global`` becomes ``nonlocal``,
    and a name that only such statements bind gets its place by an assignment that never runs, so
    that it stays unbound until one of them does.

    Returns:
        The function, and whether the program has ``from __future__ import annotations``, which
        can only stand at the top of a file.
    """
    tree = parsed(source)
    future = any(_is_future(node) for node in tree.body)
    bound = _bound(symtable.symtable(source, "program", "exec"))
    documented = ast.get_docstring(tree, clean=False) is not None
    tree.body = [node for node in tree.body if not _is_future(node)]
    change = _Nonlocals(bound)
    change.visit(tree)
    if change.names:
        never: list[ast.stmt] = [
            ast.Assign([ast.Name(one, ast.Store())], ast.Constant(None))
            for one in sorted(change.names)
        ]
        # After the docstring, which would otherwise be none.
        tree.body.insert(int(documented), ast.If(ast.Constant(False), never, []))
    function = ast.FunctionDef(
        name=name,
        args=ast.arguments([], [], None, [], [], None, []),
        body=[*tree.body, ast.Return(ast.Name("act", ast.Load()))],
        decorator_list=[],
        returns=None,
        type_comment=None,
    )
    return ast.fix_missing_locations(function), future


class _Nonlocals(ast.NodeTransformer):
    """``global`` to ``nonlocal`` inside functions and classes; at the top it said nothing.

    A name that the program binds nowhere is a builtin or a tool, and stays what it is.
    """

    def __init__(self, bound: set[str]) -> None:
        self.names: set[str] = set()
        """Those that are nonlocal now."""
        self._bound = bound
        self._depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._deeper(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._deeper(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._deeper(node)

    def visit_Global(self, node: ast.Global) -> ast.AST:
        names = [name for name in node.names if name in self._bound]
        if not names or not self._depth:
            return ast.Pass()
        self.names.update(names)
        return ast.Nonlocal(names)

    def _deeper(self, node: ast.AST) -> ast.AST:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1
        return node


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _bound(module: symtable.SymbolTable) -> set[str]:
    """The names that a module's body binds, or one of its functions by ``global``."""
    names = {symbol.get_name() for symbol in module.get_symbols() if _binds(symbol)}
    for table in _below(module):
        names |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_declared_global() and _binds(symbol)
        }
    return names


def _binds(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported()


def _below(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _below(child)


def _check_globals(table: symtable.SymbolTable, around: tuple[set[str], ...]) -> None:
    """Refuse ``global x`` inside a function that has an ``x`` of its own.

    As ``nonlocal x`` it would mean that one.
    """
    own: set[str] = set()
    for symbol in table.get_symbols():
        name = symbol.get_name()
        if symbol.is_declared_global() and any(name in names for names in around):
            raise NotJoinable(
                f"line {table.get_lineno()}: 'global {name}' inside a function that has a '{name}' "
                "of its own; rename one of them"
            )
        if table.get_type() == "function" and symbol.is_local():
            own.add(name)
    for child in table.get_children():
        _check_globals(child, (*around, own))
