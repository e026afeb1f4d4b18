"""What a graph says of its quantization, collected while it becomes modules: grids by value, and by product."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from bitwright.networks.onnx.layer import Layer
from bitwright.networks.onnx.node import Node, short
from bitwright.networks.onnx.operators.table import PRODUCT_OPERATORS, QONNX
from bitwright.networks.onnx.quantization.functions import BIPOLAR_QUANT, QUANTIZERS, bipolar_grid, quant_grid, width_of
from bitwright.networks.onnx.quantization.grids import Grid, Rows, SiteGrids, grid_of
from bitwright.networks.onnx.quantization.making import MAKERS, next_grid
from bitwright.networks.onnx.quantization.modules import Switch
from bitwright.networks.onnx.quantization.moves import carried, sizes_after
from bitwright.networks.onnx.quantization.narrowing import of_codes
from bitwright.networks.onnx.quantization.readers import MOVES, padded, pads_on
from bitwright.networks.onnx.quantization.rows import as_last, rows_after
from bitwright.networks.onnx.types import INTEGERS

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder

KEEPS_REALS = MOVES | {"Relu"}


class Quantization:
    """Of one file, or of a graph inside it."""

    def __init__(self, stated: Mapping[str, int] | None = None) -> None:
        self.around: Quantization | None = None  # of the graph that has this one
        self.switch: Switch | None = None
        self.grids: dict[str, Grid] = {}
        self.coded: set[str] = set()  # values that are codes in the file, and reals on a grid here
        self.rows: dict[str, Rows] = {}  # of values that are scaled by rows as the network runs
        self.row_products: set[str] = set()
        self.loose_rows = False
        self.dynamic: set[str] = set()
        self.products: set[str] = set()
        self.widths: dict[str, tuple[int, bool]] = {}
        self.stated = dict(stated or {})  # bits of codes that lie in a wider type, by name
        self.sizes: dict[str, tuple[int, ...]] = {}  # of values, where the file says them
        self.sites: dict[str, SiteGrids] = {}
        self.below: dict[str, SiteGrids] = {}  # of the node that is read, by paths below its module
        self.tensors = 0
        self.notes: dict[str, None] = {}

    def switched(self) -> Switch:
        """The switch, which there is where anything is rounded as the network runs; one for all graphs."""
        if self.around is not None:
            return self.around.switched()
        if self.switch is None:
            self.switch = Switch()
        return self.switch

    def inside(self) -> "Quantization":
        """Of a graph that a node has: it knows the values around it, and keeps what it learns of its own.

        Graphs that lie beside each other may call their values the same.
        """
        found = Quantization(self.stated)
        found.around = self
        found.grids, found.rows, found.widths = dict(self.grids), dict(self.rows), dict(self.widths)
        found.coded, found.products, found.sizes = set(self.coded), set(self.products), dict(self.sizes)
        found.dynamic, found.row_products = set(self.dynamic), set(self.row_products)
        return found

    def take(self, inner: "Quantization", key: str) -> None:
        """Take over what a graph says of its products, which is a submodule `key` of the node that is read."""
        self.below |= {f"{key}.{path}": grids for path, grids in inner.sites.items()}
        self.tensors += inner.tensors
        self.loose_rows |= inner.loose_rows
        self.notes |= inner.notes

    def learn_types(self, graph: Any) -> None:
        """How wide integers are that a graph is given, or has in nodes: torch has no type for some."""
        for each in graph.input:
            kind = each.type.tensor_type.elem_type
            if kind in INTEGERS:
                self.widths.setdefault(each.name, INTEGERS[kind])
        for each in graph.value_info:
            sizes = each.type.tensor_type.shape.dim
            if sizes and all(size.HasField("dim_value") for size in sizes):
                self.sizes[each.name] = tuple(size.dim_value for size in sizes)
        for node in graph.node:
            kinds = [each.t.data_type for each in node.attribute if each.name == "value" and each.HasField("t")]
            if node.op_type == "Constant" and node.output and kinds and kinds[0] in INTEGERS:
                self.widths[node.output[0]] = INTEGERS[kinds[0]]
            target = next((each.i for each in node.attribute if each.name == "to"), 0)
            if node.op_type == "Cast" and node.output and target in INTEGERS:
                self.widths[node.output[0]] = INTEGERS[target]

    # ---------------- constants

    def with_width(self, node: Node) -> Node:
        """A node on codes, and how wide these are where a tensor's type says so."""
        if node.op not in ("QuantizeLinear", "DequantizeLinear"):
            return node
        names = [node.inputs[0], *node.inputs[2:3]] if node.op == "DequantizeLinear" else node.inputs[2:3]
        width = next((self.widths[name] for name in names if name in self.widths), None)
        if width is None:
            return node
        return dataclasses.replace(node, attributes={**node.attributes, "width": width})

    def learn_constant(self, builder: "Builder", node: Node) -> None:
        """The grid of a constant that was computed when the file was read."""
        constants = builder.constants
        given = [constants.get(name) if name else None for name in node.inputs]
        if node.op in MOVES and node.inputs and node.inputs[0] in self.widths:
            self.widths |= dict.fromkeys(node.outputs, self.widths[node.inputs[0]])
        if node.op == "QuantizeLinear":
            self.widths[node.outputs[0]] = width_of(node, given[2] if len(given) > 2 else None)
        elif node.op == "DequantizeLinear":
            assert given[0] is not None
            assert given[1] is not None
            zero = given[2] if len(given) > 2 else None
            grid = grid_of(node, given[1], zero, width_of(node, zero, given[0]), given[0].dim())
            self.grids[node.outputs[0]] = of_codes(grid, given[0], self.stated.get(node.inputs[0]))
        elif node.domain in QONNX and node.op == BIPOLAR_QUANT:
            assert given[1] is not None
            self.grids[node.outputs[0]] = bipolar_grid(node, given[1], None if given[0] is None else given[0].dim())
        elif node.domain in QONNX and node.op in QUANTIZERS:
            assert given[1] is not None
            assert given[2] is not None
            assert given[3] is not None
            rank = None if given[0] is None else given[0].dim()
            self.grids[node.outputs[0]] = quant_grid(node, given[1], given[2], given[3], rank)
        elif node.op in MOVES and node.inputs:
            own, before, after = self.grids.get(node.inputs[0]), given[0], constants[node.outputs[0]]
            if own is not None and before is not None:
                found = own if own.per_tensor else carried(own, node, tuple(before.shape), tuple(after.shape))
                self.grids |= {} if found is None else {node.outputs[0]: found}

    # ---------------- what rounds as the network runs

    def layer(self, builder: "Builder", node: Node) -> Layer | None:
        """The module of a node that makes or reads codes; None for any other."""
        maker = MAKERS.get((node.domain, node.op))
        return None if maker is None else maker(self, builder, node)

    # ---------------- what passes codes on

    def moved(self, builder: "Builder", node: Node) -> Node:  # noqa: C901
        """Learn where codes go; a node that would compute with them is refused. Pads of codes become reals."""
        rows = self.rows.get(node.inputs[0]) if node.inputs and node.op in MOVES and not node.domain else None
        moved = None if rows is None else rows_after(builder, node, rows)
        self.rows |= {} if moved is None else {node.outputs[0]: moved}
        coded = [name for name in node.inputs if name in self.coded]
        if node.op == "DequantizeLinear" and not node.domain:
            return node
        if coded and node.op not in MOVES:
            raise node.refusal(f"computes with the codes {short(coded[0])!r}, which is not supported")
        moving = node.inputs if node.op == "Concat" else node.inputs[:1]
        found = [self.grids[name] for name in moving if name in self.grids]
        if node.domain or node.op not in KEEPS_REALS or not found or not found[0].per_tensor:
            if coded:
                raise node.refusal("moves codes whose scales differ between channels, which is not supported")
            if found and not node.domain:
                self._carry(builder, node, found[0])
            return node
        if node.op == "Concat":
            same = len(found) == len(node.inputs) and all(found[0].equals(each) for each in found)
            if coded and not same:
                raise node.refusal("joins codes of several grids, which is not supported")
            if not same:
                return node
        if node.op == "Pad" and not coded and not pads_on(builder, node, found[0]):
            return node
        for name in node.outputs:
            self.grids[name] = found[0]
            if coded:
                self.coded.add(name)
            if node.inputs[0] in self.products and node.op in ("Reshape", "Transpose", "Relu"):
                self.products.add(name)
        return padded(builder, node, found[0]) if coded and node.op == "Pad" else node

    def _carry(self, builder: "Builder", node: Node, grid: Grid) -> None:
        """Learn the grid of reals with several scales that a Reshape or a Transpose moves."""
        before, target = self.sizes.get(node.inputs[0]), builder.constant(node, 1)
        after = None if before is None else sizes_after(node, before, target)
        found = None if before is None or after is None else carried(grid, node, before, after)
        if found is not None and after is not None:
            self.grids[node.outputs[0]], self.sizes[node.outputs[0]] = found, after

    def learn_product(self, builder: "Builder", node: Node, layer: Layer, path: str) -> None:
        """The grids of a product, by the path of its module."""
        if self.below:
            self.sites |= {f"{path}.{name}" if name else path: grids for name, grids in self.below.items()}
            self.below = {}
            return
        if node.domain or node.op not in PRODUCT_OPERATORS:
            return
        if node.op == "Attention":  # shares times values is a product too, and nothing says how shares are rounded
            path = f"{path}:qk"
        self.products |= set(layer.outputs)
        x, w = (self.grids.get(name) or self._product_rows(node, name) for name in (*node.inputs[:2], "", "")[:2])
        if x is None and w is None:
            return
        matrix = isinstance(layer.module, torch.nn.Linear) and not node.number("transB", 0)
        if isinstance(w, Rows):
            w = as_last(w) if node.op == "MatMul" else w
        elif w is not None and (matrix or (node.op == "MatMul" and not w.per_tensor and w.axis is None)):
            w = w.turned()
        if (
            isinstance(w, Grid) and node.op == "Gemm" and node.number("alpha", 1.0) != 1
        ):  # which the weight was multiplied by
            alpha = node.number("alpha", 1.0)
            w = dataclasses.replace(w, scale=w.scale * alpha) if alpha > 0 else None
        y = next_grid(self, builder, layer.outputs[0])
        self.sites[path] = SiteGrids(
            x=x,
            w=w,
            y=y if y is not None and y.per_tensor else None,
            weight_first=node.inputs[0] in builder.constants,
            whole_bias=node.op != "Attention"
            and not layer.joins
            and node.number("beta", 1.0) == 1
            and self._whole_bias(node, x, w),
        )

    def _product_rows(self, node: Node, name: str) -> Rows | None:
        """What a product reads that is scaled by rows."""
        if node.op not in ("MatMul", "Conv") or name not in self.rows:
            return None
        self.row_products.add(node.outputs[0])
        return self.rows[name]

    def look_for_loose_rows(self, builder: "Builder") -> None:
        """Learn whether anything but products reads what is scaled by rows, once all nodes are built."""
        known = self.rows.keys() | self.row_products
        for name in self.rows:
            readers = [builder.nodes[index] for index in builder.all_readers.get(name, ())]
            apart = any(known.isdisjoint(each.outputs) for each in readers)
            self.loose_rows |= (
                apart
                or name in builder.outputs
                or builder.readers[name] > sum(each.inputs.count(name) for each in readers)
            )

    def _whole_bias(self, node: Node, x: Grid | Rows | None, w: Grid | Rows | None) -> bool:
        if len(node.inputs) < 3 or not node.inputs[2]:
            return True
        bias = self.grids.get(node.inputs[2])
        if not isinstance(x, Grid) or not isinstance(w, Grid) or bias is None or bias.bits != 32 or not x.per_tensor:
            return False
        step = (x.scale * w.scale).reshape(-1)
        return bool(torch.allclose(bias.scale.reshape(-1).expand(step.shape), step, rtol=1e-6, atol=0.0))
