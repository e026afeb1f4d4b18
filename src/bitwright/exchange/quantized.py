"""The method `file`: a quantized file's own scales, zero points and widths; of ONNX here, of GGUF in `blocks`.

Nothing is calibrated. Products are exact sums of the file's codes; where nothing but a QuantizeLinear reads a product,
its sums are rounded at once as integer kernels do it: code = saturate(round half to even((sums + bias) * m)) + zero
point, with m = scale x * scale w / scale y in float32, and the bias in integers (ONNX leaves the rounding of its
QLinearConv open; this is onnxruntime's, MLAS `MlasRequantizeOutput`). What is no product runs in float and is rounded
as written.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
import torch

from bitwright.errors import InputError
from bitwright.exchange.blocks import plan_of_blocks
from bitwright.formats import (
    Granularity,
    Integer,
    PerChannel,
    PerGroup,
    PerPosition,
    PerTensor,
    PerToken,
    Quantized,
    SlicedUnsigned,
)
from bitwright.methods.integer.method import IntegerProducts
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, Plan, SitePlan
from bitwright.methods.products import integer_product
from bitwright.methods.protocol import Provides
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.gguf_file import BLOCKS, GgufFile
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.onnx.node import short
from bitwright.networks.onnx.quantization.grids import QUANTIZED, SWITCH, Grid, QuantizedFile, Rows, SiteGrids
from bitwright.networks.sites import Site
from bitwright.networks.trace import example_batch
from bitwright.networks.view import GemmView
from bitwright.words import counted

METHOD_NAME = "file"
MOST_DROPPED = 2
"""Bits that sliced codes may be without (`bitwright.formats.SlicedUnsigned`)."""


class FileOptions(pydantic.BaseModel):
    """There are none: the file decides."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class FileMethod(IntegerProducts):
    """A file's own quantization."""

    summary = "a quantized file's own scales, zero points and widths (ONNX, GGUF), executed as they are"
    provides: frozenset[Provides] = frozenset({Provides.FINISH, Provides.FIXED})
    options: Any = FileOptions
    recipes: Mapping[str, Mapping[str, Any]] = {}

    def calibrate(self, network: Network, samples: Sequence[Batch], options: FileOptions, plan: Plan) -> Plan:
        """The file's plan; samples are not looked at."""
        del samples, options
        blocks = network.tools.get(BLOCKS)
        return plan_of_blocks(network, blocks, plan) if isinstance(blocks, GgufFile) else plan_of(network, plan)

    def gemm(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Exact integer sums, rounded to the output's codes where the plan has some."""
        if plan.y is None:
            return super().gemm(view, x, w, plan)
        return _requantized(view, integer_product(view, x, w), x, w, plan.y)

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The same from float32 sums."""
        if plan.y is None:
            return super().fast(view, x, w, plan)
        return _requantized(view, view.product(x.centred(), w.centred()), x, w, plan.y)

    def step(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """One code of the output where it has codes, else what 1 in the accumulator is worth."""
        if plan.y is None or plan.y.scale is None:
            return super().step(view, x, w, plan)
        return plan.y.scale.to(view.x.device)


def _requantized(view: GemmView, sums: torch.Tensor, x: Quantized, w: Quantized, y: OperandPlan) -> torch.Tensor:
    """The reals of the output's codes, from sums of products."""
    assert y.scale is not None
    step, of_y, fmt = x.scale * view.columns(w.scale), y.scale.to(sums.device), y.integer
    if view.bias is not None:
        bias = (view.bias.double() / step.double()).round()
        sums = sums.to(torch.float64) + bias
    scaled = sums.to(torch.float32) * (step / of_y)
    codes = scaled.clamp(fmt.low - y.zero_point, fmt.high - y.zero_point).round()
    return codes * of_y


def plan_of(network: Network, plan: Plan | None = None) -> Plan:
    """The plan that a quantized file states for its network.

    Raises
    ------
    InputError
        A network that is no quantized file's.
    """
    file = network.tools.get(QUANTIZED)
    if not isinstance(file, QuantizedFile) or network.module is None:
        raise InputError(
            f"{network.name} is no quantized ONNX file and no GGUF file, so method {METHOD_NAME} has nothing to read; "
            "name another method, such as int8"
        )
    sites: dict[str, SitePlan] = {}
    of_sites: dict[str, SiteGrids] = {}
    reached: set[str] = set()
    mode: SiteMode

    def handle(site: Site, view: GemmView) -> torch.Tensor:
        key = mode.path if mode.path in file.sites else site.name
        grids = file.sites.get(key)
        reached.add(key)
        of_sites.update({} if grids is None else {site.name: grids})
        sites[site.name] = FLOAT_SITE if grids is None else site_plan(view, grids)
        return view.float_result()

    mode = SiteMode(network.module, handle)
    with torch.no_grad(), mode:
        network.forward(example_batch(network))
    floats = [name for name, each in sites.items() if not each.quantized]
    notes = (f"{len(floats)} of {len(sites)} products are float in the file, or of a form that is not read",)
    beyond = [path for path in file.sites if path not in reached]
    without = (
        f"{counted(len(beyond), 'product')} of the file without a plan: the example input does not reach them, as in a "
        f"branch that is not taken (first {short(beyond[0])})"
        if beyond
        else ""
    )
    left = any(not sites[name].quantized and Rows in map(type, (each.x, each.w)) for name, each in of_sites.items())
    written = 2.0 if left or file.loose_rows else 1.0
    weights = {f"{SWITCH}.as_written": torch.tensor(written)} if file.tensors else {}
    return dataclasses.replace(
        plan or Plan(method=METHOD_NAME, options={METHOD_NAME: {}}),
        fingerprint=fingerprint(network),
        sites=sites,
        weights=weights,
        notes=(
            *(plan.notes if plan else ()),
            *network.notes,
            *file.notes,
            *(notes if floats else ()),
            *([without] if without else []),
        ),
    )


def site_plan(view: GemmView, grids: SiteGrids) -> SitePlan:
    """A product's plan by its grids; float where these are of a form that a plan does not have."""
    first, second = (grids.w, grids.x) if grids.weight_first else (grids.x, grids.w)
    x = _rows_plan(view, view.x, first) if isinstance(first, Rows) else None if first is None else _x_plan(first)
    w = (
        _rows_plan(view, view.w, second)
        if isinstance(second, Rows)
        else None
        if second is None
        else _w_plan(view, second)
    )
    if x is None or w is None:
        return FLOAT_SITE
    y = grids.y
    at_once = y is not None and grids.whole_bias and view.alpha == 1 and not isinstance(w.granularity, PerGroup)
    at_once = at_once and y is not None and y.per_tensor and y.bits <= 8
    return SitePlan(x=x, w=w, y=_x_plan(y) if at_once and y is not None else None)


def _x_plan(grid: Grid) -> OperandPlan | None:
    """An activation's: one scale, or those of its rows by position or by product, as the file has them."""
    zero = int(grid.zero.reshape(-1)[0])
    if not 2 <= grid.bits <= 16 or bool((grid.zero != zero).any()):
        return None
    fmt: Integer = Integer(bits=grid.bits, signed=grid.signed, narrow=grid.narrow and grid.signed)
    if grid.dropped:
        if grid.signed or grid.bits != 8 or not 1 <= grid.dropped <= MOST_DROPPED:
            return None
        fmt = SlicedUnsigned(split=4 + grid.dropped)
    laid: tuple[Granularity, torch.Tensor] | None = PerTensor(), grid.scale.reshape(-1)[0].clone()
    if not grid.per_tensor:
        laid = _by_row(grid)
    return None if laid is None else OperandPlan(format=fmt, granularity=laid[0], scale=laid[1], zero_point=zero)


def _rows_plan(view: GemmView, operand: torch.Tensor, rows: Rows) -> OperandPlan | None:
    """An operand's that is scaled by its rows as the network runs, by whole ones or by groups of the reduction."""
    fmt = Integer(bits=rows.bits, signed=rows.signed, narrow=rows.signed)
    if view.spatial:
        whole = rows.images and len(rows.sizes) == view.spatial + 2
        return OperandPlan(format=fmt, granularity=PerToken()) if whole else None
    k = operand.shape[-1]
    if rows.axis != len(rows.sizes) - 1 or rows.sizes[-1] != k:
        return None
    return OperandPlan(format=fmt, granularity=PerToken() if rows.length == k else PerGroup(rows.length))


def _by_row(grid: Grid) -> tuple[Granularity, torch.Tensor] | None:
    """Scales [.., rows, 1] that are the same in every sequence but for its first rows, or [.., 1, 1] of products."""
    if grid.axis is not None or grid.scale.shape[-1] != 1:
        return None
    rows = grid.scale.shape[-2]
    if rows == 1:
        return PerChannel(), without_equal(grid.scale).clone()
    each = grid.scale.reshape(-1, rows)
    first = int((each[0] != each[0, -1]).sum())
    if not first:
        return None
    expected = torch.where(torch.arange(rows) < first, each[0, 0], each[0, -1]).expand(each.shape)
    return (PerPosition(first), torch.stack((each[0, 0], each[0, -1]))) if torch.equal(each, expected) else None


def without_equal(scale: torch.Tensor) -> torch.Tensor:
    """Scales with one element along those axes along which all are the same."""
    for axis in range(scale.dim()):
        first = scale.narrow(axis, 0, 1)
        if torch.equal(scale, first.expand(scale.shape)):
            scale = first
    return scale


def _w_plan(view: GemmView, grid: Grid) -> OperandPlan | None:
    """A weight's, in signed codes: unsigned ones and their zero point less half the range.

    Zero points that differ between channels leave one bit more, of codes less their zero points.
    """
    if not 2 <= grid.bits <= 16 or grid.dropped:
        return None
    half = 0 if grid.signed else 2 ** (grid.bits - 1)
    zeros = grid.zero.reshape(-1) - half
    zero, bits = int(zeros[0]), grid.bits
    if bool((zeros != zero).any()):
        zero, bits = 0, grid.bits + 1
    if bits > 16:
        return None
    fmt = Integer(bits=bits, signed=True, narrow=grid.narrow and grid.signed)
    laid = _laid_out(view, grid)
    if laid is None:
        return None
    granularity, scale = laid
    return OperandPlan(format=fmt, granularity=granularity, scale=scale.clone(), zero_point=zero)


def _in_groups(scale: torch.Tensor) -> tuple[Granularity, torch.Tensor]:
    """Scales [N, K] of all elements, which are the same in groups of the reduction, as those of the groups."""
    changes = [0, *((scale[:, 1:] != scale[:, :-1]).any(0).nonzero().flatten() + 1).tolist()]
    size = math.gcd(*changes) or scale.shape[1]
    return PerGroup(size), scale[:, ::size].contiguous()


def _laid_out(view: GemmView, grid: Grid) -> tuple[Granularity, torch.Tensor] | None:
    """Scales as the view's w has them; None where they are not of output channels, or of blocks of the reduction."""
    if grid.per_tensor:
        return PerTensor(), grid.scale.reshape(())
    shape = view.w.shape
    if grid.block:
        plain = not view.spatial and not view.lead and grid.axis == 1
        fits = plain and tuple(grid.scale.shape) == (shape[0], -(-shape[-1] // grid.block))
        return (PerGroup(grid.block), grid.scale.contiguous()) if fits else None
    if grid.axis is None:
        scale = grid.scale if view.weight is not None else without_equal(grid.scale)
        if view.weight is not None and not view.lead and not view.spatial and scale.shape == shape:
            return _in_groups(scale)
        fits = scale.dim() == len(shape) and scale.shape[-1] == 1 and (view.weight is not None or scale.shape[-2] == 1)
        fits = fits and all(one in (1, whole) for one, whole in zip(scale.shape, shape, strict=False))
        return (PerChannel(), scale.contiguous()) if fits else None
    if view.weight is None:
        return _of_products(view, grid)
    if grid.axis != 0 or grid.scale.numel() != view.groups * view.n:
        return None
    lead = shape[: view.lead + 1]
    return PerChannel(), grid.scale.reshape(*lead, *[1] * (len(shape) - len(lead)))


def _of_products(view: GemmView, grid: Grid) -> tuple[Granularity, torch.Tensor] | None:
    """Scales of independent products of two activations, such as heads, along an axis that counts these.

    A product spreads an operand of fewer axes over its first ones, and a grid counts axes of the operand. Where both
    readings fit, as of two heads in two sequences, it is float.
    """
    if grid.axis is None:
        return None
    shape, strides = view.w.shape, view.w.stride()
    places = [
        axis
        for axis in range(grid.axis, view.lead)
        if grid.scale.numel() == shape[axis]
        and all(shape[at] == 1 or not strides[at] for at in range(axis - grid.axis))
    ]
    if len(places) != 1:
        return None
    return PerChannel(), grid.scale.reshape(-1, *[1] * (len(shape) - places[0] - 1))


METHOD = FileMethod()
