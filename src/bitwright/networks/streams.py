"""The residual stream of a recorded forward pass: what layers add to, and read through norms only.

Its basis can be changed offline where everything that makes it is a table of embeddings or a linear layer, everything
that reads it is an addition to it or a norm without its gain, and everything that reads a norm is a linear layer.
A norm is one function of torch, or written out as x * rsqrt(mean(x**2) + epsilon).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.dataflow import Dataflow, Node
from bitwright.networks.provenance import (
    MULTIPLY,
    NORMS,
    NORMS_WITH_BIAS,
    Reader,
    is_vector,
    keeps_last_axis,
    linear_rows,
    origin,
    read_only_by,
    readers_of_sites,
)

_T = torch.Tensor
_ADDITIONS = {_T.add, _T.__add__, _T.__radd__, _T.add_, _T.__iadd__, torch.add}
_SQUARES = {_T.pow, torch.pow, _T.__pow__, _T.square, torch.square}
_MEANS = {_T.mean, torch.mean}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Norm:
    """A norm that reads the stream.

    Attributes
    ----------
    gain, bias : torch.Tensor or None
        Its parameters.
    sites : tuple of str
        The linear sites that read it.
    readers : tuple of Reader
        Their weights.
    biases : tuple of torch.Tensor or None
        Their biases.
    """

    gain: torch.Tensor | None
    bias: torch.Tensor | None
    sites: tuple[str, ...]
    readers: tuple[Reader, ...]
    biases: tuple[torch.Tensor | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stream:
    """What makes and reads the stream.

    Attributes
    ----------
    channels : int
        Its last axis.
    norms : tuple of Norm
        All that read it.
    sources : tuple of torch.Tensor
        Weights [channels, ..] and biases [channels] of the linear layers that add to it.
    tables : tuple of torch.Tensor
        Embeddings [rows, channels] that it begins with.
    """

    channels: int
    norms: tuple[Norm, ...]
    sources: tuple[torch.Tensor, ...]
    tables: tuple[torch.Tensor, ...]


class RefusedError(Exception):
    """The basis of these tensors cannot be changed."""


def stream_of(flow: Dataflow, shared: Sequence[tuple[torch.Tensor, list[str]]]) -> Stream | None:
    """The stream with most norms of a recorded pass; None where none can be changed.

    Parameters
    ----------
    flow : Dataflow
        Of the pass.
    shared : sequence of (tensor, sites)
        The tensors that linear sites read, and which sites do.
    """
    sites = {id(tensor): tuple(names) for tensor, names in shared}
    best: Stream | None = None
    seen: set[int] = set()
    for tensor, _ in shared:
        start = _normed(flow, tensor)
        if start is None or id(start) in seen:
            continue
        walk = _Walk(flow, sites, start.shape[-1])
        try:
            walk.add(start)
            found = walk.stream()
        except RefusedError:
            continue
        finally:
            seen |= walk.members
        if best is None or len(found.norms) > len(best.norms):
            best = found
    return best


def _normed(flow: Dataflow, tensor: torch.Tensor) -> torch.Tensor | None:
    """What a norm that made `tensor` reads: the largest tensor behind it that is no function of one channel."""
    node = flow.producer.get(id(origin(flow, tensor)))
    for _ in range(4):  # gain, the cast before it, the product with the root
        if node is None or not node.args or not isinstance(node.args[0], torch.Tensor):
            return None
        if node.function in NORMS:
            return origin(flow, node.args[0])
        factors = [each for each in node.args[:2] if isinstance(each, torch.Tensor)]
        if node.function in MULTIPLY and len(factors) == 2:
            if factors[1].dim() and factors[1].shape[-1] == 1 != factors[0].shape[-1]:
                return origin(flow, factors[0])
            wide = [each for each in factors if not isinstance(each, torch.nn.Parameter)]
            node = flow.producer.get(id(wide[0])) if len(wide) == 1 else None
        elif keeps_last_axis(node, tensor):
            node = flow.producer.get(id(node.args[0]))
        else:
            return None
    return None


class _Walk:
    """Collects all tensors that share the basis of one, and refuses where one cannot follow."""

    def __init__(self, flow: Dataflow, sites: Mapping[int, tuple[str, ...]], channels: int) -> None:
        self.flow, self.sites, self.channels = flow, sites, channels
        self.members: set[int] = set()
        self.norms: list[Norm] = []
        self.sources: dict[int, torch.Tensor] = {}
        self.tables: dict[int, torch.Tensor] = {}

    def stream(self) -> Stream:
        """What was found."""
        parameters = (*self.sources.values(), *self.tables.values())
        if not self.norms or any(len(self.flow.readers_of(each)) != 1 for each in parameters):
            raise RefusedError
        changed = [id(p) for norm in self.norms for p in (*(w for w, _ in norm.readers), norm.gain, norm.bias)]
        changed = [each for each in changed if each != id(None)] + [id(each) for each in parameters]
        if len(set(changed)) != len(changed):  # one parameter at two places
            raise RefusedError
        return Stream(
            channels=self.channels,
            norms=tuple(self.norms),
            sources=tuple(self.sources.values()),
            tables=tuple(self.tables.values()),
        )

    def add(self, start: torch.Tensor) -> None:
        """Everything that shares the basis of `start`."""
        waiting = [start]
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in self.members:
                continue
            if tensor.dim() < 2 or tensor.shape[-1] != self.channels or not tensor.is_floating_point():
                raise RefusedError
            self.members.add(id(tensor))
            waiting += self._made_from(tensor)
            for node in self.flow.readers_of(tensor):
                waiting += self._read_by(node, tensor)

    def _made_from(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        node = self.flow.producer.get(id(tensor))
        if node is None:
            raise RefusedError
        if id(tensor) in self.flow.site_of:
            source = linear_rows(self.flow, tensor, self.channels)
            if source is None:
                raise RefusedError
            self.sources |= {id(each): each for each in source.parameters}
            return []
        if node.function is F.embedding:
            table = node.argument(1, "weight")
            if not isinstance(table, torch.nn.Parameter):
                raise RefusedError
            self.tables[id(table)] = table
            return []
        if node.function in _ADDITIONS:
            return self._added(node)
        if keeps_last_axis(node, tensor) and node.args[0] is not tensor:
            return [node.args[0]]
        raise RefusedError

    def _added(self, node: Node) -> list[torch.Tensor]:
        """Both tensors of an addition; in place, what was there before is gone."""
        both = node.args[:2]
        whole = all(isinstance(each, torch.Tensor) and each.shape[-1:] == (self.channels,) for each in both)
        if not whole or node.result is node.args[0] or node.kwargs:
            raise RefusedError
        return list(both)

    def _read_by(self, node: Node, tensor: torch.Tensor) -> list[torch.Tensor]:
        result = node.result
        if isinstance(result, torch.Tensor) and id(result) in self.flow.site_of:
            raise RefusedError  # a layer without a norm before it: as good as any, but its input has no root to share
        if node.function in _ADDITIONS:
            return [*self._added(node), result]
        if node.function in NORMS:
            self._norm(node.argument(2, "weight"), self._norm_bias(node), result)
            return []
        if node.function in _SQUARES:
            self._root(result)
            return []
        if node.function in MULTIPLY and self._is_root(node, tensor):
            self._written_out(result)
            return []
        if isinstance(result, torch.Tensor) and result is not tensor and keeps_last_axis(node, result):
            return [result]
        raise RefusedError

    @staticmethod
    def _norm_bias(node: Node) -> Any:
        return node.argument(3, "bias") if node.function in NORMS_WITH_BIAS else None

    def _root(self, square: torch.Tensor) -> None:
        """A square is read by its mean over the channels only, which no rotation changes."""
        for node in self.flow.readers_of(square):
            axes = node.argument(1, "dim")
            one = axes in (-1, square.dim() - 1, [-1], (-1,), [square.dim() - 1], (square.dim() - 1,))
            if node.function not in _MEANS or not one:
                raise RefusedError

    def _is_root(self, node: Node, tensor: torch.Tensor) -> bool:
        """Whether the other factor is one number for all channels, made from the mean of this tensor's squares."""
        others = [each for each in node.args[:2] if each is not tensor]
        if len(others) != 1 or not isinstance(others[0], torch.Tensor) or others[0].shape[-1:] != (1,):
            return False
        found = others[0]
        for _ in range(4):  # the root, epsilon, the mean, the square
            made = self.flow.producer.get(id(found))
            if made is None or not made.args or not isinstance(made.args[0], torch.Tensor):
                return False
            if made.function in _SQUARES:
                return made.args[0] is tensor
            found = made.args[0]
        return False

    def _written_out(self, normed: torch.Tensor) -> None:
        """A norm without gain; its gain, where one follows, and what reads it."""
        out = normed
        while True:
            nodes = self.flow.readers_of(out)
            if len(nodes) == 1 and nodes[0].function in MULTIPLY:
                gain = next((each for each in nodes[0].args[:2] if is_vector(each, self.channels)), None)
                if gain is None:
                    raise RefusedError
                self._norm(gain, None, nodes[0].result)
                return
            if len(nodes) == 1 and nodes[0].result is not out and keeps_last_axis(nodes[0], nodes[0].result):
                if id(nodes[0].result) in self.flow.site_of:
                    break
                out = nodes[0].result
                continue
            break
        self._norm(None, None, out)

    def _norm(self, gain: Any, bias: Any, out: torch.Tensor) -> None:
        for each in (gain, bias):
            if each is not None and (not is_vector(each, self.channels) or len(self.flow.readers_of(each)) != 1):
                raise RefusedError
        names = self._sites_behind(out)
        readers = readers_of_sites(self.flow, list(names)) if names else None
        if readers is None or not names:
            raise RefusedError
        biases = tuple(self._bias(name, bias) for name in names)
        self.norms.append(Norm(gain=gain, bias=bias, sites=names, readers=readers, biases=biases))

    def _sites_behind(self, out: torch.Tensor) -> tuple[str, ...]:
        """The linear sites that read a norm, through reshapes too; none where anything else does."""
        behind = {name for tensor, names in self._origins(out) for name in names}
        return tuple(name for name in self.flow.sites if name in behind) if read_only_by(self.flow, out, behind) else ()

    def _origins(self, out: torch.Tensor) -> list[tuple[int, tuple[str, ...]]]:
        """Tensors that are `out` up to reshapes, and the sites that read them."""
        found, waiting = [], [out]
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in self.sites:
                found.append((id(tensor), self.sites[id(tensor)]))
            for node in self.flow.readers_of(tensor):
                result = node.result
                if isinstance(result, torch.Tensor) and result is not tensor and keeps_last_axis(node, result):
                    waiting += [] if id(result) in self.flow.site_of else [result]
        return found

    def _bias(self, name: str, bias: torch.Tensor | None) -> torch.Tensor | None:
        """Where a norm's bias can go: the bias of a site that reads it."""
        own = self.flow.sites[name].bias_parameter
        if bias is not None and bool(bias.any()) and (own is None or len(self.flow.readers_of(own)) != 1):
            raise RefusedError
        return own
