"""Doing something as soon as another package is there, without importing it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def when_imported(name: str, do: Callable[[], object]) -> None:
    """Call ``do`` once a package is imported: at once, if it is already."""
    if name in sys.modules:
        do()
    else:
        sys.meta_path.insert(0, _Finder(name, do))


class _Finder:
    """Asked by Python for every module that is imported; finds one, with the others' help, once."""

    def __init__(self, name: str, do: Callable[[], object]) -> None:
        self.name = name
        self.do = do

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target  # where Python looks; this one asks the others, who know
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_do(module: ModuleType) -> None:
                execute(module)
                self.do()

            spec.loader.exec_module = execute_and_do  # type: ignore[method-assign]
        return spec
