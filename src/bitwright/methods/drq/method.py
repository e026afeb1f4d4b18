"""The method `drq` as the registry knows it: sensitive regions of x at 8 by 8 bits, the others at 4 by 4.

Every x that is narrow multiplies a narrow w, so that a sum has two products: of the sensitive part of x with w, and of
the rest with w without its low-order bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.errors import InputError
from bitwright.formats import Quantized
from bitwright.later import torch
from bitwright.methods.drq.options import DrqOptions
from bitwright.methods.drq.regions import dropped, narrow_elements, narrow_images, narrow_rows
from bitwright.methods.drq.rule import Drq
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.methods.products import integer_product
from bitwright.methods.protocol import Provides
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView


class DrqMethod:
    """8 bits that drop to 4, x and w together, where a region of x is small."""

    summary = "regions of small activations at 4 by 4 bits, the others at 8 by 8 (DRQ); a+drq"
    fills = frozenset({Part.PRECISION})
    provides: frozenset[Provides] = frozenset({Provides.SUMS})
    options = DrqOptions
    recipes: Mapping[str, Mapping[str, Any]] = {}
    on = "int8"

    def calibrate(self, network: Network, samples: Sequence[Batch], options: DrqOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.drq.calibrate`."""
        from bitwright.methods.drq.calibrate import calibrate

        return calibrate(network, samples, options, plan)

    def narrow_x(self, view: GemmView, x: Quantized, plan: SitePlan) -> Quantized:
        """x with narrow regions."""
        rule = plan.precision
        assert isinstance(rule, Drq), f"drq did not make the rule {rule.name}"
        if x.format.bits > 8:
            raise InputError(f"drq drops 4 of at most 8 bits, and x is {x.format.name}; use codes of at most 8 bits")
        if view.spatial:
            return narrow_images(x, rule.threshold, rule.region, spatial=view.spatial)
        return narrow_rows(x, rule.threshold, rule.block)

    def narrow_w(self, view: GemmView, w: Quantized, plan: SitePlan) -> Quantized:  # noqa: ARG002
        """w as it is: which of its codes are narrow depends on the x that they meet."""
        return w

    def sums(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Exact sums of both products."""
        (sensitive, wide), (rest, narrow) = _products(x, w)
        return integer_product(view, sensitive, wide) + integer_product(view, rest, narrow)

    def fast_sums(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """The same by float32 products."""
        (sensitive, wide), (rest, narrow) = _products(x, w)
        first = view.product(sensitive.centred(), wide.centred())
        return first + view.product(rest.centred(), narrow.centred())


def _products(x: Quantized, w: Quantized) -> tuple[tuple[Quantized, Quantized], tuple[Quantized, Quantized]]:
    """What is multiplied with what: sensitive x by wide w, the rest of x by narrow w."""
    narrow = narrow_elements(x)
    nothing = torch.tensor(x.zero_point, dtype=x.codes.dtype, device=x.codes.device)
    sensitive = dataclasses.replace(x, codes=torch.where(narrow, nothing, x.codes))
    rest = dataclasses.replace(x, codes=torch.where(narrow, x.codes, nothing))
    return (sensitive, w), (rest, dataclasses.replace(w, codes=dropped(w), sums=None))


METHOD = DrqMethod()
