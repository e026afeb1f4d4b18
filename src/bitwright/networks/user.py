"""The user's own network: a torch module, or a Python path `package.module:callable`, called without arguments.

The callable returns `(module, example_inputs)`, a torch module with the attribute `example_inputs`, or a `Network`. The
inputs are a tensor, a tuple of tensors, a dict of them by parameter name, or a function that returns one of these.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitwright.errors import InputError, unknown_name
from bitwright.later import torch
from bitwright.networks.inputs import output_tensor
from bitwright.networks.network import Batch, Network
from bitwright.networks.own_inputs import OWN, OwnExample, OwnInputs
from bitwright.networks.own_kinds import Reader, refuse_reader
from bitwright.networks.packages import told

INPUTS_HINT = "return (module, example_inputs) or set module.example_inputs: a tensor, a tuple or a dict of tensors"
GIVEN_HINT = "give inputs= of load, or samples: a tensor, a tuple or a dict of tensors; or set module.example_inputs"


def build(name: str, reads: Reader | None = None) -> Network:
    """The network that the callable of `name` (`package.module:callable`) returns, of kind `tensor` unless it says.

    What it `reads` stands for example inputs where none are given.
    """
    with current_folder_first():
        made = called(resolved(name), name)
        if isinstance(made, Network):
            refuse_reader(name, reads, "the callable returns a bitwright Network, which has tools of its own")
            return dataclasses.replace(made, name=name, source=made.source or f"Python path {name}")
        module, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(module, torch.nn.Module):
            raise InputError(
                f"{name} returned {type(module).__name__}; a torch.nn.Module, (module, example_inputs) or a bitwright "
                "Network is expected."
            )
        inputs = _example_of(module, inputs, name, reads)
    return made_of(module, inputs, name, f"Python path {name}", INPUTS_HINT)


def build_given(
    module: torch.nn.Module, inputs: Any = None, *, reads: Reader | None = None, shared: bool = True
) -> Network:
    """The network of a module that was handed over, which stays as it is: a copy with the same parameters runs.

    Parameters
    ----------
    module : torch.nn.Module
        In whatever mode.
    inputs : tensor, tuple or dict of tensors, function or None
        Its example; None is `module.example_inputs`, or else made by what the network reads.
    reads : Reader or None
        Pictures or text.
    shared : bool
        Whether the copy has the very same parameters (they will not be changed), or copies of them too.
    """
    name = type(module).__name__
    inputs = _example_of(module, inputs, name, reads)
    tensors = [value for part in module.modules() for value in vars(part).values() if isinstance(value, torch.Tensor)]
    kept = [*module.parameters(), *module.buffers(), *tensors] if shared else []
    try:
        mine = copy.deepcopy(module, {id(tensor): tensor for tensor in kept})
    except Exception as error:
        if module.training:
            raise InputError(
                f"{name} cannot be copied ({told(error)}) and is in training mode; call its eval() first"
            ) from error
        mine = module
    return made_of(mine, inputs, name, f"a {name} given in Python", GIVEN_HINT)


def made_of(module: torch.nn.Module, inputs: Any, name: str, source: str, hint: str) -> Network:
    """The network, of kind `tensor`, of a module and its example inputs; `hint` says how these are given."""
    batch, positional = _as_batch(inputs, name, hint)
    run = _run_positional if positional else _run_by_name
    parameters = forward_parameters(module)
    own = OwnInputs(
        name=name,
        given=batch,
        run=run,
        module=module,
        names=dict(zip(batch, parameters, strict=False)) if positional else {key: key for key in batch},
    )
    return Network(
        name=name,
        kind="tensor",
        module=module,
        run=run,
        example=OwnExample(inputs=own),
        tools={OWN: own},
        source=source,
    )


def forward_parameters(module: torch.nn.Module) -> dict[str, inspect.Parameter]:
    """The parameters of a module's `forward` that take inputs by position, in order; none where torch hides them."""
    try:
        parameters = inspect.signature(module.forward).parameters
    except (TypeError, ValueError):
        return {}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {name: parameter for name, parameter in parameters.items() if parameter.kind in kinds}


def _example_of(module: torch.nn.Module, inputs: Any, name: str, reads: Reader | None) -> Any:
    """The example that was given, or the module's own, or what the network's reader makes."""
    inputs = getattr(module, "example_inputs", None) if inputs is None else inputs
    if inputs is None and reads is not None:
        return reads.example(module, forward_parameters(module), name)
    return called(inputs, f"{name}: example_inputs") if callable(inputs) else inputs


def _run_positional(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return output_tensor(module(*batch.values()))


def _run_by_name(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return output_tensor(module(**batch))


def _as_batch(inputs: Any, name: str, hint: str) -> tuple[dict[str, torch.Tensor], bool]:
    """Example inputs as a batch, and whether they are positional."""
    if inputs is None:
        raise InputError(
            f"{name} gives no example inputs; {hint}, or say how it reads pictures or text (--preprocess)."
        )
    positional = not isinstance(inputs, Mapping)
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)
    if isinstance(inputs, tuple | list):
        inputs = {f"input_{i}": value for i, value in enumerate(inputs)}
    values = inputs.values() if isinstance(inputs, Mapping) else ()
    if not values or not all(isinstance(value, torch.Tensor) for value in values):
        given = [type(value).__name__ for value in values] or type(inputs).__name__
        raise InputError(f"{name}: example inputs are {given}, only tensors are expected; {hint}.")
    odd = next((key for key, value in inputs.items() if value.layout is not torch.strided or value.is_quantized), None)
    if odd is not None:
        raise InputError(f"{name}: the example input {odd} is no dense tensor of plain numbers; give one that is")
    empty = next((key for key, value in inputs.items() if not value.numel()), None)
    if empty is not None:
        raise InputError(
            f"{name}: the example input {empty} is empty ({list(inputs[empty].shape)}), so nothing would be computed; "
            "give one with elements"
        )
    return {key: value.detach() for key, value in inputs.items()}, positional


def resolved(name: str) -> Any:
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
        raise InputError(f"importing {path!r} failed: {told(error)}") from error
    except Exception as error:
        raise InputError(f"importing {path!r} failed: {told(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            own = (key for key, value in vars(found).items() if getattr(value, "__module__", None) == path)
            raise unknown_name(f"attribute of {path}", part, own)
        found = getattr(found, part)
    if not callable(found) and not isinstance(found, Network):
        raise InputError(f"{name} is a {type(found).__name__}; a function (or class) without arguments is expected.")
    return found


def called(function: Any, name: str) -> Any:
    """What a function of the user's gives; modules and networks are themselves, though they can be called."""
    if isinstance(function, torch.nn.Module | Network):  # a module is callable, but not in order to make itself
        return function
    try:
        return function()
    except Exception as error:
        raise InputError(f"{name}, called without arguments, raised {told(error)}") from error


@contextlib.contextmanager
def current_folder_first() -> Iterator[None]:
    """While active, modules of the current folder can be imported, as with `python -m`."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
