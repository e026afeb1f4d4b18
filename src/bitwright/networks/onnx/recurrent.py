"""LSTM, GRU and RNN nodes by constant weights, as torch's recurrent layers: gates in another order, axes moved.

ONNX: W [directions, gates * H, I], R [directions, gates * H, H], B [directions, 2 * gates * H]; gates of an LSTM are
input, output, forget, cell, of a GRU update, reset, hidden. torch: input, forget, cell, output; reset, update, new.
What torch's layers do not have runs step by step (`bitwright.networks.onnx.operators.recurrent`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from bitwright.networks.onnx.layer import Layer
from bitwright.networks.onnx.node import Node, Value
from bitwright.networks.onnx.operators.recurrent import USUAL

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder

ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""ONNX's gates in torch's order."""
LAYERS: dict[str, Any] = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "RNN": torch.nn.RNN}
LENGTHS, PEEPHOLES = 4, 7  # among the inputs


class Recurrent(torch.nn.Module):
    """One node: X [T, B, I] to Y [T, directions, B, H] and the last states [directions, B, H]."""

    def __init__(self, node: Node, w: torch.Tensor, r: torch.Tensor, b: Value) -> None:
        super().__init__()
        self.node, self.direction = node, node.text("direction", "forward")
        directions, rows, hidden = r.shape
        gates = ORDER[node.op]
        if rows != len(gates) * hidden or directions != (2 if self.direction == "bidirectional" else 1):
            raise node.refusal(f"its recurrent weight is {list(r.shape)}, which fits no {self.direction} {node.op}")
        both = directions == 2
        self.cell = LAYERS[node.op](w.shape[2], hidden, bias=b is not None, bidirectional=both, device="meta")
        self.cell.requires_grad_(False)
        for direction, suffix in zip(range(directions), ("", "_reverse"), strict=False):
            parts = {f"weight_ih_l0{suffix}": w[direction], f"weight_hh_l0{suffix}": r[direction]}
            if b is not None:
                parts |= dict(zip((f"bias_ih_l0{suffix}", f"bias_hh_l0{suffix}"), b[direction].chunk(2), strict=True))
            for name, values in parts.items():
                blocks = values.chunk(len(gates))
                ordered = torch.cat([blocks[gate] for gate in gates]).contiguous()
                setattr(self.cell, name, torch.nn.Parameter(ordered))

    def forward(self, x: torch.Tensor, *state: Value) -> Any:
        """Y, its last step, and of an LSTM the last cell state."""
        batched = bool(self.node.number("layout", 0))
        x = x.transpose(0, 1) if batched else x
        x = torch.flip(x, (0,)) if self.direction == "reverse" else x
        y, last = self.cell(x, self._state(state, batched=batched))
        y = torch.flip(y, (0,)) if self.direction == "reverse" else y
        directions = 2 if self.direction == "bidirectional" else 1
        y = y.unflatten(-1, (directions, -1)).transpose(1, 2)
        states = last if isinstance(last, tuple) else (last,)
        if not batched:
            return (y, *states)
        return (y.permute(2, 0, 1, 3), *(each.transpose(0, 1) for each in states))

    def _state(self, state: Sequence[Value], *, batched: bool) -> Any:
        known = next((each for each in state if each is not None), None)
        if known is None:
            return None
        both = [torch.zeros_like(known) if each is None else each for each in (*state, None)[:2]]
        both = [each.transpose(0, 1).contiguous() if batched else each for each in both]
        return (both[0], both[1]) if self.node.op == "LSTM" else both[0]


def layer(builder: "Builder", node: Node, index: int) -> Layer | None:  # noqa: ARG001
    """One of torch's layers; None where the node has computed weights, lengths, or what these do not have."""
    constants = [builder.constant(node, i) for i in (1, 2, 3)]
    if constants[0] is None or constants[1] is None or (builder.has(node, 3) and constants[2] is None):
        return None
    if builder.has(node, LENGTHS) or builder.has(node, PEEPHOLES) or not _usual(node):
        return None
    module = Recurrent(node, constants[0], constants[1], constants[2])
    return Layer(module=module, inputs=(node.inputs[0], *node.inputs[LENGTHS + 1 : PEEPHOLES]), outputs=node.outputs)


def _usual(node: Node) -> bool:
    """Whether its gates are as torch's."""
    chosen = [str(each).lower() for each in node.attributes.get("activations", ())]
    directions = 2 if node.text("direction", "forward") == "bidirectional" else 1
    if chosen and chosen != USUAL[node.op] * directions:
        return False
    if node.number("clip", 0.0) or node.number("input_forget", 0):
        return False
    return node.op != "GRU" or bool(node.number("linear_before_reset", 0))
