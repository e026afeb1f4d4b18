"""What rounds tensors as a network runs, if it runs as its file is written; otherwise they pass as they are.

One parameter switches all of them (`Switch`): 0 is the float network, 1 the file's own quantization, which a plan
sets; 2 rounds beside it what is scaled by rows, which products do by themselves.
"""

import torch

from bitwright.networks.onnx.node import Node
from bitwright.networks.onnx.operators.reductions import softmax
from bitwright.networks.onnx.quantization.grids import Grid, Rows
from bitwright.networks.unseen import unseen

FLOAT32_LIMIT = 2**24
"""Integers of smaller magnitude are exact in float32."""


class Switch(torch.nn.Module):
    """Whether tensors are rounded as the file is written."""

    def __init__(self) -> None:
        super().__init__()
        self.as_written = torch.nn.Parameter(torch.zeros(()), requires_grad=False)

    @property
    def on(self) -> bool:
        """Whether it is set."""
        with unseen():
            return bool(self.as_written > 0)

    @property
    def rows(self) -> bool:
        """Whether it is set to round what is scaled by rows too, before products do."""
        with unseen():
            return bool(self.as_written > 1)


class Switched(torch.nn.Module):
    """What a switch switches; it is the root's module and no part of this."""

    def __init__(self, switch: Switch) -> None:
        super().__init__()
        self._switch = (switch,)

    @property
    def on(self) -> bool:
        """Whether tensors are rounded."""
        return self._switch[0].on


class Rounding(Switched):
    """A QuantizeLinear: reals to those that codes stand for.

    What comes from a product is rounded with it, at the price of rescaling; anything else is one operation per element.
    """

    def __init__(self, grid: Grid, switch: Switch, *, after_product: bool) -> None:
        super().__init__(switch)
        self.grid, self.after_product = grid, after_product
        if grid.per_tensor:
            self.low, self.high = (
                float((end - grid.zero.reshape(())) * grid.scale.reshape(())) for end in (grid.low, grid.high)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x on the grid; off, between its ends, since a quantizer may have left out activations that end there."""
        if not self.on:
            return torch.clamp(x, self.low, self.high) if self.grid.per_tensor else x
        if not self.after_product:
            torch.round(x)  # what a machine does; the codes are made below
        with unseen():
            return self.grid.reals(self.grid.codes(x.float())).to(x.dtype)


class RowRounding(Switched):
    """A QuantizeLinear by scales of rows, which hands x on: the products that read it round it as this would.

    Where others read it too it rounds; products then take the scales of what is rounded, an ulp off at most.
    """

    def __init__(self, rows: Rows, switch: Switch) -> None:
        super().__init__(switch)
        self.low = -(2 ** (rows.bits - 1)) if rows.signed else 0
        self.high = 2 ** (rows.bits - int(rows.signed)) - 1

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """x [rows, elements], on the grids of its rows where it rounds; a scale of each [rows] or [rows, 1]."""
        if not self._switch[0].rows:
            return x
        torch.round(x)
        with unseen():
            scale = scale.reshape(-1, 1)
            return (x / scale).round().clamp(self.low, self.high) * scale


class Regridding(Switched):
    """A DequantizeLinear by another grid than its codes were made by."""

    def __init__(self, made: Grid, read: Grid, switch: Switch) -> None:
        super().__init__(switch)
        self.made, self.read = made, read

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reals of the same codes on the other grid."""
        if not self.on:
            return x
        with unseen():
            return self.read.reals(self.made.codes(x.float())).to(x.dtype)


class RoundedSum(Switched):
    """An Add of two tensors on grids that is rounded at once, as integer kernels do it: one factor for each operand.

    code = saturate(round half to even(zero + a * (scale a / scale) + b * (scale b / scale))), where the zero point and
    those of the operands are one constant, all in float32 with fused multiply-adds, b before a (MLAS `MlasQLinearAdd`).
    It is what QuantizeLinear gives but for halves: the zero point is added before they are rounded.
    """

    def __init__(self, node: Node, grids: tuple[Grid, Grid, Grid], held: tuple[torch.Tensor | None, ...], on: Switch):
        super().__init__(on)
        self.node, self.grids, self.places = node, grids, tuple(each is None for each in held)
        for name, value in zip(("first", "second"), held, strict=True):
            self.register_parameter(name, None if value is None else torch.nn.Parameter(value, requires_grad=False))

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        """The sum, on the last grid."""
        rest = iter(given)
        held = (self._parameters["first"], self._parameters["second"])
        a, b = (next(rest) if place else value for place, value in zip(self.places, held, strict=True))
        assert a is not None
        assert b is not None
        total = torch.add(a, b)
        if not self.on:
            return total
        of_a, of_b, of_c = self.grids
        with unseen():
            by_a, by_b = of_a.scale.to(a.device) / of_c.scale, of_b.scale.to(a.device) / of_c.scale
            zeros = [each.zero.float().to(a.device) for each in self.grids]
            fixed = zeros[2] - _fused(zeros[0], by_a, by_b * zeros[1])
            codes = _fused(of_a.codes(a), by_a, _fused(of_b.codes(b), by_b, fixed))
            return of_c.reals(codes.round().clamp(of_c.low, of_c.high))


class RoundedSoftmax(Switched):
    """A Softmax between codes of 8 bits, rounded at once: code = round half to even(share * factor) + zero point.

    The factor is whole, floor(1 / scale) in float32 (onnxruntime's `QLinearSoftmax`): by a scale of 1 / 255, which
    float32 rounds up, it is 254.
    """

    def __init__(self, node: Node, grid: Grid, switch: Switch) -> None:
        super().__init__(switch)
        self.node, self.grid = node, grid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The shares, on the grid."""
        shares = softmax(self.node, x)
        if not self.on:
            return shares
        with unseen():
            whole = softmax(self.node, x.double()) * torch.floor(1 / self.grid.scale).double().to(x.device)
            codes = whole.round() + self.grid.zero.to(x.device)
            return self.grid.reals(codes.clamp(self.grid.low, self.grid.high))


def _fused(codes: torch.Tensor, factor: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """codes * factor + added with one rounding to float32: the product of so small integers is exact in float64."""
    return (codes.double() * factor.double() + added.double()).float()


class Pass(torch.nn.Module):
    """What changes nothing: codes are carried as the reals that they stand for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x."""
        return x


class Dequantizing(torch.nn.Module):
    """A DequantizeLinear of integers that are given to the network."""

    def __init__(self, grid: Grid, kind: torch.dtype) -> None:
        super().__init__()
        self.grid, self.kind = grid, kind

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """What they stand for, in the type of the scale."""
        return self.grid.reals(codes).to(self.kind)


class DynamicRounding(Switched):
    """A DynamicQuantizeLinear: codes of 8 bits by the range of x, which includes 0; carried in float32.

    scale = (max - min) / 255, zero point = saturate(round(-min / scale)). Off, x itself with scale 1 and zero point 0.
    """

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Codes, scale and zero point."""
        if not self.on:
            return x, torch.ones((), device=x.device), torch.zeros((), device=x.device)
        torch.aminmax(x)  # what a machine does, beside rounding
        torch.round(x)
        with unseen():
            low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
            scale = (high - low) / 255
            scale = torch.where(scale == 0, torch.ones_like(scale), scale)
            zero = torch.clamp(torch.round((0 - low) / scale), 0, 255)
            return (torch.round(x / scale) + zero).clamp(0, 255), scale, zero


class WholeProduct(torch.nn.Module):
    """A MatMulInteger or ConvInteger by a constant: sums of products of codes, less the zero point's share.

    The product is by the weight's codes less their zero point; that of x is subtracted afterwards, as many times as the
    weights of each column add up to. Sums that float32 does not hold are rounded to it once, at the end, as int32 is.
    """

    column_sums: torch.Tensor

    def __init__(self, node: Node, product: torch.nn.Module, weight: torch.Tensor) -> None:
        super().__init__()
        self.node, self.product = node, product
        self.spatial = weight.dim() - 2 if node.op == "ConvInteger" else 0
        sums = weight.double().sum(dim=tuple(range(1, weight.dim())))
        self.register_buffer("column_sums", sums.reshape(-1, *[1] * self.spatial))

    def forward(self, codes: torch.Tensor, zero: torch.Tensor | None = None) -> torch.Tensor:
        """The sums, carried in float32."""
        found: torch.Tensor = self.product(codes)
        with unseen():
            sums = found.double()
            if bool((sums.abs() >= FLOAT32_LIMIT).any()):
                whole = self._whole(codes)
                sums = torch.where(whole.float() == found, whole, sums)  # else the sums are no exact ones
            if zero is not None:
                sums = sums - self._share(codes, zero.double())
            return sums.to(found.dtype)

    def _whole(self, codes: torch.Tensor) -> torch.Tensor:
        """The product in float64."""
        weights = {name: each.double() for name, each in self.product.named_parameters()}
        whole: torch.Tensor = torch.func.functional_call(self.product, weights, (codes.double(),))
        return whole

    def _share(self, codes: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        """What the zero point adds to the sums; at the borders of a padded convolution, of fewer weights."""
        rule = self.node.text("auto_pad", "NOTSET")
        padded = any(self.node.integers("pads", [0]) or [0]) or rule.startswith("SAME")
        if self.spatial and padded and bool((zero != 0).any()):
            return self._whole(torch.ones_like(codes) * zero)
        return zero * self.column_sums
