"""LSTM, GRU and RNN nodes by constant weights, as torch's recurrent layers: gates in another order, axes moved.

ONNX: W [directions, gates * H, I], R [directions, gates * H, H], B [directions, 2 * gates * H]; gates of an LSTM are
input, output, forget, cell, of a GRU update, reset, hidden. torch: input, forget, cell, output; reset, update, new.
"""

from collections.abc import Sequence
from typing import Any

import torch

from bitwright.networks.onnx.node import Node, Value
from bitwright.networks.unseen import unseen

GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
LAYERS: dict[str, Any] = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "RNN": torch.nn.RNN}
USUAL = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}


class Recurrent(torch.nn.Module):
    """One node: X [T, B, I] to Y [T, directions, B, H] and the last states [directions, B, H]."""

    def __init__(self, node: Node, w: torch.Tensor, r: torch.Tensor, b: Value) -> None:
        super().__init__()
        self.node, self.direction = node, node.text("direction", "forward")
        directions, rows, hidden = r.shape
        gates = GATES[node.op]
        if rows != len(gates) * hidden or directions != (2 if self.direction == "bidirectional" else 1):
            raise node.refusal(f"its recurrent weight is {list(r.shape)}, which fits no {self.direction} {node.op}")
        _check(node, directions)
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

    def forward(self, x: torch.Tensor, lengths: Value = None, *state: Value) -> Any:
        """Y, its last step, and of an LSTM the last cell state."""
        batched = bool(self.node.number("layout", 0))
        x = x.transpose(0, 1) if batched else x
        if lengths is not None:
            with unseen():
                if bool((lengths != len(x)).any()):
                    raise self.node.refusal("has sequences of several lengths in a batch, which is not supported")
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


def _check(node: Node, directions: int) -> None:
    chosen = [str(each).lower() for each in node.attributes.get("activations", ())]
    if chosen and chosen != USUAL[node.op] * directions:
        raise node.refusal(f"has the activations {', '.join(chosen)}; only the usual ones are supported")
    if node.attributes.get("clip") or node.number("input_forget", 0):
        raise node.refusal("clips its cells, or couples its gates, which is not supported")
    if node.op == "GRU" and not node.number("linear_before_reset", 0):
        raise node.refusal(
            "resets its state before it multiplies (linear_before_reset=0), which torch's GRU does not; export it with "
            "linear_before_reset=1"
        )
