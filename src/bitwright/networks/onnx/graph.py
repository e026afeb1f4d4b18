"""The interpreter: a graph's nodes, one after the other, as submodules of one torch module.

Every node that computes is a module, so that its products, operators and parameters have its name. What is known from
shapes alone is computed on the side, where no mode of torch sees it: a compiler knows it before. A value is a tensor,
or a list of tensors, which ONNX calls a sequence.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.onnx.node import Node, Value, short
from bitwright.networks.unseen import unseen

Results = Sequence[Value]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One node as it runs.

    Attributes
    ----------
    node : Node
        What runs, for messages.
    inputs, outputs : tuple of str
        Names of values that are read and made; empty ones are left out.
    parent, key : torch.nn.Module and str
        Who holds the module that computes, and under which name; without it `function` runs on the side.
    function : callable or None
        (inputs) -> outputs, of shapes alone.
    last : tuple of str
        Values that nobody reads any more afterwards.
    """

    node: Node
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parent: torch.nn.Module | None = None
    key: str = ""
    function: Callable[..., Any] | None = None
    last: tuple[str, ...] = ()

    def run(self, values: dict[str, Any]) -> None:
        """Compute the outputs into `values`.

        Raises
        ------
        InputError
            Where the operator fails, naming the node.
        """
        try:
            given = [values[name] if name else None for name in self.inputs]
            if self.parent is None:
                assert self.function is not None
                with unseen():
                    made = self.function(*given)
            else:
                module = self.parent._modules[self.key]
                assert module is not None
                made = module.run(values, given) if isinstance(module, Scoped) else module(*_together(given))
        except (InputError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            sizes = [_sizes(each) for each in map(values.get, self.inputs) if each is not None]
            if isinstance(error, NotImplementedError | AssertionError):
                raise
            raise self.node.refusal(f"fails on inputs of {sizes} ({type(error).__name__}: {_line(error)})") from error
        results = made if isinstance(made, tuple) else (made,)
        values |= {
            name: result for name, result in zip(self.outputs, results, strict=False) if name and result is not None
        }
        for name in self.last:
            values.pop(name, None)


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:200]


def _sizes(value: Any) -> Any:
    """The sizes of a tensor, or of each in a list."""
    return [_sizes(each) for each in value] if isinstance(value, list) else list(value.shape)


def _together(given: Sequence[Any]) -> Sequence[Any]:
    """Operands on one device: what was computed from shapes is on the CPU."""
    devices = {each.device for each in given if isinstance(each, torch.Tensor) and each.device.type != "cpu"}
    if not devices:
        return given
    device = devices.pop()
    return [each.to(device) if isinstance(each, torch.Tensor) and each.dim() else each for each in given]


class Subgraph(torch.nn.Module):
    """Steps that share values by name."""

    def __init__(self, steps: Sequence[Step], constants: Mapping[str, torch.Tensor], outputs: Sequence[str]) -> None:
        super().__init__()
        self.steps, self.constants, self.outputs = tuple(steps), dict(constants), tuple(outputs)

    def compute(self, values: dict[str, Any]) -> list[Any]:
        """The outputs from values that are given by name."""
        values |= self.constants
        for step in self.steps:
            step.run(values)
        missing = next((name for name in self.outputs if name not in values), None)
        if missing is not None:
            raise InputError(f"the output {short(missing)!r} of the ONNX file is not computed by any node")
        return [values[name] for name in self.outputs]


class Scoped(torch.nn.Module):
    """A node with graphs of its own, which read values of the graph around them."""

    def run(self, values: Mapping[str, Any], given: Sequence[Any]) -> tuple[Any, ...]:
        """The node's outputs, from the values around it and its own inputs."""
        raise NotImplementedError


class Operation(torch.nn.Module):
    """One node whose operator is a function; constants among its inputs are its own parameters and buffers."""

    def __init__(self, node: Node, function: Callable[..., Any], slots: Sequence[str | None]) -> None:
        super().__init__()
        self.node, self.function, self.slots = node, function, tuple(slots)

    def forward(self, *given: Value) -> Any:
        """The operator of what is computed, in order, and of what this holds."""
        rest = iter(given)
        values = [next(rest) if slot is None else self._held(slot) for slot in self.slots]
        while values and values[-1] is None:
            values.pop()
        return self.function(self.node, *values)

    def _held(self, slot: str) -> Value:
        if slot == "":
            return None
        parameter = self._parameters.get(slot)
        return parameter if parameter is not None else self._buffers[slot]


class OnnxNetwork(Subgraph):
    """The network of an ONNX file: inputs by position or by name; its one output, or all of them by name."""

    def __init__(self, inputs: Sequence[str]) -> None:
        super().__init__((), {}, ())
        self.inputs = tuple(inputs)
        self.names = tuple(inputs)  # as the network's batches call them

    def forward(self, *given: torch.Tensor, **named: torch.Tensor) -> Any:
        """What the file's graph computes."""
        values = dict(zip(self.inputs, given, strict=False)) | named
        made = self.compute(values)
        return made[0] if len(made) == 1 else dict(zip(self.outputs, made, strict=True))
