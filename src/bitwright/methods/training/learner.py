"""A network that learns: its own weights and the scales of its sites, against its float self."""

import dataclasses

import torch
from torch import nn

from bitwright.errors import InputError
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.integer.smooth import output_loss
from bitwright.methods.plan import Plan
from bitwright.methods.training.site import LearningSite, learned
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.smoothing import untie
from bitwright.networks.view import GemmView

Features = dict[str, torch.Tensor]


class Learner:
    """A student that starts as the plan says, and its teacher, the same network in float.

    Raises
    ------
    InputError
        If nothing is quantized, or a scale is not learnable.
    """

    def __init__(self, network: Network, plan: Plan) -> None:
        if not plan.quantizes:
            raise InputError(f"{network.name}: {plan.method} quantizes nothing, so there is nothing to train")
        if network.device.type != "cpu":
            raise InputError(f"{network.name} is on {network.device}, and training runs on the CPU; load it there")
        self.plan = plan
        self.teacher = prepare(network, dataclasses.replace(plan, weights={}))
        self.student = prepare(network, plan)
        if self.student.module is network.module:
            self.student = network.copy()
        module = self.student.module
        assert module is not None
        untie(module)
        self.sites = {name: LearningSite(name, site) for name, site in plan.sites.items() if site.quantized}
        kept = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
        self.weights = {
            name: parameter
            for name, parameter in module.named_parameters()
            if parameter.is_floating_point() and id(parameter) not in kept
        }
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        for parameter in self.weights.values():
            parameter.requires_grad_(True)

    @property
    def logits(self) -> bool:
        """Whether outputs are compared as distributions."""
        return self.student.kind in ("language", "image")

    def scales(self) -> dict[str, nn.Parameter]:
        """All scales, by names that files can have."""
        return {f"{name}/{part}": p for name, site in self.sites.items() for part, p in site.named_parameters()}

    def loss(self, batch: Batch, features: float) -> torch.Tensor:
        """Distance from the teacher: of the output, and `features` times the mean over sites."""
        seen: Features = {}
        with torch.no_grad(), self._watching(self.teacher, seen):
            wanted = self.teacher.forward(batch)
        losses: list[torch.Tensor] = []

        def handle(site: Site, view: GemmView) -> torch.Tensor:
            output = learned(self.sites, site, view)
            if output is None:
                return view.float_result()
            if features:
                target = seen[site.name]
                losses.append((output - target).square().sum() / target.square().sum().clamp_min(1e-12))
            return output

        assert self.student.module is not None
        with torch.enable_grad(), SiteMode(self.student.module, handle):
            found = self.student.forward(batch)
        total = distance(found, wanted, logits=self.logits)
        return total + features * torch.stack(losses).mean() if losses else total

    def judge(self, batches: list[Batch]) -> float:
        """Mean distance of exact execution, as it stands, from the teacher."""
        executor = Executor(self.student, self.now(weights=False), exact=True, prepared=True)
        with torch.no_grad():
            pairs = [(executor.run(batch), self.teacher.forward(batch)) for batch in batches]
        return sum(output_loss(found, wanted, logits=self.logits) for found, wanted in pairs) / len(pairs)

    def now(self, *, weights: bool = True) -> Plan:
        """The plan as it stands; with the weights, unless these are in the module that runs it."""
        sites = {name: site.site_plan() for name, site in self.sites.items()}
        kept = {name: p.detach().clone() for name, p in self.weights.items()} if weights else {}
        return dataclasses.replace(self.plan, sites={**self.plan.sites, **sites}, weights=kept)

    def _watching(self, network: Network, seen: Features) -> SiteMode:
        def handle(site: Site, view: GemmView) -> torch.Tensor:
            output = view.float_result()
            if site.name in self.sites:
                seen[site.name] = output
            return output

        assert network.module is not None
        return SiteMode(network.module, handle)


def distance(output: torch.Tensor, wanted: torch.Tensor, *, logits: bool) -> torch.Tensor:
    """`output_loss` with gradients: KL divergence per row, or the relative squared error."""
    if logits:
        p, q = wanted.flatten(0, -2).log_softmax(-1), output.flatten(0, -2).log_softmax(-1)
        return (p.exp() * (p - q)).sum(-1).mean()
    return (output - wanted).square().sum() / wanted.square().sum()
