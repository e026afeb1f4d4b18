"""The plan that a quantized ONNX file states for its network: its grids as operands of the sites that read them."""

import dataclasses
import math

import torch

from bitwright.errors import InputError
from bitwright.formats import (
    Granularity,
    Integer,
    PerChannel,
    PerGroup,
    PerPosition,
    PerTensor,
    PerToken,
    SlicedUnsigned,
)
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, Plan, SitePlan
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Network
from bitwright.networks.onnx.node import short
from bitwright.networks.onnx.quantization.grids import QUANTIZED, SWITCH, Grid, QuantizedFile, Rows, SiteGrids
from bitwright.networks.sites import Site
from bitwright.networks.trace import example_batch
from bitwright.networks.view import GemmView
from bitwright.words import counted

METHOD_NAME = "file"
MOST_DROPPED = 2
"""Bits that sliced codes may be without (`bitwright.formats.SlicedUnsigned`)."""


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
