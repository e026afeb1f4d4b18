"""Unlabelled samples to train on: those of calibration, batch by batch, and some of them held out.

Nothing of the test part is used. Text has only so many sentences: those held out are never learned from. Crops and
noise are drawn anew for every step.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from bitwright.errors import InputError
from bitwright.networks.network import Batch, Network
from bitwright.networks.own_inputs import own_inputs
from bitwright.networks.variation import Role
from bitwright.tasks import prose
from bitwright.tasks.inputs import sentence_inputs, window_inputs
from bitwright.tasks.samples import (
    default_batches,
    drawn,
    drawn_inputs,
    inputs_at_once,
    reading,
    require_kind,
    windows,
)
from bitwright.tasks.statistics import Array
from bitwright.words import counted

BATCH = {"image": 16, "sentence": 16, "language": 1, "tensor": 16}  # our choice
HELD_OUT = {"image": 32, "sentence": 64, "language": 2, "tensor": 64}  # our choice
STRIDE = 1_000_003  # seeds of steps lie between those of other draws


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSamples:
    """Batches by step, those held out, and one phrase that says which they are."""

    stream: Callable[[int], Batch]
    held_out: tuple[Batch, ...]
    description: str


def training_samples(network: Network, *, batch_size: int | None = None, seed: int = 0) -> TrainingSamples:
    """What to train `network` on.

    Raises
    ------
    InputError
        A network without samples of its kind, or without numbers.
    """
    require_kind(network)
    if drawn(network):
        return _own(reading(network), batch_size, seed)
    size = batch_size or BATCH[network.kind]
    held = HELD_OUT[network.kind]
    if network.kind in ("sentence", "language"):
        return _text(network, size, held, seed)

    def made(step: int) -> Batch:
        return next(
            iter(default_batches(network, count=size, seed=seed + STRIDE * (step + 2), test=False, batch_size=size))
        )

    kept = default_batches(network, count=held, seed=seed + STRIDE, test=False, batch_size=size)
    what = "random crops of the calibration photographs"
    return TrainingSamples(
        stream=made,
        held_out=tuple(kept),
        description=f"{what} in scikit-image, {size} a step (seed {seed})",
    )


def _own(network: Network, batch_size: int | None, seed: int) -> TrainingSamples:
    """Inputs like those of the network's example."""
    own = own_inputs(network)
    size = inputs_at_once(network, own, batch_size or BATCH[network.kind] if own.together else batch_size)

    def of(count: int, number: int) -> Iterator[Batch]:
        return drawn_inputs(network, own, count=count, seed=number, test=False, batch_size=size)

    only_values = {each.role for each in own.variations.values()} == {Role.VALUES}
    what = "noise inputs" if only_values else "inputs like the network's example"
    return TrainingSamples(
        stream=lambda step: next(of(size, seed + STRIDE * (step + 2))),
        held_out=tuple(of(HELD_OUT[network.kind], seed + STRIDE)),
        description=f"{what}, {size} a step (seed {seed})",
    )


def _text(network: Network, size: int, held: int, seed: int) -> TrainingSamples:
    """Sentences, or windows of tokens."""
    sentences = prose.sentences(test=False)
    of_sentences = network.kind == "sentence"
    available = windows(network, test=False) if not of_sentences else np.arange(len(sentences))
    if len(available) <= held:
        raise InputError(
            f"{counted(len(available), 'piece')} of text, too few to hold {held} of them out; use shorter ones"
        )
    order = np.random.default_rng(seed).permutation(len(available))

    def batch(chosen: Array) -> Batch:
        if of_sentences:
            return sentence_inputs(network, [sentences[i] for i in chosen])
        return window_inputs(network, available[chosen])

    def made(step: int) -> Batch:
        generator = np.random.default_rng([seed, step])
        return batch(generator.choice(order[held:], size=min(size, len(order) - held), replace=False))

    kept = tuple(batch(order[i : min(held, i + size)]) for i in range(0, held, size))
    noun = "sentence" if of_sentences else "window"
    return TrainingSamples(
        stream=made,
        held_out=kept,
        description=f"{counted(len(order) - held, noun)} of the prose in Python's pydoc_data.topics, {size} a step "
        f"(seed {seed}), {held} others held out",
    )
