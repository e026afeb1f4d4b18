"""bitwright: quantize real networks, execute them bit-exactly, and cost the same integers on models of accelerators.

The public names are those of `bitwright.api`, imported when first used, so that `import bitwright` is quick.
`bitwright.methods` and `bitwright.accelerators` are packages that can be called: they list what is registered.
"""

import importlib
import types
from typing import TYPE_CHECKING, Any

from bitwright import accelerators, methods

if TYPE_CHECKING:
    __version__: str
    from bitwright.api import (
        Plan,
        calibrate,
        compare,
        evaluate,
        explain,
        export,
        load,
        models,
        nodes,
        quantize,
        reproduce,
        search,
        simulate,
        sweep,
        systems,
        train,
    )

__all__ = [
    "Plan",
    "accelerators",
    "calibrate",
    "compare",
    "evaluate",
    "explain",
    "export",
    "load",
    "methods",
    "models",
    "nodes",
    "quantize",
    "reproduce",
    "search",
    "simulate",
    "sweep",
    "systems",
    "train",
]


class _Room(types.ModuleType):
    """A package that lists, when called, what is registered in it."""

    def __call__(self) -> Any:
        return getattr(importlib.import_module("bitwright.api"), self.__name__.rpartition(".")[2])()


accelerators.__class__ = _Room
methods.__class__ = _Room


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("bitwright")
    if name not in __all__:
        raise AttributeError(f"module 'bitwright' has no attribute {name!r}")
    return getattr(importlib.import_module("bitwright.api"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
