"""The method `file`: a quantized ONNX file's own scales, zero points and widths, per tensor, channel or block.

Nothing is calibrated. Products are exact sums of the file's codes; where nothing but a QuantizeLinear reads a product,
its sums are rounded at once as integer kernels do it: code = saturate(round half to even((sums + bias) * m)) + zero
point, with m = scale x * scale w / scale y in float32, and the bias in integers (ONNX leaves the rounding of its
QLinearConv open; this is onnxruntime's, MLAS `MlasRequantizeOutput`). What is no product runs in float and is rounded
as written.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
import torch

from bitwright.errors import InputError
from bitwright.formats import Granularity, Integer, PerChannel, PerGroup, PerTensor, Quantized
from bitwright.methods.integer.method import IntegerProducts
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, Plan, SitePlan
from bitwright.methods.products import integer_product
from bitwright.methods.protocol import Provides
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.onnx.quantization.grids import QUANTIZED, SWITCH, Grid, QuantizedFile, SiteGrids
from bitwright.networks.sites import Site
from bitwright.networks.trace import example_batch
from bitwright.networks.view import GemmView

METHOD_NAME = "file"


class FileOptions(pydantic.BaseModel):
    """There are none: the file decides."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class FileMethod(IntegerProducts):
    """A file's own quantization."""

    summary = "a quantized ONNX file's own scales, zero points and widths, executed as they are"
    provides: frozenset[Provides] = frozenset({Provides.FINISH, Provides.FIXED})
    options: Any = FileOptions
    recipes: Mapping[str, Mapping[str, Any]] = {}

    def calibrate(self, network: Network, samples: Sequence[Batch], options: FileOptions, plan: Plan) -> Plan:
        """The file's plan; samples are not looked at."""
        del samples, options
        return plan_of(network, plan)

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
            f"{network.name} is no quantized ONNX file, so method {METHOD_NAME} has nothing to read; name another "
            "method, such as int8"
        )
    sites: dict[str, SitePlan] = {}
    mode: SiteMode

    def handle(site: Site, view: GemmView) -> torch.Tensor:
        grids = file.sites.get(mode.path)
        sites[site.name] = FLOAT_SITE if grids is None else site_plan(view, grids)
        return view.float_result()

    mode = SiteMode(network.module, handle)
    with torch.no_grad(), mode:
        network.forward(example_batch(network))
    floats = [name for name, each in sites.items() if not each.quantized]
    notes = (f"{len(floats)} of {len(sites)} products are float in the file, or of a form that is not read",)
    weights = {f"{SWITCH}.as_written": torch.ones(())} if file.tensors else {}
    return dataclasses.replace(
        plan or Plan(method=METHOD_NAME, options={METHOD_NAME: {}}),
        fingerprint=fingerprint(network),
        sites=sites,
        weights=weights,
        notes=(*(plan.notes if plan else ()), *network.notes, *file.notes, *(notes if floats else ())),
    )


def site_plan(view: GemmView, grids: SiteGrids) -> SitePlan:
    """A product's plan by its grids; float where these are of a form that a plan does not have."""
    first, second = (grids.w, grids.x) if grids.weight_first else (grids.x, grids.w)
    x = None if first is None else _x_plan(first)
    w = None if second is None else _w_plan(view, second)
    if x is None or w is None:
        return FLOAT_SITE
    y = grids.y
    at_once = y is not None and grids.whole_bias and view.alpha == 1 and not isinstance(w.granularity, PerGroup)
    return SitePlan(x=x, w=w, y=_x_plan(y) if at_once and y is not None and y.bits <= 8 else None)


def _x_plan(grid: Grid) -> OperandPlan | None:
    """An activation's: one scale, as the file has it."""
    if not grid.per_tensor or not 2 <= grid.bits <= 16:
        return None
    fmt = Integer(bits=grid.bits, signed=grid.signed, narrow=grid.narrow and grid.signed)
    return OperandPlan(
        format=fmt, granularity=PerTensor(), scale=grid.scale.reshape(()).clone(), zero_point=int(grid.zero.reshape(()))
    )


def _w_plan(view: GemmView, grid: Grid) -> OperandPlan | None:
    """A weight's, in signed codes: unsigned ones and their zero point less half the range.

    Zero points that differ between channels leave one bit more, of codes less their zero points.
    """
    if not 2 <= grid.bits <= 15:
        return None
    half = 0 if grid.signed else 2 ** (grid.bits - 1)
    zeros = grid.zero.reshape(-1) - half
    zero, bits = int(zeros[0]), grid.bits
    if bool((zeros != zero).any()):
        zero, bits = 0, grid.bits + 1
    fmt = Integer(bits=bits, signed=True, narrow=grid.narrow and grid.signed)
    laid = _laid_out(view, grid)
    if laid is None:
        return None
    granularity, scale = laid
    return OperandPlan(format=fmt, granularity=granularity, scale=scale.clone(), zero_point=zero)


def _laid_out(view: GemmView, grid: Grid) -> tuple[Granularity, torch.Tensor] | None:
    """Scales as the view's w has them; None where they are not of output channels, or of blocks of the reduction."""
    if grid.per_tensor:
        return PerTensor(), grid.scale.reshape(())
    shape = view.w.shape
    if grid.block:
        plain = not view.spatial and not view.lead and grid.axis == 1 and shape[-1] % grid.block == 0
        fits = plain and tuple(grid.scale.shape) == (shape[0], shape[-1] // grid.block)
        return (PerGroup(grid.block), grid.scale.contiguous()) if fits else None
    if grid.axis != 0 or grid.scale.numel() != view.groups * view.n or view.weight is None:
        return None
    lead = shape[: view.lead + 1]
    return PerChannel(), grid.scale.reshape(*lead, *[1] * (len(shape) - len(lead)))


METHOD = FileMethod()
