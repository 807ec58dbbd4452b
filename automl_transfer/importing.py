"""Importing large libraries in less time.

A command's first answer comes seconds after its start, and most of them go into imports: torch alone takes
one, timm took almost two. `benchmarks/where.py` prints the parts.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: looking through what stays takes up to a third of an import."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def import_torch() -> None:
    """Import torch; later imports of it cost nothing."""
    with uncollected():
        importlib.import_module("torch")


def import_timm() -> ModuleType:
    """timm, without torch's compiler."""
    return _without_compiler("timm")


def import_torchvision() -> ModuleType:
    """torchvision, without torch's compiler."""
    return _without_compiler("torchvision")


def _without_compiler(name: str) -> ModuleType:
    """Import a library that asks for torch's compiler, which takes longer than all the rest of it.

    While it is imported, placeholders stand in for `torch._dynamo`: what it asks for there is either a mark
    for compiled functions, of which this program has none, or a question that is put to the real compiler
    when it comes up. Anything else brings the real one at once.
    """
    if name in sys.modules or _COMPILER[0] in sys.modules:
        return importlib.import_module(name)
    import_torch()
    with uncollected():
        sys.modules.update({each: _Placeholder(each) for each in _COMPILER})
        try:
            return importlib.import_module(name)
        finally:
            _remove()


def _remove() -> None:
    for each in _COMPILER:
        if isinstance(sys.modules.get(each), _Placeholder):
            del sys.modules[each]


class _Placeholder(ModuleType):
    """Stands in for one of the compiler's modules; a package, so that the other is found in it."""

    __path__: list[str] = []  # noqa: RUF012 - a module's attribute

    def __getattr__(self, name: str) -> Any:
        if name == "disable":
            return _unmarked
        if name == "is_compile_supported":
            return _is_compile_supported
        if name.startswith("__"):
            raise AttributeError(name)
        _remove()
        return getattr(importlib.import_module(self.__name__), name)


def _unmarked(function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
    return function


def _is_compile_supported(device: str) -> bool:
    answer: bool = importlib.import_module("torch._dynamo.utils").is_compile_supported(device)
    return answer
