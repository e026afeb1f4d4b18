"""The user's own network, by Python path: `package.module:callable`, called without arguments.

It returns `(module, example_inputs)`, a torch module with the attribute `example_inputs`, or a `Network`. The inputs
are a tensor, a tuple of tensors, a dict of them by parameter name, or a function that returns one of these.
"""

import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError, unknown_name
from bitwright.networks.checks import check_shape
from bitwright.networks.inputs import output_tensor, refuse_decode
from bitwright.networks.network import Batch, InputShape, Network

INPUTS_HINT = "return (module, example_inputs) or set module.example_inputs: a tensor, a tuple or a dict of tensors"


def build(name: str) -> Network:
    """The network that the callable of `name` (`package.module:callable`) returns."""
    with _current_folder_first():
        made = _called(_resolved(name), name)
        if isinstance(made, Network):
            return dataclasses.replace(made, name=name, source=made.source or f"Python path {name}")
        module, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(module, torch.nn.Module):
            raise InputError(
                f"{name} returned {type(module).__name__}; a torch.nn.Module, (module, example_inputs) or a bitwright "
                "Network is expected."
            )
        inputs = getattr(module, "example_inputs", None) if inputs is None else inputs
        if callable(inputs):
            inputs = _called(inputs, f"{name}: example_inputs")
    batch, positional = _as_batch(inputs, name)
    return Network(
        name=name,
        kind="tensor",
        module=module,
        run=_run_positional if positional else _run_by_name,
        example=UserExample(name=name, module=module, inputs=batch),
        source=f"Python path {name}",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class UserExample:
    """InputShape -> the user's own example inputs, on the module's device, repeated `batch` times along axis 0.

    Attributes
    ----------
    name : str
        The network's, for messages.
    module : torch.nn.Module
        Its parameters say on which device.
    inputs : mapping
        Name -> tensor; names are `input_0`, `input_1`, ... for positional inputs.
    """

    name: str
    module: torch.nn.Module
    inputs: Batch

    def __call__(self, shape: InputShape) -> dict[str, torch.Tensor]:
        """The batch; the other sizes of `shape` do not apply."""
        check_shape(shape)
        refuse_decode(shape, self.name)
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
        return {
            key: (torch.cat([tensor] * shape.batch) if shape.batch > 1 and tensor.dim() else tensor).to(device)
            for key, tensor in self.inputs.items()
        }


def _run_positional(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return output_tensor(module(*batch.values()))


def _run_by_name(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return output_tensor(module(**batch))


def _as_batch(inputs: Any, name: str) -> tuple[dict[str, torch.Tensor], bool]:
    """Example inputs as a batch, and whether they are positional."""
    if inputs is None:
        raise InputError(f"{name} gives no example inputs; {INPUTS_HINT}.")
    positional = not isinstance(inputs, dict)
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)
    if isinstance(inputs, tuple | list):
        inputs = {f"input_{i}": value for i, value in enumerate(inputs)}
    values = inputs.values() if isinstance(inputs, dict) else ()
    if not values or not all(isinstance(value, torch.Tensor) for value in values):
        given = [type(value).__name__ for value in values] or type(inputs).__name__
        raise InputError(f"{name}: example inputs are {given}, only tensors are expected; {INPUTS_HINT}.")
    return inputs, positional


def _resolved(name: str) -> Any:
    """What `package.module:callable` stands for."""
    path, _, attribute = name.partition(":")
    if path.endswith(".py") or "/" in path:
        dotted = path.removesuffix(".py").strip("./").replace("/", ".")
        raise InputError(f"{name!r}: a module is named with dots, not as a file; write {dotted}:{attribute}.")
    try:
        found = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            raise InputError(
                f"no Python module {path!r} (for {name!r}); it must be installed, or lie in the current folder."
            ) from error
        raise InputError(f"importing {path!r} failed: {_said(error)}") from error
    except Exception as error:
        raise InputError(f"importing {path!r} failed: {_said(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            own = (key for key, value in vars(found).items() if getattr(value, "__module__", None) == path)
            raise unknown_name(f"attribute of {path}", part, own)
        found = getattr(found, part)
    if not callable(found) and not isinstance(found, Network):
        raise InputError(f"{name} is a {type(found).__name__}; a function (or class) without arguments is expected.")
    return found


def _called(function: Any, name: str) -> Any:
    if isinstance(function, torch.nn.Module | Network):  # a module is callable, but not in order to make itself
        return function
    try:
        return function()
    except Exception as error:
        raise InputError(f"{name}, called without arguments, raised {_said(error)}") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}"


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    """While active, modules of the current folder can be imported, as with `python -m`."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
