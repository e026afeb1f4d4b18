"""Judging candidates: the quantized network on the calibration samples, from the first block that changed.

Weights and activations are rounded to their formats and multiplied in float32, without the converter's error: executed
exactly, plans of EfficientNet-Lite0 scored the same. Weights are rounded as calibration does it, by second-order error
where the method's option says so, from moments of samples that do not judge (`Refiner.rounder`); biases are corrected
on each batch of samples. Rounded weights are kept until they take `KEPT_NETWORKS` times the network's. A judge
remembers the blocks' outputs of its last run, so that a candidate that shares a prefix with the one before begins where
they part; the result is the same bit by bit. Memory: one run's blocks' outputs, at most `PREFIX_BYTES`; without room
for them every run begins at the beginning.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bitwright.methods.bias import Means, bias_names, corrected, float_means
from bitwright.methods.lpq.fields import Fields
from bitwright.methods.lpq.search.objective import judge, pooled
from bitwright.methods.lpq.search.settings import SearchSettings
from bitwright.methods.lpq.sites import Sites
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.refine.refine import by_second_order
from bitwright.methods.refine.rounder import Rounder
from bitwright.methods.tabled.method import rounded
from bitwright.networks.blocks import Chain
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView

PREFIX_BYTES = 2**31
KEPT_NETWORKS = 2
"""So many candidates' weights are kept: the best one's, and those of the layers that change (our choice)."""

Candidate = Mapping[str, Fields]


class Judge:
    """Judges candidates of one network; not shared between processes.

    Parameters
    ----------
    chain : Chain
        The network with its blocks, batch norm folded.
    sites : Sites
        From fields to plans.
    batches : sequence of batches
        Calibration samples.
    settings : SearchSettings
        Objective and temperature.
    rounder : Rounder or None
        Rounds weights by second-order error; None: all become the nearest codes.
    """

    def __init__(
        self,
        chain: Chain,
        sites: Sites,
        batches: Sequence[Batch],
        settings: SearchSettings,
        rounder: Rounder | None = None,
    ) -> None:
        self.chain, self.sites, self.batches, self.settings = chain, sites, batches, settings
        self.rounder = rounder
        self.blocks_run = 0
        self._last: dict[str, Fields] = {}
        self._plans: dict[tuple[str, Fields | None, int], tuple[SitePlan, torch.Tensor | None]] = {}
        self._room = KEPT_NETWORKS * sum(4 * sites.elements(name) for name in sites.weighted)
        self._taken = 0
        self._kept: list[dict[int, Any]] = [{} for _ in batches]
        self._parts: list[dict[int, torch.Tensor]] = [{} for _ in batches]
        biased = bias_names(chain.network, batches) if sites.options.bias_correction else {}
        self._means = [float_means(chain.network, batch, biased) for batch in batches]
        with torch.no_grad():
            runs = [self._float(batch) for batch in batches]
        self._float_outputs = torch.cat([output for output, _ in runs])
        self._float_parts = [torch.cat(parts) for parts in zip(*(parts for _, parts in runs), strict=True)]

    def loss(self, candidate: Candidate, *, whole: bool = False) -> float:
        """The loss of a candidate; `whole` runs from the beginning whatever came before."""
        start = 0 if whole or not self._last else self._first_change(candidate)
        outputs = []
        with torch.no_grad():
            for batch, means, kept, parts in zip(self.batches, self._means, self._kept, self._parts, strict=True):
                outputs.append(self._run(batch, means, candidate, start, kept, parts))
        self.blocks_run += self.chain.count - start
        self._last = dict(candidate)
        self._forget()
        joined = [torch.cat([parts[i] for parts in self._parts]) for i in range(len(self.chain.blocks))]
        return judge(
            self.settings.objective,
            torch.cat(outputs),
            joined,
            self._float_outputs,
            self._float_parts,
            temperature=self.settings.temperature,
        )

    def _first_change(self, candidate: Candidate) -> int:
        changed = [self.chain.index[name] for name, fields in candidate.items() if self._last[name] != fields]
        return min(changed, default=self.chain.count - 1)

    def _run(
        self,
        batch: Batch,
        means: Means,
        candidate: Candidate,
        start: int,
        kept: dict[int, Any],
        parts: dict[int, torch.Tensor],
    ) -> torch.Tensor:
        def keep(i: int, output: Any) -> None:
            kept[i] = output
            parts[i] = pooled(output[0] if isinstance(output, tuple) else output)

        def handle(site: Site, view: GemmView) -> torch.Tensor:
            return self._product(site, view, candidate, means)

        assert self.chain.network.module is not None
        with SiteMode(self.chain.network.module, handle):
            return self.chain.run(batch, start=start, outputs=kept, keep=keep)

    def _product(self, site: Site, view: GemmView, candidate: Candidate, means: Means) -> torch.Tensor:
        plan, weight = self._planned(site.name, view, candidate.get(site.name))
        if plan.x is None or plan.w is None:
            return view.float_result()
        w = rounded(view.w, plan.w) if weight is None else weight
        y = view.finished(view.product(rounded(view.x, plan.x), w))
        return corrected(view, y, means[site.name]) if site.name in means else y

    def _planned(self, name: str, view: GemmView, fields: Fields | None) -> tuple[SitePlan, torch.Tensor | None]:
        """The plan of a site and its rounded weight, made once for its fields while there is room."""
        part = int(view.w.storage_offset()) if fields is not None else 0  # a site may read parts of its parameter
        key = (name, fields, part)
        held = self._plans.pop(key, None)
        if held is None:
            plan = self.sites.site_plan(name, fields)
            weight = self._rounded(name, view, plan.w) if fields is not None and plan.w is not None else None
            held = plan, weight
            self._taken += _bytes(weight)
        self._plans[key] = held  # the last that is dropped
        while self._taken > self._room and len(self._plans) > 1:
            _, dropped = self._plans.pop(next(iter(self._plans)))
            self._taken -= _bytes(dropped)
        return held

    def _rounded(self, name: str, view: GemmView, w: OperandPlan) -> torch.Tensor:
        """A weight as the plan will have it."""
        chosen = None
        if self.rounder is not None and by_second_order(w, self.sites.options.at(name).w_rounding):
            chosen = self.rounder.weight(name, w)
        return rounded(view.w if chosen is None else chosen, w)

    def _forget(self) -> None:
        """Give up prefixes where they take too much room."""
        if sum(_bytes(output) for kept in self._kept for output in kept.values()) > PREFIX_BYTES:
            self._kept = [{} for _ in self.batches]
            self._last = {}

    def _float(self, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        parts: dict[int, torch.Tensor] = {}

        def keep(i: int, output: Any) -> None:
            parts[i] = pooled(output[0] if isinstance(output, tuple) else output)

        assert self.chain.network.module is not None
        with SiteMode(self.chain.network.module, lambda _, view: view.float_result()):
            output = self.chain.run(batch, keep=keep)
        return output, [parts[i] for i in range(len(self.chain.blocks))]


def _bytes(output: Any) -> int:
    tensors = output if isinstance(output, tuple | list) else [output]
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))
