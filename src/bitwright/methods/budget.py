"""What a plan costs in accuracy, told without labels: expected accuracy on the calibration samples, beside float's.

Images: the float network's own probability of the class that the quantized one names, averaged; if those probabilities
are right, that is the accuracy to expect. Language: the inverse of the perplexity of the text, which needs no labels.
Sentences: the correlation of the cosines of all pairs with the float network's, for pairs spread evenly over 0 .. 1.
Other outputs: the cosine with the float network's. Our choices. A loss is relative to the plan that a search starts
from, and what a budget is held against is its upper end, because a few samples judge for all others: the one-sided 95 %
limit by the jackknife (Quenouille, 1956; Tukey, 1958), which leaves out one image, sentence or window at a time.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
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

ONE_SIDED = 1.645
"""Standard errors from an estimate to its upper 95 % limit, of a normal distribution."""
FEWEST_SENTENCES = 4
"""Without one of them there are three pairs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expected:
    """Expected accuracy, 0 .. 1.

    Attributes
    ----------
    accuracy : float
        On all samples.
    without : Tensor
        The same without each one of them.
    """

    accuracy: float
    without: torch.Tensor

    def loss(self, start: "Expected") -> float:
        """The upper end of the relative loss from `start`; negative where even that is better.

        Infinite where no accuracy can be told: of outputs that are all zero, or that have no value.
        """
        losses = 1 - self.without / start.without
        count = len(losses)
        spread = (losses - losses.mean()).square().sum() * (count - 1) / count if count else torch.zeros(())
        loss = 1 - self.accuracy / start.accuracy + ONE_SIDED * float(spread.sqrt())
        return loss if math.isfinite(loss) else math.inf


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
        if not self.start.accuracy > 0:
            raise InputError(
                f"{network.name}: expected accuracy of the static plan on the calibration samples is "
                f"{self.start.accuracy:.3g}, "
                "of which no budget can be kept; use other samples or a better static method"
            )

    def accuracy(
        self, plan: Plan, listener: Listener | None = None, weights: dict[Any, Quantized] | None = None
    ) -> Expected:
        """Expected accuracy of a plan; `listener` hears every site; encoded `weights` are used and added to."""
        listeners = () if listener is None else (listener,)
        executor = Executor(self.network, plan, prepared=True, listeners=listeners, weights=weights)
        outputs = (executor.run(batch).float() for batch in self.samples)
        return expected_accuracy(self.kind, self.samples, outputs, self.references)

    def loss(self, plan: Plan, listener: Listener | None = None) -> float:
        """The upper end of the relative loss of expected accuracy; negative where a plan does better than the first."""
        self.trials += 1
        report(f"trial {self.trials} of the budget")
        weights: dict[Any, Quantized] = {}
        with self._corrected(plan, weights):
            return self.accuracy(plan, listener, weights).loss(self.start)

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
) -> Expected:
    """Expected accuracy of `outputs` beside the float network's `references`, batch by batch; by a network's kind.

    Language models need no references, and each output only until the next one.
    """
    if kind == "image":
        named = [
            reference.softmax(-1).gather(-1, output.argmax(-1, keepdim=True)).flatten()
            for output, reference in zip(outputs, references, strict=True)
        ]
        right = torch.cat(named).double()
        return _expected(torch.stack([right, torch.ones_like(right)], -1), lambda sums: sums[..., 0] / sums[..., 1])
    if kind == "language":
        return _expected(_surprises(samples, outputs), lambda sums: (-sums[..., 0] / sums[..., 1]).exp())
    left, right = (torch.cat([torch.atleast_1d(each) for each in some]) for some in (outputs, references))
    if kind == "sentence" and len(left) >= FEWEST_SENTENCES:
        return _of_sentences(_cosines(left), _cosines(right))
    return _expected(_products(left.double(), right.double()), _cosine)


def _expected(
    samples: torch.Tensor, accuracy: Callable[[torch.Tensor], torch.Tensor], total: torch.Tensor | None = None
) -> Expected:
    """Expected accuracy by sums over samples [samples, sums], of all (their total) and without each."""
    whole = samples.sum(0) if total is None else total
    without = accuracy(whole - samples) if len(samples) > 1 else torch.zeros(0)
    return Expected(accuracy=float(accuracy(whole)), without=without)


def _surprises(samples: Sequence[Batch], outputs: Iterable[torch.Tensor]) -> torch.Tensor:
    """Of each window the negative log-likelihoods of next tokens in nats, added, and how many they are."""
    sums = []
    for batch, output in zip(samples, outputs, strict=True):
        following = batch["input_ids"][:, 1:].to(output.device)
        losses = torch.nn.functional.cross_entropy(output[:, :-1].transpose(1, 2), following, reduction="none")
        of_windows = losses.double().sum(-1)
        sums.append(torch.stack([of_windows, torch.full_like(of_windows, following.shape[1])], -1))
    return torch.cat(sums)


def _cosines(vectors: torch.Tensor) -> torch.Tensor:
    """Cosines of all pairs of rows [rows, rows]."""
    unit = torch.nn.functional.normalize(vectors.double(), dim=-1)
    return unit @ unit.t()


def _of_sentences(found: torch.Tensor, wanted: torch.Tensor) -> Expected:
    """Expected accuracy by cosines of all pairs; without a sentence are its pairs missing."""
    pairs = torch.stack([torch.ones_like(found), found, wanted, found * found, wanted * wanted, found * wanted], -1)
    pairs = pairs * (1 - torch.eye(len(found), dtype=pairs.dtype, device=pairs.device)).unsqueeze(-1)
    return _expected(pairs.sum(1), _spread_correlation, pairs.sum((0, 1)) / 2)


def _spread_correlation(sums: torch.Tensor) -> torch.Tensor:
    """Correlation of what is found with what is wanted, were that spread evenly over 0 .. 1 with the same noise.

    `sums` [.., 6] over pairs: 1, found, wanted, their squares and their product. A handful of sentences has cosines
    close to each other, so that their own correlation would see any noise as large.
    """
    count, found, wanted, found_squares, wanted_squares, products = sums.unbind(-1)
    variance = wanted_squares / count - (wanted / count).square()
    slope = (products / count - found * wanted / count.square()) / variance
    noise = found_squares / count - (found / count).square() - slope.square() * variance
    return slope.sign() / (1 + noise.clamp_min(0) / (slope.square() / 12)).sqrt()


def _products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Of each row left * right, left * left and right * right, added."""
    sums = [left * right, left * left, right * right]
    return torch.stack([each.reshape(len(left), -1).sum(-1) for each in sums], -1)


def _cosine(sums: torch.Tensor) -> torch.Tensor:
    return sums[..., 0] / (sums[..., 1] * sums[..., 2]).sqrt()
