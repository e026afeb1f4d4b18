"""Execution: a network with a plan, site by site, exactly or fast, while accelerators listen.

Both ways encode the same codes; `exact` multiplies them as the machine would, otherwise float32 products emulate it.
What is not a site runs in float. An audit compares both products on the same codes, in steps of the accumulator.
Synthetic operands are encoded and heard, and nothing is multiplied.
"""

import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.formats import Quantized
from bitwright.methods.execution import Execution
from bitwright.methods.fit import check_w, check_x
from bitwright.methods.plan import Plan, SitePlan, same_plan
from bitwright.methods.protocol import Composition, recompose
from bitwright.methods.rules import Exact
from bitwright.networks.deferred import Deferred, filled
from bitwright.networks.fingerprint import difference, fingerprint
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.rotation import apply_rotations
from bitwright.networks.sites import Site
from bitwright.networks.smoothing import apply_smoothing, untie
from bitwright.networks.synthetic import SyntheticSite, synthetic_sites
from bitwright.networks.trace import Trace, example_batch, recording_batch, trace
from bitwright.networks.view import GemmView

Listener = Callable[[Execution], None]


def composition_of(plan: Plan) -> Composition:
    """The methods that made `plan`, with the options it keeps.

    Raises
    ------
    InputError
        If one of them is unknown here, or does not take its options; or they did not make the plan's rules.
    """
    methods = recompose(plan.method, plan.options)
    methods.check(plan)
    return methods


def prepare(network: Network, plan: Plan) -> Network:
    """A copy of `network` with the changes that `plan` asks for: folding, rotation, smoothing, other weights.

    Raises
    ------
    InputError
        If chosen values are of other parameters than the network has.
    """
    if not (plan.fold_batch_norm or plan.smoothing or plan.rotations or plan.weights):
        return network
    changed = fold_batch_norm(network) if plan.fold_batch_norm else network
    if (plan.smoothing or plan.rotations or plan.weights) and changed.module is network.module:
        changed = network.copy()
    if plan.rotations:
        apply_rotations(changed, plan.rotations, recording_batch(changed))
    if plan.smoothing:
        apply_smoothing(changed, plan.smoothing, recording_batch(changed))
    if plan.weights:
        _load(changed, plan.weights)
    return changed


@torch.no_grad()
def _load(network: Network, weights: Mapping[str, torch.Tensor]) -> None:
    """Chosen values into the module, in place; a head that shared its weight with an embedding has its own."""
    assert network.module is not None
    untie(network.module)
    parameters = dict(network.module.named_parameters())
    for name, values in weights.items():
        if name not in parameters or parameters[name].shape != values.shape:
            raise InputError(f"the plan has values of {name!r}, which {network.name} lacks; calibrate or train it anew")
        parameters[name].copy_(values)


class Executor:
    """Runs a network by a plan; weights are encoded once and kept.

    Parameters
    ----------
    network : Network
        As loaded; what the plan changes in it is changed in a copy.
    plan : Plan
        Made for this network.
    exact : bool
        Exact arithmetic as the machine's (True) or float32 emulation.
    listeners : sequence of callable
        Told of every execution of every site.
    methods : Composition or None
        The methods that made the plan; None: those that it names, with the options it keeps.
    prepared : bool
        `network` already has the plan's changes.
    weights : dict or None
        Encoded weights, by site first, to use and to add to: shared by executors of one network.
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        methods: Composition | None = None,
        *,
        exact: bool = True,
        listeners: Sequence[Listener] = (),
        prepared: bool = False,
        weights: dict[tuple[Any, ...], Quantized] | None = None,
    ) -> None:
        self.network = network if prepared else prepare(network, plan)
        self.plan = plan
        self.exact = exact
        self.listeners = tuple(listeners)
        self.off_by: dict[str, int] = {}
        self.accumulation_db: dict[str, float] = {}
        self._methods = composition_of(plan) if methods is None else methods
        self._weights = {} if weights is None else weights
        self._computed: dict[str, tuple[torch.Tensor, Quantized]] = {}
        self._finite: list[tuple[str, torch.Tensor]] = []
        self._fitting: set[str] = set()
        self._auditing = False

    def run(self, batch: Batch) -> torch.Tensor:
        """The output for one batch.

        Raises
        ------
        InputError
            If an activation is NaN or infinite (naming the first site that reads it), or a site is not in the plan.
        """
        with self.executing():
            return filled(self.network.forward(batch))

    @contextlib.contextmanager
    def executing(self) -> Iterator[None]:
        """Within this, one pass of the network's module has its sites computed by the plan; errors as of `run`."""
        assert self.network.module is not None
        self._finite = []
        defers = self.exact and not self.listeners and not self._auditing
        with torch.no_grad(), SiteMode(self.network.module, self.handle, defers=defers):
            yield
        self._check_finite()

    def trace(self, batch: Batch) -> Trace:
        """Run one batch and return which sites and operators ran."""
        self._finite = []
        traced = trace(self.network, batch, self.handle)
        self._check_finite()
        return traced

    def hear(self, batch: Batch | None = None) -> None:
        """Tell the listeners of every site of a network with synthetic operands: encoded, not multiplied.

        The shapes are those of `batch`, or of the network's own example. Equal sites with equal plans share one
        encoding, which is kept until the last of them was heard.

        Raises
        ------
        InputError
            If the plan was made for other operands, or a site is not in it.
        """
        differs = difference(self.plan.fingerprint, fingerprint(self.network)) if self.plan.fingerprint else None
        if differs:
            raise InputError(f"the plan was made for another network than {self.network.name}: {differs}")
        if batch is None:
            batch = {} if self.network.module is None else example_batch(self.network)
        sites = [each for each in synthetic_sites(self.network, batch) if each.shapes.x.numel()]
        left = Counter(each.first for each in sites)
        told: dict[tuple[object, ...], list[Execution]] = {}
        for each in sites:
            plan = self._site_plan(each.site)
            equal = next((work for work in told.get(each.first, ()) if same_plan(work.plan, plan)), None)
            if equal is None:
                work = self._encoded(each, plan)
                told.setdefault(each.first, []).append(work)
            else:
                work = dataclasses.replace(equal, site=each.site, plan=plan, same_as=equal.site.name)
            self._tell(work)
            left[each.first] -= 1
            if not left[each.first]:
                del told[each.first]

    def audit(self, batch: Batch) -> int:
        """Run one batch and compare, per site and on the same codes, exact with fast: the largest "off by N".

        `off_by` keeps the figure of every site; `accumulation_db`, of those whose partial sums are quantized, the
        signal-to-noise ratio of the output by that of exact sums of the same codes, in dB.
        """
        self._auditing = True
        try:
            self.run(batch)
        finally:
            self._auditing = False
        return max(self.off_by.values(), default=0)

    @torch.no_grad()  # a network may take gradients of itself, which are none of a rounded product
    def handle(self, site: Site, view: GemmView) -> torch.Tensor:
        """One site: encode, tell the listeners, multiply; its result in the network's own layout."""
        if not view.x.numel() or not view.w.numel():  # an expert that no token was sent to
            return view.float_result()
        plan = self._site_plan(site)
        waits = view.pending is not None and plan.quantized and site.name in self._fitting and self._methods.pending
        if view.pending is not None and not waits:
            view.pending.fill()
        if not plan.quantized:
            self._tell(Execution(site=site, plan=plan, view=view))
            return view.float_result()
        if not waits:
            self._note_finite(f"x of {site.name}", view.x)
        if view.weight is None:
            self._note_finite(f"w of {site.name}", view.w)
        self._check_fit(site, view, plan)
        x = self._methods.encode_x(view, plan)
        w = self._weight(site, view, plan)
        self._tell(Execution(site=site, plan=plan, view=view, x=x, w=w))
        if self._auditing:
            self._compare(site, view, x, w, plan)
        gemm = self._methods.gemm if self.exact else self._methods.fast
        y = gemm(view, x, w, plan)
        if isinstance(y, Deferred) and view.x.dtype == y.memory.dtype:
            return y.arranged(view.result)
        return view.result(y.to(view.x.dtype))

    def _site_plan(self, site: Site) -> SitePlan:
        if self.plan.sites and site.name not in self.plan.sites:
            raise InputError(
                f"site {site.name!r} is not in the plan, since no input that this was made on reaches it; calibrate on "
                "inputs that do"
            )
        return self.plan.site(site.name)

    def _check_fit(self, site: Site, view: GemmView, plan: SitePlan) -> None:
        """Hold the plan against what a site reads, the first time that it runs."""
        if site.name in self._fitting:
            return
        if plan.x is not None:
            check_x(site.name, view.x, plan.x)
        if plan.w is not None:
            check_w(site.name, view, plan.w)
        self._fitting.add(site.name)

    def _encoded(self, drawn: SyntheticSite, plan: SitePlan) -> Execution:
        if not plan.quantized:
            return Execution(site=drawn.site, plan=plan)
        view, methods = drawn.view(), self._methods
        self._check_fit(drawn.site, view, plan)
        x, w = methods.encode_x(view, plan), methods.encode_w(view, plan)
        return Execution(site=drawn.site, plan=plan, view=view, x=x, w=w)

    def _weight(self, site: Site, view: GemmView, plan: SitePlan) -> Quantized:
        if view.weight is None:
            return self._methods.encode_w(view, plan)
        if self.network.remembers or not isinstance(view.weight, torch.nn.Parameter):
            return self._recomputed(site, view, plan)
        # a site may read another part of its parameter the next time (rows of a table of relative positions)
        key = (site.name, view.w.storage_offset(), view.w.shape, view.w.stride())
        if key not in self._weights:
            self._weights[key] = self._methods.encode_w(view, plan)
        return self._weights[key]

    def _recomputed(self, site: Site, view: GemmView, plan: SitePlan) -> Quantized:
        """Codes of a weight that is no parameter: those of the last time, where it is still the same numbers."""
        before = self._computed.get(site.name)
        if before is None or before[0].shape != view.w.shape or not torch.equal(before[0], view.w):
            before = self._computed[site.name] = view.w.detach().clone(), self._methods.encode_w(view, plan)
        return before[1]

    def _tell(self, work: Execution) -> None:
        for listener in self.listeners:
            listener(work)

    def _compare(self, site: Site, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> None:
        found, fast = self._methods.gemm(view, x, w, plan), self._methods.fast(view, x, w, plan)
        off = (found - fast).abs() / self._methods.encoder().step(view, x, w, plan)
        steps = int(torch.where(found == fast, 0.0, off).max().round())  # equal infinities come of masks in the bias
        self.off_by[site.name] = max(steps, self.off_by.get(site.name, 0))
        if not isinstance(plan.accumulation, Exact):
            exact = self._methods.encoder().gemm(view, x, w, plan)
            noise, signal = float((found - exact).square().sum()), float(exact.square().sum())
            ratio = 10 * math.log10(signal / noise) if noise and signal else math.inf if not noise else -math.inf
            self.accumulation_db[site.name] = ratio

    def _note_finite(self, operand: str, tensor: torch.Tensor) -> None:
        """Look for NaN and infinity; where that would wait for a device, the answer is read after the whole pass.

        A sum that is finite has finite elements, and is one pass over them; one that is not says nothing.
        """
        total = tensor.sum()
        if tensor.device.type == "cpu":
            if math.isfinite(float(total)) or bool(tensor.isfinite().all()):
                return
            raise _not_finite(operand)
        self._finite.append((operand, total.isfinite() | tensor.isfinite().all()))

    def _check_finite(self) -> None:
        if self._finite and not bool(torch.stack([finite for _, finite in self._finite]).all()):
            raise _not_finite(next(operand for operand, finite in self._finite if not bool(finite)))


def _not_finite(operand: str) -> InputError:
    return InputError(f"{operand} holds NaN or infinity; quantized execution needs finite activations")
