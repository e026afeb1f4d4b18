"""What the operators of ONNX and QONNX can say of a site's plan; everything else is refused by name.

QuantizeLinear (onnx.ai, opset 21) is saturate(round half even(x / scale) + zero point). QONNX's `Quant` (the qonnx
repository's documentation of it) is round(clip(x / scale + zero point)), with a choice of how it rounds. Neither has a
word for what happens inside an accumulator, nor for precision that is chosen as the network runs.
"""

from collections.abc import Iterator, Mapping

from bitwright.errors import InputError
from bitwright.formats import Integer, PerTokenRange, Rounding, Saturation
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.rules import Exact, Static

QDQ, QONNX = "onnx-qdq", "qonnx"
ROUNDING_MODES = {Rounding.HALF_EVEN: "ROUND", Rounding.FLOOR: "FLOOR"}
"""QONNX's names of roundings that a zero point added before them does not change."""
CENTRED_MODES = {Rounding.HALF_AWAY: "HALF_UP", Rounding.TOWARD_ZERO: "DOWN"}
"""And of those that round about zero, so that the zero point must be 0; QONNX's HALF_UP is away from zero."""


def rounding_mode(fmt: Integer, zero_point: int) -> str | None:
    """QONNX's word for how `fmt` rounds; None where it has none."""
    return ROUNDING_MODES.get(fmt.rounding) or (CENTRED_MODES.get(fmt.rounding) if not zero_point else None)


def check_sayable(sites: Mapping[str, SitePlan], form: str) -> None:
    """Refuse sites of a plan of which `form` cannot say something, naming what, where, and what would do instead.

    Raises
    ------
    InputError
        With the first site of every reason, and how many more have it.
    """
    where: dict[str, list[str]] = {}
    for name, site in sites.items():
        for reason in dict.fromkeys(_unsaid(site, form)) if site.quantized else ():
            where.setdefault(reason, []).append(name)
    if where:
        reasons = [
            f"{reason} (at {len(names)} of {len(sites)} sites, first {names[0]})" for reason, names in where.items()
        ]
        raise InputError(
            f"{form} cannot say {'; nor '.join(reasons)}; use --format vectors or safetensors for this plan, or a "
            "method of integers with exact sums, such as int8, int8-token, w4a8 or aqs"
        )


def _unsaid(site: SitePlan, form: str) -> Iterator[str]:
    assert site.x is not None
    assert site.w is not None
    if site.w.minimum is not None:
        yield "minima of groups of weights"
    if site.w.scale is not None and bool((site.w.scale < 0).any()):
        yield "scales below 0, which blocks of a GGUF file have"
    for operand in (site.x, site.w):
        if not isinstance(operand.format, Integer):
            yield f"codes of {operand.words}, which are no integers"
    if not isinstance(site.precision, Static):
        yield f"the run-time precision of {site.precision.name}"
    if site.y is not None:
        yield f"sums rounded at once to codes of {site.y.format.name}, as the file that the plan is of says already"
    if not isinstance(site.accumulation, Exact):
        yield f"partial sums stored by {site.accumulation.name}"
    for operand in (site.x, site.w):
        if isinstance(operand.format, Integer):
            yield from _unsaid_of(operand, operand.format, form)


def _unsaid_of(operand: OperandPlan, fmt: Integer, form: str) -> Iterator[str]:
    if isinstance(operand.granularity, PerTokenRange):
        yield "zero points that rows of x have of their own (use x_granularity=token)"
    if fmt.saturation is not Saturation.CLIP:
        yield f"{fmt.name} that {fmt.saturation}s around"
    if form == QDQ and fmt.rounding is not Rounding.HALF_EVEN:
        yield f"codes rounded by {fmt.rounding}"
    if form == QONNX and rounding_mode(fmt, operand.zero_point) is None:
        yield f"codes rounded by {fmt.rounding}"
    if form == QONNX and fmt.dropped_bits:
        yield f"{fmt.name} without its {fmt.dropped_bits} lowest bits (onnx-qdq can)"
