"""The method `float`: nothing is quantized, every site stays float32. The baseline of every comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import pydantic

from bitwright.formats import Quantized
from bitwright.later import torch
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.methods.protocol import Provides
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView


class FloatOptions(pydantic.BaseModel):
    """There are none."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class FloatMethod:
    """Leaves the network as it is."""

    summary = "float32, nothing quantized: the baseline"
    fills = frozenset({Part.OPERANDS})
    provides: frozenset[Provides] = frozenset()
    on = ""
    options = FloatOptions
    recipes: Mapping[str, Mapping[str, Any]] = {}

    def calibrate(self, network: Network, samples: Sequence[Batch], options: FloatOptions, plan: Plan) -> Plan:  # noqa: ARG002
        """The plan itself: no site is quantized."""
        return plan

    def encode_x(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Never asked: float operands have no codes."""
        _no_codes(view, plan)

    def encode_w(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Never asked."""
        _no_codes(view, plan)

    def gemm(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Never asked."""
        _no_codes(view, plan)

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Never asked."""
        _no_codes(view, plan)

    def step(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Never asked."""
        _no_codes(view, plan)


def _no_codes(view: GemmView, plan: SitePlan) -> NoReturn:
    raise AssertionError(f"float32 operands have no codes: {view.op}, {plan}")


METHOD = FloatMethod()
