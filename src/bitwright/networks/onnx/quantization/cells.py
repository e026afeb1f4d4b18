"""onnxruntime's DynamicQuantizeLSTM: an LSTM whose products are of codes, those of x and H by the range of each.

X is rounded once for all steps, H in each. Weights W [D, I, 4 * H] and R [D, H, 4 * H] are codes with a scale of each
direction, or of each column.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from bitwright.networks.onnx import layers
from bitwright.networks.onnx.layer import Layer
from bitwright.networks.onnx.node import Node, Value
from bitwright.networks.onnx.operators import recurrent
from bitwright.networks.onnx.quantization.grids import CODES, Grid, SiteGrids
from bitwright.networks.onnx.quantization.modules import DynamicRounding, Switch, WholeProduct
from bitwright.networks.scans import Scan

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder

LSTM = "DynamicQuantizeLSTM"
PLACES = {"input": (1, 8), "hidden": (2, 10)}
"""Of the codes and of their scales among the inputs; zero points follow these."""
BIAS, STATE = 3, (4, 5, 6, 7)


class CodedCells(Scan):
    """One node; `products` are by direction and operand."""

    def __init__(self, node: Node, parts: dict[str, tuple[torch.Tensor, torch.Tensor]], bias: Value, on: Switch):
        super().__init__()
        self.node, self.size = dataclasses.replace(node, op="LSTM", domain=""), parts["hidden"][0].shape[-1]
        self.rounding = DynamicRounding(on)
        for name, (weight, scale) in parts.items():
            product = layers.linear(layers.parameter(weight), None)
            self.add_module(name, WholeProduct(node, product, weight))
            self.register_buffer(f"{name}_scale", scale)
        self.bias = None if bias is None else layers.parameter(bias)
        self.ways = ("", "reverse_")[: 2 if "reverse_input" in parts else 1]

    def forward(self, x: torch.Tensor, *rest: Value) -> Any:
        """Y, the last H and the last cell state."""
        given: list[Value] = [*rest, *[None] * (4 - len(rest))]
        lengths, h, c, peepholes = given
        of_w, of_r = (None, None) if self.bias is None else self.bias.chunk(2, -1)

        def direction(d: int, way: str) -> recurrent.Direction:
            def hidden(state: torch.Tensor, first: int, last: int) -> torch.Tensor:
                del first, last  # an LSTM's gates are one product
                return self._product(f"{way}hidden", state, None if of_r is None else of_r[d])

            return recurrent.Direction(
                input=lambda steps: self._product(f"{way}input", steps, None if of_w is None else of_w[d]),
                hidden=hidden,
                peepholes=None if peepholes is None else peepholes[d],
            )

        directions = [direction(d, way) for d, way in enumerate(self.ways)]
        return recurrent.run(self.node, x, directions, self.size, lengths, h, c)

    def _product(self, name: str, x: torch.Tensor, bias: Value) -> torch.Tensor:
        """x by the weights of a name, rounded by its own range."""
        codes, scale, zero = self.rounding(x)
        product: torch.Tensor = self.get_submodule(name)(codes, zero)
        found = product * (scale * self.get_buffer(f"{name}_scale"))
        return found if bias is None else found + bias


def coded_cells(builder: "Builder", node: Node, on: Switch) -> tuple[Layer, dict[str, SiteGrids]]:
    """The module of a DynamicQuantizeLSTM, and the grids of its products by their paths below it.

    Raises
    ------
    InputError
        Weights or scales that are computed, or that fit no LSTM.
    """
    bias = builder.constant(node, BIAS)
    if builder.has(node, BIAS) and bias is None:
        raise node.refusal("has a bias that is computed, which is not supported")
    parts: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    grids: dict[str, SiteGrids] = {}
    for name, (place, scaled) in PLACES.items():
        codes, scale, zero = (builder.constant(node, i) for i in (place, scaled, scaled + 1))
        if codes is None or scale is None or (zero is None and builder.has(node, scaled + 1)):
            raise node.refusal("has weights or scales that are computed, which is not supported")
        if codes.dim() != 3 or codes.shape[2] != 4 * builder.constants[node.inputs[2]].shape[1]:
            raise node.refusal(f"has weights {list(codes.shape)}, which fit no LSTM")
        for d, way in enumerate(("", "reverse_")[: len(codes)]):
            of_d = scale.reshape(len(codes), -1)[d].float()
            zeros = torch.zeros(1, dtype=torch.int32) if zero is None else zero.reshape(len(codes), -1)[d].int()
            grid = Grid(
                scale=torch.ones(zeros.shape) if len(zeros) > 1 else torch.ones(()),
                zero=zeros if len(zeros) > 1 else zeros.reshape(()),
                bits=8,
                signed=codes.dtype == torch.int8,
                axis=0 if len(zeros) > 1 else None,
            )
            parts[f"{way}{name}"] = ((codes[d].int() - zeros).float().t().contiguous(), of_d)
            grids[f"{way}{name}.product"] = SiteGrids(x=CODES, w=grid)
    names = [node.inputs[i] if i < len(node.inputs) else "" for i in STATE]
    module = CodedCells(node, parts, bias, on)
    return Layer(module=module, inputs=(node.inputs[0], *names), outputs=node.outputs), grids
