"""LSTM, GRU and RNN step by step, in all their forms: several lengths in a batch, peepholes, any activations, clips.

X by W is one product for all steps, H by R one of each step. Gates of an LSTM are input, output, forget and cell, of a
GRU update, reset and hidden. What torch's own layers have runs in them (`bitwright.networks.onnx.recurrent`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value
from bitwright.networks.unseen import unseen

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
USUAL = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
Activation = Callable[[torch.Tensor], torch.Tensor]
State = tuple[torch.Tensor, ...]

PLAIN: dict[str, Activation] = {
    "relu": F.relu, "sigmoid": torch.sigmoid, "softplus": F.softplus, "softsign": F.softsign, "tanh": torch.tanh,
}  # fmt: skip
BY_NUMBERS: dict[str, tuple[tuple[float | None, ...], Callable[..., torch.Tensor]]] = {
    "affine": ((None, None), lambda x, alpha, beta: alpha * x + beta),
    "elu": ((1.0,), F.elu),
    "hardsigmoid": ((0.2, 0.5), lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0.0, 1.0)),
    "leakyrelu": ((0.01,), F.leaky_relu),
    "scaledtanh": ((None, None), lambda x, alpha, beta: alpha * torch.tanh(beta * x)),
    "thresholdedrelu": ((1.0,), lambda x, alpha: F.threshold(x, alpha, 0.0)),
}
"""Activations with an alpha, or an alpha and a beta, and what these are where the node does not say."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """The products of one direction.

    Attributes
    ----------
    input : callable
        X [T, B, I] -> [T, B, gates * H], with the bias of W.
    hidden : callable
        (H [B, H], first gate, last gate) -> [B, gates between them * H], with the bias of R.
    peepholes : torch.Tensor or None
        [3 * H]: input, output, forget.
    """

    input: Callable[[torch.Tensor], torch.Tensor]
    hidden: Callable[[torch.Tensor, int, int], torch.Tensor]
    peepholes: Value = None


def recurrent(
    node: Node,
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    b: Value = None,
    lengths: Value = None,
    h: Value = None,
    c: Value = None,
    p: Value = None,
) -> State:
    """Y, the last H, and of an LSTM the last cell state; W [D, gates * H, I], R [D, gates * H, H], D directions."""
    size, rows = r.shape[-1], GATES[node.op] * r.shape[-1]
    if r.shape[1] != rows or w.shape[:2] != r.shape[:2]:
        raise node.refusal(f"its weights are {list(w.shape)} and {list(r.shape)}, which fit no {node.op}")

    def direction(d: int) -> Direction:
        of_w, of_r = (None, None) if b is None else (b[d, :rows], b[d, rows:])

        def hidden(state: torch.Tensor, first: int, last: int) -> torch.Tensor:
            own = slice(first * size, last * size)
            return F.linear(state, r[d, own], None if of_r is None else of_r[own])

        return Direction(
            input=lambda steps: F.linear(steps, w[d], of_w), hidden=hidden, peepholes=None if p is None else p[d]
        )

    return run(node, x, [direction(d) for d in range(len(r))], size, lengths, h, c)


def run(
    node: Node, x: torch.Tensor, directions: Sequence[Direction], size: int, lengths: Value, h: Value, c: Value
) -> State:
    """Y, the last H, and of an LSTM the last cell state; H has `size` elements."""
    way = node.text("direction", "forward")
    if len(directions) != (2 if way == "bidirectional" else 1):
        raise node.refusal(f"has weights of {len(directions)} directions, and its direction is {way!r}")
    batched = bool(node.number("layout", 0))
    x = x.transpose(0, 1) if batched else x
    states = [each.transpose(0, 1) if batched and each is not None else each for each in (h, c)]
    order = None if lengths is None else lengths.to(x.device)
    outputs, lasts = [], []
    for d, direction in enumerate(directions):
        backward = way == "reverse" or d == 1
        start = tuple(x.new_zeros(x.shape[1], size) if each is None else each[d] for each in states)
        cell = Cell(node, direction, list(activations(node, d)))
        y, last = _steps(cell, _turned(x, order) if backward else x, start, order)
        outputs.append(_turned(y, order) if backward else y)
        lasts.append(last)
    y = torch.stack(outputs, 1)
    ends = [torch.stack(each) for each in zip(*lasts, strict=True)][: 2 if node.op == "LSTM" else 1]
    if batched:
        return (y.permute(2, 0, 1, 3), *(each.transpose(0, 1) for each in ends))
    return (y, *ends)


def _steps(cell: "Cell", x: torch.Tensor, state: State, lengths: Value) -> tuple[torch.Tensor, State]:
    """Y [T, B, H] and the states after the last step of each sequence."""
    parts = []
    for step, gates in enumerate(cell.direction.input(x).unbind(0)):
        after = cell(gates, state)
        y = after[0]
        if lengths is not None:
            runs = (step < lengths)[:, None]
            y = torch.where(runs, y, 0.0)
            after = tuple(torch.where(runs, new, old) for new, old in zip(after, state, strict=True))
        state = after
        parts.append(y)
    return torch.stack(parts), state


def _turned(x: torch.Tensor, lengths: Value) -> torch.Tensor:
    """Each sequence of x [T, B, ...] backwards; what lies behind its end stays there."""
    if lengths is None:
        return torch.flip(x, (0,))
    with unseen():
        steps = torch.arange(len(x), device=x.device)[:, None]
        index = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return torch.gather(x, 0, index[..., None].expand(x.shape))


class Cell:
    """One step of a node in one direction."""

    def __init__(self, node: Node, direction: Direction, functions: Sequence[Activation]) -> None:
        self.node, self.direction, self.functions = node, direction, functions
        self.clip = float(node.number("clip", 0.0))
        self.step = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[node.op]

    def __call__(self, gates: torch.Tensor, state: State) -> State:
        """The next H and cell state, from x by W [B, gates * H] and those before."""
        return self.step(gates, state)

    def _bounded(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(x, -self.clip, self.clip) if self.clip > 0 else x

    def _lstm(self, gates: torch.Tensor, state: State) -> State:
        h, c = state
        f, g, out = self.functions
        parts = gates + self.direction.hidden(h, 0, 4)
        enter, leave, forget, new = parts.chunk(4, -1)
        seen = self.direction.peepholes
        of_enter, of_leave, of_forget = (None, None, None) if seen is None else seen.chunk(3)
        enter = f(self._bounded(enter if of_enter is None else enter + of_enter * c))
        if self.node.number("input_forget", 0):
            forget = 1.0 - enter
        else:
            forget = f(self._bounded(forget if of_forget is None else forget + of_forget * c))
        c = forget * c + enter * g(self._bounded(new))
        leave = f(self._bounded(leave if of_leave is None else leave + of_leave * c))
        return leave * out(c), c

    def _gru(self, gates: torch.Tensor, state: State) -> State:
        h, kept = state
        f, g = self.functions
        own = gates.chunk(3, -1)
        if self.node.number("linear_before_reset", 0):
            update, reset, new = self.direction.hidden(h, 0, 3).chunk(3, -1)
            reset = f(self._bounded(own[1] + reset))
            new = reset * new
        else:
            update, reset = self.direction.hidden(h, 0, 2).chunk(2, -1)
            reset = f(self._bounded(own[1] + reset))
            new = self.direction.hidden(reset * h, 2, 3)
        update = f(self._bounded(own[0] + update))
        new = g(self._bounded(own[2] + new))
        return (1.0 - update) * new + update * h, kept

    def _rnn(self, gates: torch.Tensor, state: State) -> State:
        return self.functions[0](self._bounded(gates + self.direction.hidden(state[0], 0, 1))), state[1]


def activations(node: Node, direction: int) -> Iterator[Activation]:
    """The activations of one direction, in the order in which the operator names them."""
    usual = USUAL[node.op]
    named = [str(each).lower() for each in node.attributes.get("activations", ())] or usual * (direction + 1)
    numbers = [iter(node.attributes.get(name, ())) for name in ("activation_alpha", "activation_beta")]
    for place, name in enumerate(named[: len(usual) * (direction + 1)]):
        if name not in PLAIN and name not in BY_NUMBERS:
            raise node.refusal(f"has the activation {name!r}, which is not known")
        if name in PLAIN:
            function = PLAIN[name]
        else:
            defaults, of_numbers = BY_NUMBERS[name]
            given = [next(each, default) for each, default in zip(numbers, defaults, strict=False)]
            if None in given:
                raise node.refusal(f"has no numbers for its activation {name!r}")
            function = _with(of_numbers, given)
        if place >= len(usual) * direction:
            yield function


def _with(function: Callable[..., torch.Tensor], numbers: Sequence[Any]) -> Activation:
    return lambda x: function(x, *numbers)


RECURRENT: dict[str, Callable[..., State]] = dict.fromkeys(GATES, recurrent)
"""Operators of ONNX's own domain."""
