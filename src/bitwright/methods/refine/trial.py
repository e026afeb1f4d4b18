"""A network with a plan on trial: other weights, biases corrected, judged by samples that chose none of them.

Biases are moved by the samples that do not judge (`held_out` of the search for smoothing). Where samples are too few to
hold any out, the same ones judge.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence

import torch

from bitwright.formats import Integer
from bitwright.methods.bias import Means, channel_means, mean_of, moved_means
from bitwright.methods.executor import Executor
from bitwright.methods.integer.smooth import held_out, output_loss
from bitwright.methods.plan import Plan
from bitwright.methods.progress import report
from bitwright.methods.protocol import Composition
from bitwright.methods.refine.targets import own_memory
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import observe
from bitwright.networks.view import GemmView

Weights = Mapping[str, torch.Tensor]
"""Parameter name -> values."""


class Trial:
    """One network, whose weights may change.

    Parameters
    ----------
    network : Network
        As it is executed, but in float: folded and smoothed, with a module of its own.
    samples : sequence of batches
        Of calibration.
    methods : Composition
        Who executes plans.
    """

    def __init__(self, network: Network, samples: Sequence[Batch], methods: Composition) -> None:
        self.network, self.methods, self.samples = network, methods.rough(), samples
        seen, judges = held_out(network, samples)
        self.seen, self.judges = list(seen), list(judges or seen)
        self.halved = bool(judges) and len(seen) == len(judges)
        self.batches = [*self.seen, *judges]
        assert network.module is not None
        self.parameters = dict(network.module.named_parameters())

    @functools.cached_property
    def outputs(self) -> list[torch.Tensor]:
        """Of the float network on the samples that judge."""
        found = []
        with torch.no_grad():
            for batch in self.judges:
                report("outputs")
                found.append(self.network.forward(batch))
        return found

    @functools.cached_property
    def reference(self) -> tuple[dict[str, str], list[Means]]:
        """Of the float network: sites' own biases by name, channel means of every batch."""
        names = own_memory(self.parameters)
        biases: dict[str, str] = {}
        means: list[Means] = []
        for batch in self.batches:
            here: Means = {}

            def watch(site: Site, view: GemmView, here: Means = here) -> torch.Tensor:
                y, bias = view.float_result(), view.bias_parameter
                if bias is not None and bias.dim() == 1 and id(bias) in names and y.numel():
                    biases[site.name] = names[id(bias)]
                    here[site.name] = channel_means(view, y)
                return y

            report("means")
            observe(self.network, batch, watch)
            means.append(here)
        uses = list(biases.values())
        biases = {site: name for site, name in biases.items() if uses.count(name) == 1}
        return biases, means

    def moves(self, plan: Plan, weights: Weights, sites: Sequence[str], *, held: bool = False) -> list[Means]:
        """What each batch that is seen (or `held` out) adds to the biases of `sites` under a plan and weights."""
        _, means = self.reference
        count = len(self.seen)
        batches = self.batches[count:] if held else self.batches[:count]
        aims = means[count:] if held else means[:count]
        found = []
        with self.loaded(weights):
            handle = self.executor(plan).handle
            for batch, aim in zip(batches, aims, strict=True):
                report("biases")
                own = {site: aim[site] for site in sites if site in aim}
                found.append(moved_means(self.network, batch, own, handle))
        return found

    def moved(self, moves: Sequence[Means], weights: Weights) -> dict[str, torch.Tensor]:
        """Biases by name: those of `weights`, else the network's, moved by the mean of what batches add."""
        names = {site: self.reference[0][site] for site in mean_of(moves)}
        before = {site: weights.get(name, self.parameters[name].detach()) for site, name in names.items()}
        return {names[site]: before[site] + move for site, move in mean_of(moves).items()}

    def loss(self, plan: Plan, weights: Weights) -> float:
        """Mean loss of the output on the samples that judge; see `output_loss`."""
        references = self.outputs
        logits = self.network.kind in ("language", "image")
        with self.loaded(weights):
            executor = self.executor(plan)
            found = []
            for batch, wanted in zip(self.judges, references, strict=True):
                report("judging")
                found.append(output_loss(executor.run(batch), wanted, logits=logits))
        return sum(found) / len(found)

    def executor(self, plan: Plan) -> Executor:
        """Of the network as it is; integers exactly, other formats by float products, which are faster there."""
        formats = [operand.format for site in plan.sites.values() for operand in (site.x, site.w) if operand]
        exact = all(isinstance(fmt, Integer) for fmt in formats)
        return Executor(self.network, plan, self.methods, exact=exact, prepared=True)

    @contextlib.contextmanager
    def loaded(self, weights: Weights) -> Iterator[None]:
        """Meanwhile the network has these values, which are not copied."""
        before = {name: self.parameters[name].data for name in weights}
        try:
            for name, values in weights.items():
                assert values.shape == before[name].shape
                self.parameters[name].data = values.to(before[name])
            yield
        finally:
            for name, values in before.items():
                self.parameters[name].data = values
