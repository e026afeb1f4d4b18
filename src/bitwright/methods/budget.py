"""What a plan costs in accuracy, told without labels: expected accuracy on the calibration samples, beside float's.

Images: the float network's own probability of the class that the quantized one names, averaged; if those probabilities
are right, that is the accuracy to expect. Language: the inverse of the perplexity of the text, which needs no labels.
Sentences: the correlation of the cosines of all pairs with the float network's, for pairs spread evenly over 0 .. 1.
Other outputs: the cosine with the float network's. Our choices. A loss is relative to the plan that a search starts
from.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.formats import Quantized
from bitwright.methods.bias import BiasCorrection, bias_names
from bitwright.methods.executor import Executor, Listener, prepare
from bitwright.methods.plan import Plan
from bitwright.methods.progress import report
from bitwright.methods.sharing import once
from bitwright.networks.network import Batch, Network


class Judge:
    """Judges plans that change a network's weights alike (folding, smoothing) on a few batches.

    Parameters
    ----------
    network : Network
        With numbers.
    samples : sequence of batches
        Unlabelled.
    plan : Plan
        What losses are relative to.
    correct : bool
        Biases, if there are any, are corrected for every plan that is judged: by every other batch, and the others
        judge, because corrected outputs fit the samples that corrected them. A single batch does both.

    Raises
    ------
    InputError
        If the first plan has no expected accuracy that could be kept.
    """

    def __init__(self, network: Network, samples: Sequence[Batch], plan: Plan, *, correct: bool = False) -> None:
        self.kind = network.kind
        self.network = prepare(network, plan)
        reference = prepare(network, dataclasses.replace(plan, weights={})) if plan.weights else self.network
        correct = correct and bool(bias_names(reference, samples))
        if correct and self.network.module is network.module:
            self.network = network.copy()
        self.correction = BiasCorrection(self.network, samples[::2], reference) if correct else None
        self.samples = samples[1::2] if correct and len(samples) > 1 else samples
        with torch.no_grad():
            needed = network.kind != "language"
            self.references = [network.forward(batch).float() for batch in self.samples if needed]
        self.trials = 0
        with self._corrected(plan, {}):
            self.start = self.accuracy(plan)
        if not self.start > 0:
            raise InputError(
                f"{network.name}: expected accuracy of the static plan on the calibration samples is {self.start:.3g}, "
                "of which no budget can be kept; use other samples or a better static method"
            )

    def accuracy(
        self, plan: Plan, listener: Listener | None = None, weights: dict[Any, Quantized] | None = None
    ) -> float:
        """Expected accuracy of a plan, 0 .. 1; `listener` hears every site; encoded `weights` are used and added to."""
        listeners = () if listener is None else (listener,)
        executor = Executor(self.network, plan, prepared=True, listeners=listeners, weights=weights)
        outputs = (executor.run(batch).float() for batch in self.samples)
        return expected_accuracy(self.kind, self.samples, outputs, self.references)

    def loss(self, plan: Plan, listener: Listener | None = None) -> float:
        """Relative loss of expected accuracy; negative where a plan does better than the first."""
        self.trials += 1
        report(f"trial {self.trials} of the budget")
        weights: dict[Any, Quantized] = {}
        with self._corrected(plan, weights):
            return 1 - self.accuracy(plan, listener, weights) / self.start

    @contextlib.contextmanager
    def _corrected(self, plan: Plan, weights: dict[Any, Quantized]) -> Iterator[None]:
        """The network with biases corrected for a plan, meanwhile."""
        if self.correction is None:
            yield
            return
        assert self.network.module is not None
        handle = Executor(self.network, plan, prepared=True, weights=weights).handle
        parameters = dict(self.network.module.named_parameters())
        before = {}
        with torch.no_grad():
            for name, bias in self.correction.biases(handle).items():
                before[name] = parameters[name].detach().clone()
                parameters[name].copy_(bias)
            try:
                yield
            finally:
                for name, bias in before.items():
                    parameters[name].copy_(bias)


def shared_judge(network: Network, samples: Sequence[Batch], plan: Plan, *, correct: bool) -> Judge:
    """A `Judge`, the same for all searches of a study that start from one plan (`bitwright.methods.sharing`)."""
    of = (network, plan.sites, plan.weights, *samples)
    return once(("judge", correct), of, lambda: Judge(network, samples, plan, correct=correct))


def expected_accuracy(
    kind: str, samples: Sequence[Batch], outputs: Iterable[torch.Tensor], references: Sequence[torch.Tensor]
) -> float:
    """Expected accuracy of `outputs` beside the float network's `references`, batch by batch; by a network's kind.

    Language models need no references, and each output only until the next one.
    """
    if kind == "image":
        named = [
            reference.softmax(-1).gather(-1, output.argmax(-1, keepdim=True))
            for output, reference in zip(outputs, references, strict=True)
        ]
        return float(torch.cat(named).double().mean())
    if kind == "language":
        return float((-_surprise(samples, outputs)).exp())
    left, right = (torch.cat([torch.atleast_1d(each) for each in some]) for some in (outputs, references))
    if kind == "sentence" and len(left) > 2:
        return _spread_correlation(_cosines(left), _cosines(right))
    return float(torch.nn.functional.cosine_similarity(left.flatten().double(), right.flatten().double(), dim=0))


def _surprise(samples: Sequence[Batch], outputs: Iterable[torch.Tensor]) -> torch.Tensor:
    """Mean negative log-likelihood of each next token, in nats."""
    losses = []
    for batch, output in zip(samples, outputs, strict=True):
        following = batch["input_ids"][:, 1:].flatten().to(output.device)
        losses.append(torch.nn.functional.cross_entropy(output[:, :-1].flatten(0, 1), following, reduction="none"))
    return torch.cat(losses).double().mean()


def _cosines(vectors: torch.Tensor) -> torch.Tensor:
    """Cosines of all pairs of rows."""
    unit = torch.nn.functional.normalize(vectors.double(), dim=-1)
    upper = torch.triu_indices(len(unit), len(unit), 1, device=unit.device)
    return (unit @ unit.t())[upper[0], upper[1]]


def _spread_correlation(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Correlation of `found` with `wanted`, were `wanted` spread evenly over 0 .. 1 with the same noise around a line.

    A handful of sentences has cosines close to each other, so that their own correlation would see any noise as large.
    """
    deviation = wanted - wanted.mean()
    slope = (deviation * found).sum() / deviation.square().sum()
    noise = (found - found.mean() - slope * deviation).square().mean()
    return float(slope.sign() / (1 + noise / (slope.square() / 12)).sqrt())
