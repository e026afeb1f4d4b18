"""The packages of the extra `sweep`, imported when they are used, with one sentence where they are missing."""

import functools
import importlib
from typing import Any

from bitwright.errors import InputError


@functools.cache
def optuna() -> Any:
    """Optuna, which says nothing on its own."""
    found = _package("optuna")
    found.logging.set_verbosity(found.logging.ERROR)
    return found


@functools.cache
def distributed() -> Any:
    """Dask's distributed."""
    return _package("distributed")


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(f"sweeps need {error.name}, which is not installed; pip install 'bitwright[sweep]'") from None
