"""A quantized network as a torch module: called like the module it was made of, it computes by a plan."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn

from bitwright.errors import InputError
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.plan import Plan
from bitwright.methods.training.site import LearningSite, learned, learning_sites
from bitwright.networks.deferred import filled
from bitwright.networks.eager import eager
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import InputShape, Network
from bitwright.networks.sites import Site
from bitwright.networks.smoothing import untie
from bitwright.networks.view import GemmView
from bitwright.tasks.given import given_batch, taken_by


class QuantizedModule(nn.Module):
    """A torch module with the arguments and results of the one it was made of, which computes by a plan.

    It begins in evaluation mode. There, every site is computed on codes, exactly in integers or by their fast float
    emulation, and results have no gradients. In training mode sites are emulated in float32 with straight-through
    gradients (LSQ): for the weights, and for the sites' scales, which are parameters too, as logarithms. What an
    optimizer or `load_state_dict` changes counts at once in either mode (changes through `.data` are not seen), and
    `plan` is the plan as it stands. What no plan carries does not learn: embeddings, and the statistics of batch norms
    that could not be folded, which stay in evaluation mode.

    Parameters
    ----------
    network : Network
        With numbers; it stays as it is.
    plan : Plan
        Made for it.
    exact : bool
        What evaluation mode computes: exact integers, or their float emulation.

    Attributes
    ----------
    module : torch.nn.Module
        A copy of the network's, with what the plan changes in its weights: folded batch norms, smoothing. In training
        mode its dropout is active, and batch norms that were folded are gone.
    scales : torch.nn.ModuleList
        Logarithms of the scales of each quantized site; empty where they cannot be learned.

    Examples
    --------
    >>> import torch
    >>> from bitwright.api import quantize
    >>> layer = torch.nn.Linear(4, 2)
    >>> quantized = quantize(layer, "int8", [torch.rand(8, 4) for _ in range(4)])
    >>> model = torch.nn.Sequential(quantized, torch.nn.ReLU())
    >>> model(torch.ones(3, 4)).shape
    torch.Size([3, 2])
    >>> model.train()(torch.ones(3, 4)).sum().backward()
    >>> quantized.module.weight.grad.shape
    torch.Size([2, 4])
    """

    def __init__(self, network: Network, plan: Plan, *, exact: bool = False) -> None:
        super().__init__()
        prepared = prepare(network, plan)
        if prepared.module is network.module:
            prepared = network.copy()
        assert prepared.module is not None
        untie(prepared.module)
        _thaw(prepared.module, network.module)
        self.module = prepared.module
        self.exact = exact
        self._network, self._plan = prepared, plan
        self._refusal = ""
        sites: dict[str, LearningSite] = {}
        try:
            sites = learning_sites(plan)
        except InputError as error:
            self._refusal = f"{plan.method} cannot run in training mode: {error}; call eval()"
        self.scales = nn.ModuleList(sites.values())
        self._names = list(sites)
        self._started = [[scale.detach().clone() for scale in site.parameters()] for site in sites.values()]
        self.to(network.device)
        self._changed = False
        self._versions = self._now()
        self._executor: Executor | None = None
        self._executed: Any = None
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for batch norms, whose statistics no plan carries."""
        super().train(mode)
        for part in self.module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """As the module that was quantized; `InputError` in training mode where the plan has nothing to learn."""
        if self.training:
            if self._refusal:
                raise InputError(self._refusal)
            with eager(), SiteMode(self.module, self._learn):
                return self.module(*arguments, **named)
        executor = self.executor
        with executor.executing(), self._network.undisturbed():
            return filled(self.module(*arguments, **named))

    def run(self, batch: Any) -> torch.Tensor:
        """The output tensor that tasks judge, for one batch: by the names of the inputs, or as samples are given."""
        known = {} if self._network.example is None else self._network.example(InputShape())
        by_name = isinstance(batch, Mapping) and set(batch) == set(known)
        return self.executor.run(batch if by_name else given_batch(taken_by(self._network), batch, "the batch"))

    @property
    def plan(self) -> Plan:
        """The plan that was given, or with weights and scales as they stand where any of them changed."""
        if not self._has_changed():
            return self._plan
        kept = {id(part.weight) for part in self.module.modules() if isinstance(part, nn.Embedding)}
        weights = {
            name: parameter.detach().clone()
            for name, parameter in self.module.named_parameters()
            if parameter.is_floating_point() and id(parameter) not in kept
        }
        return dataclasses.replace(self._plan_of_scales(), weights=weights)

    @property
    def executor(self) -> Executor:
        """What runs it in evaluation mode; weights are encoded once, and anew when they have changed."""
        now = [
            (id(each), each.data_ptr(), version) for each, version in zip(self.parameters(), self._now(), strict=True)
        ]
        if self._executor is None or self._executed != now:
            self._executor = Executor(self._network, self._plan_of_scales(), exact=self.exact, prepared=True)
            self._executed = now
        return self._executor

    def _plan_of_scales(self) -> Plan:
        """With the scales as they stand; those that did not change are the plan's very own."""
        sites = dict(self._plan.sites)
        for name, site, started in zip(self._names, self._sites(), self._started, strict=True):
            same = all(torch.equal(one.cpu(), other) for one, other in zip(site.parameters(), started, strict=True))
            sites[name] = sites[name] if same else site.site_plan()
        return dataclasses.replace(self._plan, sites=sites)

    def _sites(self) -> list[LearningSite]:
        return [site for site in self.scales if isinstance(site, LearningSite)]

    def _learn(self, site: Site, view: GemmView) -> torch.Tensor:
        self._plan.site(site.name)
        output = learned(dict(zip(self._names, self._sites(), strict=True)), site, view)
        return view.float_result() if output is None else output

    def _now(self) -> list[int]:
        """How often each parameter was written to."""
        return [0 if each.is_inference() else each._version for each in self.parameters()]

    def _has_changed(self) -> bool:
        return self._changed or self._versions != self._now()

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which encode their own weights."""
        return {**self.__dict__, "_executor": None, "_executed": None, "_changed": self._has_changed()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._versions = self._now()


def _thaw(module: nn.Module, original: nn.Module | None) -> None:
    """Whatever preparation made anew learns, as everything does but embeddings and what the original has frozen."""
    frozen = {name for name, each in original.named_parameters() if not each.requires_grad} if original else set()
    embedded = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(name not in frozen and id(parameter) not in embedded)
