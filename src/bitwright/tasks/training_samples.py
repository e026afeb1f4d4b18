"""Unlabelled samples to train on: those of calibration, batch by batch, and some of them held out.

Nothing of the test part is used. Those held out are never learned from, nor is what depends on them: of photographs no
crop, of a paragraph no sentence. Crops and noise are drawn anew for every step.
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
    Samples,
    default_samples,
    drawn,
    drawn_inputs,
    inputs_at_once,
    reading,
    refuse_sources,
    require_kind,
    windows,
)
from bitwright.tasks.sources import BATCH_NORM, DEFAULT, crop_batches, files_of
from bitwright.tasks.statistics import Array
from bitwright.words import counted

BATCH = {"image": 16, "sentence": 16, "language": 1, "tensor": 16}  # our choice
HELD_OUT = {"image": 32, "sentence": 64, "language": 2, "tensor": 64}  # our choice
HELD_OUT_ONE_IN = 5  # of the caller's batches, and of photographs; our choice
HELD_OUT_FIRST = 3  # of photographs; scikit-image's fourth and ninth share their scenes with no other
MADE = 80  # images from batch-norm statistics, which take seconds each and are learned from again and again; our choice
STRIDE = 1_000_003  # seeds of steps lie between those of other draws


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSamples:
    """Batches by step, those held out, and one phrase that says which they are."""

    stream: Callable[[int], Batch]
    held_out: tuple[Batch, ...]
    description: str


def training_samples(
    network: Network,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    given: Samples | tuple[str, ...] | None = None,
) -> TrainingSamples:
    """What to train `network` on.

    Parameters
    ----------
    network : Network
        With numbers.
    batch_size : int or None
        Samples in a batch; the caller's come in batches.
    seed : int
        Of every draw.
    given : Samples, tuple of str or None
        The caller's samples, or sources of images by name.

    Raises
    ------
    InputError
        A network without samples of its kind, or without numbers; a batch size beside samples that are given.
    """
    require_kind(network)
    if isinstance(given, Samples):
        if batch_size is not None:
            raise InputError("batch_size is given, but the caller's samples come in batches; leave batch_size out")
        return _given(given, seed)
    origins = given or DEFAULT
    refuse_sources(network, origins)
    if drawn(network):
        return _own(reading(network), batch_size, seed)
    size = batch_size or BATCH[network.kind]
    if origins == (BATCH_NORM,):
        return _given(_made(network, size, seed), seed)
    held = HELD_OUT[network.kind]
    if network.kind in ("sentence", "language"):
        return _text(network, size, held, seed)
    return _photographs(network, origins, size, held, seed)


def _photographs(network: Network, origins: tuple[str, ...], size: int, held: int, seed: int) -> TrainingSamples:
    """Crops of photographs, drawn anew for every step; those held out are of other photographs, or they would agree."""
    files = files_of(origins)
    if len(files) < 2:
        raise InputError(
            f"there is one photograph only in {', '.join(origins)}, and some are learned from, others held out; name "
            "more sources"
        )
    others = [file for at, file in enumerate(files) if at % HELD_OUT_ONE_IN == HELD_OUT_FIRST] or files[-1:]
    learned = [file for file in files if file not in others]
    made = _made(network, size, seed) if BATCH_NORM in origins else None

    def stream(step: int) -> Batch:
        if made is not None and step % 2:
            return made.batches[step // 2 % len(made.batches)]
        return next(crop_batches(network, learned, count=size, seed=seed + STRIDE * (step + 2), size=size))

    packages = ", ".join(name for name in origins if name != BATCH_NORM)
    what = f"random crops of {counted(len(learned), 'calibration photograph')} in {packages}"
    if made is not None:
        what += f" and, every other step, {made.description}"
    return TrainingSamples(
        stream=stream,
        held_out=tuple(crop_batches(network, others, count=held, seed=seed + STRIDE, size=size)),
        description=f"{what}, {size} a step (seed {seed}), crops of {len(others)} others held out",
    )


def _made(network: Network, size: int, seed: int) -> Samples:
    """Images made from the network's batch-norm statistics, once."""
    return default_samples(network, count=MADE, seed=seed, batch_size=size, origins=(BATCH_NORM,))


def _given(samples: Samples, seed: int) -> TrainingSamples:
    """A batch of `samples` a step, drawn again and again; a fifth of them is held out, spread over all."""
    batches = samples.batches
    if len(batches) < 2:
        raise InputError(
            f"there is one batch only ({samples.description}), and some are learned from, others held out; give at "
            "least 2"
        )
    kept = batches[::HELD_OUT_ONE_IN]
    learned = [batch for at, batch in enumerate(batches) if at % HELD_OUT_ONE_IN]

    def made(step: int) -> Batch:
        return learned[int(np.random.default_rng([seed, step]).integers(len(learned)))]

    return TrainingSamples(
        stream=made,
        held_out=tuple(kept),
        description=f"{len(learned)} of the {len(batches)} batches of {samples.description}, one a step (seed {seed}), "
        f"{len(kept)} others held out",
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
    # windows share nothing; sentences of one paragraph are all held out or none
    together = np.asarray(prose.paragraphs_of(test=False)) if of_sentences else np.arange(len(available))
    order = np.random.default_rng(seed).permutation(together.max() + 1)[together].argsort(kind="stable")
    kept, learned = order[:held], order[held:][together[order[held:]] != together[order[held - 1]]]

    def batch(chosen: Array) -> Batch:
        if of_sentences:
            return sentence_inputs(network, [sentences[i] for i in chosen])
        return window_inputs(network, available[chosen])

    def made(step: int) -> Batch:
        generator = np.random.default_rng([seed, step])
        return batch(generator.choice(learned, size=min(size, len(learned)), replace=False))

    noun = "sentence" if of_sentences else "window"
    return TrainingSamples(
        stream=made,
        held_out=tuple(batch(kept[i : i + size]) for i in range(0, held, size)),
        description=f"{counted(len(learned), noun)} of the prose in Python's pydoc_data.topics, {size} a step "
        f"(seed {seed}), {held} others held out",
    )
