"""The method `drift` as the registry knows it: it decides at run time which sub-tensors become narrow.

Execution multiplies the narrow codes where they lie on the wide grid, u * 2**shift: one integer product whose sums are
those of the machine's four products of classes, scattered back and shifted (`bitwright.methods.drift.reference` forms
these, and tests hold both equal).
"""

import dataclasses
import math
from collections.abc import Sequence

from bitwright.formats import Quantized
from bitwright.methods.drift.conversion import (
    Conversion,
    Narrowing,
    narrow_columns,
    narrow_filters,
    narrow_images,
    narrow_rows,
)
from bitwright.methods.drift.options import RECIPES, DriftOptions
from bitwright.methods.plan import Part, Plan, Rule, SitePlan
from bitwright.methods.products import row_sums
from bitwright.networks.calls import Call
from bitwright.networks.network import Batch, Network

NAME = "drift"


class DriftMethod:
    """8 bits that drop to 4 where a sub-tensor's distribution allows it."""

    summary = "8-bit sub-tensors that drop to 4 bits at run time by their distribution (Drift, reconstructed); a+drift"
    fills = frozenset({Part.PRECISION})
    options = DriftOptions
    recipes = RECIPES
    on = "int8"

    def calibrate(self, network: Network, samples: Sequence[Batch], options: DriftOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.drift.calibrate`."""
        from bitwright.methods.drift.calibrate import calibrate

        return calibrate(network, samples, options, plan)

    def narrow_x(self, call: Call, x: Quantized, plan: SitePlan) -> Quantized:
        """x with narrow rows or regions of pixels, by blocks."""
        how = narrowing(plan.precision, "x")
        return narrow_images(x, how, call.groups) if call.layout == "conv2d" else narrow_rows(x, how)

    def narrow_w(self, call: Call, w: Quantized, plan: SitePlan) -> Quantized:
        """w with narrow columns, by blocks; those of parameters are decided offline."""
        how = narrowing(plan.precision, "w")
        if call.layout == "batched":
            return narrow_columns(w, how)
        narrow = narrow_rows(w, how) if call.layout == "linear" else narrow_filters(w, how)
        if w.sums is None:
            return narrow
        return dataclasses.replace(narrow, sums=row_sums(dataclasses.replace(narrow, sums=None)))


def rule(options: DriftOptions, x_delta: float, w_delta: float) -> Rule:
    """The rule of a site; an infinite delta, which JSON does not have, is none."""
    deltas = {"x_delta": x_delta, "w_delta": w_delta}
    kept = {key: value if math.isfinite(value) else None for key, value in deltas.items()}
    return Rule(name=NAME, options={**kept, **_sub_tensors(options)})


def stated_rule(options: DriftOptions) -> Rule:
    """The rule of a site without numbers: shares as stated."""
    shares = {"x_share": options.x_share, "w_share": options.w_share}
    return Rule(name=NAME, options={**shares, **_sub_tensors(options)})


def _sub_tensors(options: DriftOptions) -> dict[str, object]:
    return {"block": options.block, "region": options.region, "conversion": options.conversion.value}


def narrowing(made: Rule, operand: str) -> Narrowing:
    """How `x` or `w` becomes narrow under a rule."""
    delta = made.options[f"{operand}_delta"]
    return Narrowing(
        delta=math.inf if delta is None else float(delta),
        block=int(made.options["block"]),
        region=int(made.options["region"]),
        conversion=Conversion(made.options["conversion"]),
    )


METHOD = DriftMethod()
