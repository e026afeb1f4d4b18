"""A network that learns: its own weights and the scales of its sites, against its float self."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

import torch
from torch import nn

from bitwright.errors import InputError
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.integer.smooth import output_loss
from bitwright.methods.plan import Plan
from bitwright.methods.training.site import learned, learning_sites
from bitwright.networks.blocks import chain_of
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.smoothing import untie
from bitwright.networks.trace import recording_batch
from bitwright.networks.view import GemmView

Features = dict[str, torch.Tensor]
SiteFunction = Callable[[Site, GemmView], torch.Tensor]


def in_float(site: Site, view: GemmView) -> torch.Tensor:  # noqa: ARG001 (as sites are handled)
    """What a site gives without quantization."""
    return view.float_result()


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
        self.blocks = chain_of(self.student, recording_batch(self.student), list(plan.sites)).blocks
        self.sites = learning_sites(plan)
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
        """Distance from the teacher: of the output, and `features` times the mean over blocks, or over sites."""
        wanted: Features = {}
        found: Features = {}
        with torch.no_grad(), self._watching(self.teacher, wanted, features):
            target = self.teacher.forward(batch)

        def handle(site: Site, view: GemmView) -> torch.Tensor:
            output = learned(self.sites, site, view)
            return view.float_result() if output is None else output

        with torch.enable_grad(), self._watching(self.student, found, features, handle):
            output = self.student.forward(batch)
        total = distance(output, target, logits=self.logits)
        losses = [relative(found[name], wanted[name]) for name in found]
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

    @contextlib.contextmanager
    def _watching(
        self, network: Network, seen: Features, features: float, handle: SiteFunction = in_float
    ) -> Iterator[None]:
        """Meanwhile sites give what `handle` does, and outputs of blocks, or of sites, are in `seen`."""
        module = network.module
        assert module is not None

        def watched(site: Site, view: GemmView) -> torch.Tensor:
            output = handle(site, view)
            if features and not self.blocks and site.name in self.sites:
                seen[site.name] = output
            return output

        with contextlib.ExitStack() as stack:
            for path in self.blocks if features else ():
                keep = functools.partial(_keep, seen, path)
                stack.callback(module.get_submodule(path).register_forward_hook(keep).remove)
            stack.enter_context(SiteMode(module, watched))
            yield


def _keep(seen: Features, path: str, module: nn.Module, inputs: object, output: object) -> None:  # noqa: ARG001
    """A block's output, of several the first."""
    first = output[0] if isinstance(output, tuple | list) else output
    if isinstance(first, torch.Tensor):
        seen[path] = first


def relative(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Squared error by the squares of what is wanted."""
    return (output - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12)


def distance(output: torch.Tensor, wanted: torch.Tensor, *, logits: bool) -> torch.Tensor:
    """`output_loss` with gradients: KL divergence per row, or the relative squared error."""
    if logits:
        p, q = wanted.flatten(0, -2).log_softmax(-1), output.flatten(0, -2).log_softmax(-1)
        return (p.exp() * (p - q)).sum(-1).mean()
    return (output - wanted).square().sum() / wanted.square().sum()
