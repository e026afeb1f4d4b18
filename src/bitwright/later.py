"""Modules that are imported when they are first used: torch, whose import takes a second, and rooms that need it.

What lists and costs shapes runs without torch. Modules on that way have `from bitwright.later import torch`, and
`from __future__ import annotations`, so that a signature uses nothing yet; and rooms that compute with numbers stand
there as `later(...)`, beside an import for type checkers. Where one function alone needs a room, it imports it itself.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import torch
    from torch.nn import functional

__all__ = ["functional", "handing_on", "is_module", "later", "torch"]


class _Later(types.ModuleType):
    """Stands for a module of its name; nothing is kept of that, so that what is replaced in it is replaced here."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def later(name: str) -> Any:
    """The module `name`, imported when an attribute of it is first asked for.

    Examples
    --------
    >>> later("fractions").Fraction(1, 2)
    Fraction(1, 2)
    """
    return _Later(name)


if not TYPE_CHECKING:
    torch = later("torch")
    functional = later("torch.nn.functional")


def is_module(each: object) -> TypeGuard[torch.nn.Module]:
    """Whether it is a module of torch's: nothing is, where nobody has imported torch."""
    return "torch" in sys.modules and isinstance(each, torch.nn.Module)


def handing_on(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package that only hands names on (PEP 562): each is imported when asked for.

    Parameters
    ----------
    package : str
        Its name.
    names : mapping
        By module, the names that come from there.
    """
    homes = {name: module for module, each in names.items() for name in each}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *homes})
