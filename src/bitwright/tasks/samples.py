"""Samples that are always there, to calibrate on without touching the user's test data and to test without labels.

Images are crops of photographs (`photographs`), or come from sources that are named (`sources`); text is the standard
library's prose (`prose`), and any other module gets inputs drawn like those of its example
(`bitwright.networks.variation`). Calibration and test samples are disjoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bitwright.errors import InputError
from bitwright.later import later, torch
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.networks.own_inputs import OWN, OwnInputs, own_inputs
from bitwright.tasks import photographs, prose, sources
from bitwright.tasks.inputs import image_inputs, sentence_inputs, token_ids, window_inputs, window_length
from bitwright.tasks.statistics import Array
from bitwright.words import counted

if TYPE_CHECKING:
    from bitwright.networks import variation
else:
    variation = later("bitwright.networks.variation")

BATCH_SIZES = {"image": 16, "sentence": 32, "language": 1, "tensor": 16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """Batches of samples, how many samples they hold, and one phrase that says which they are."""

    batches: tuple[Batch, ...]
    count: int
    description: str


def default_samples(
    network: Network,
    *,
    count: int,
    seed: int = 0,
    batch_size: int | None = None,
    origins: tuple[str, ...] = sources.DEFAULT,
) -> Samples:
    """Calibration samples that fit the network and need no data of the user's.

    Parameters
    ----------
    network : Network
        Of kind image, sentence, language or tensor.
    count : int
        Images, sentences, windows of tokens or inputs; fewer where the text does not have as many.
    seed : int
        Of the crops, of the choice of text, of the noise.
    batch_size : int or None
        Samples per batch; None is a size that suits the kind.
    origins : tuple of str
        Sources of images, by name (`sources.NAMES`).

    Raises
    ------
    InputError
        Where the network's kind has no such samples or a package that holds them is missing.
    """
    refuse_sources(network, origins)
    available = available_samples(network, count=count, test=False)
    batches = default_batches(network, count=available, seed=seed, test=False, batch_size=batch_size, origins=origins)
    return Samples(
        batches=tuple(batches),
        count=available,
        description=describe(network, count=available, seed=seed, test=False, origins=origins),
    )


def calibration_of(calibrated: Samples | tuple[str, ...] | None, network: Network, *, count: int, seed: int) -> Samples:
    """The samples that were chosen to calibrate on; else `count` of the sources that were named, or of the default."""
    if isinstance(calibrated, Samples):
        return calibrated
    return default_samples(network, count=count, seed=seed, origins=calibrated or sources.DEFAULT)


def refuse_sources(network: Network, origins: tuple[str, ...]) -> None:
    """Raise `InputError` where sources of images are named for what reads none."""
    if origins != sources.DEFAULT and (network.kind != "image" or drawn(network)):
        raise InputError(
            f"{', '.join(origins)}: those are sources of images, and {network.name} is a {network.kind} network; leave "
            "them out, or give samples of its kind"
        )


def available_samples(network: Network, *, count: int, test: bool) -> int:
    """`count`, or as many samples as the text of the test or calibration part has."""
    require_kind(network)
    if count < 1:
        raise InputError(f"{counted(count, 'sample')} asked for; at least 1 is needed")
    if drawn(network):
        return count if own_inputs(reading(network)).varies else 1
    if network.kind == "sentence":
        return min(count, len(prose.sentences(test=test)))
    if network.kind == "language":
        return min(count, len(windows(network, test=test)))
    return count


def drawn(network: Network) -> bool:
    """Whether its samples are drawn: it is no network of a known kind, or came without what turns text into tokens."""
    return network.kind == "tensor" or (network.kind in ("sentence", "language") and "tokenizer" not in network.tools)


def reading(network: Network) -> Network:
    """The network with an example of whole windows, where its own is a decoding step: what it is calibrated on."""
    example = network.example
    if network.kind != "language" or example is None:
        return network
    tokens = window_length(network)

    def windows_of(shape: InputShape) -> dict[str, torch.Tensor]:
        return example(InputShape(batch=shape.batch, sequence_length=tokens))

    return dataclasses.replace(network, example=windows_of)


def require_kind(network: Network) -> None:
    """Refuse a network that cannot run or whose inputs are unknown."""
    if network.kind not in BATCH_SIZES:
        raise InputError(
            f"{network.name} is a {network.kind} network; there are samples for: {', '.join(sorted(BATCH_SIZES))}"
        )
    if network.shape_only:
        raise InputError(f"{network.name} has shapes but no weights, so it cannot run on samples; load it with weights")


def default_batches(
    network: Network,
    *,
    count: int,
    seed: int,
    test: bool,
    batch_size: int | None = None,
    own: OwnInputs | None = None,
    origins: tuple[str, ...] = sources.DEFAULT,
) -> Iterator[Batch]:
    """`count` samples of the test or calibration part, made as they are needed; `own` is what is known of inputs."""
    require_kind(network)
    size = batch_size or BATCH_SIZES[network.kind]
    if drawn(network):
        network = reading(network)
        own = own or own_inputs(network)
        yield from drawn_inputs(network, own, count=count, seed=seed, test=test, batch_size=batch_size)
    elif network.kind == "image":
        if not test:
            yield from sources.image_batches(network, origins, count=count, seed=seed, size=size)
            return
        images = photographs.crops(photographs.photographs(photographs.TEST_PHOTOGRAPHS), count=count, seed=seed)
        for start in range(0, count, size):
            yield image_inputs(network, [next(images) for _ in range(min(size, count - start))])
    elif network.kind == "sentence":
        chosen = [prose.sentences(test=test)[i] for i in _choice(len(prose.sentences(test=test)), count, seed)]
        for start in range(0, count, size):
            yield sentence_inputs(network, chosen[start : start + size])
    else:
        available = windows(network, test=test)
        chosen_windows = available[_choice(len(available), count, seed)]
        for start in range(0, count, size):
            yield window_inputs(network, chosen_windows[start : start + size])


def default_units(network: Network, *, count: int, seed: int) -> Array:
    """The photograph, paragraph or window [count] that each of the test samples of `default_batches` is of."""
    if network.kind == "image":
        return np.arange(count) % len(photographs.photographs(photographs.TEST_PHOTOGRAPHS))
    if network.kind == "sentence":
        chosen = _choice(len(prose.sentences(test=True)), count, seed)
        return np.asarray(prose.paragraphs_of(test=True))[chosen]
    return np.arange(count)


def describe(network: Network, *, count: int, seed: int, test: bool, origins: tuple[str, ...] = sources.DEFAULT) -> str:
    """Which samples `default_batches` makes, in one phrase."""
    if drawn(network):
        return _described(reading(network), count, seed)
    if network.kind == "image" and not test:
        return sources.described(origins, count=count, seed=seed)
    if network.kind == "image":
        stems = [path.stem for path in photographs.photographs(photographs.TEST_PHOTOGRAPHS)][:count]
        return f"{counted(count, 'random crop')} (seed {seed}) of photographs in scikit-image: {', '.join(stems)}"
    topics = f"the topics {', '.join(sorted(prose.TEST_TOPICS))}" if test else "all topics but those kept for tests"
    size = f" of {window_length(network)} tokens" if network.kind == "language" else ""
    what = counted(count, "window" if size else "sentence") + size
    return f"{what} (seed {seed}) of the prose in Python's pydoc_data.topics, {topics}"


def _choice(available: int, count: int, seed: int) -> Array:
    """`count` different indices below `available`."""
    return np.random.default_rng(seed).permutation(available)[:count]


def windows(network: Network, *, test: bool) -> Array:
    """The part's text as token windows [n, T] that do not overlap."""
    ids, length = token_ids(network, "\n\n".join(prose.paragraphs(test=test))), window_length(network)
    if len(ids) < length:
        raise InputError(
            f"one window of {length} tokens is longer than the {counted(len(ids), 'token')} of always-available text; "
            "use a shorter sequence length"
        )
    whole: Array = ids[: len(ids) // length * length]
    return whole.reshape(-1, length)


def drawn_inputs(
    network: Network, own: OwnInputs, *, count: int, seed: int, test: bool, batch_size: int | None = None
) -> Iterator[Batch]:
    """`count` inputs like the example's; one at a time where several at once would be another thing.

    Raises
    ------
    InputError
        More at once than the network takes.
    """
    assert network.example is not None
    generator = torch.Generator().manual_seed(2 * seed + int(test))
    size = inputs_at_once(network, own, batch_size) if count > 1 else 1
    for start in range(0, count, size):
        batch = min(size, count - start)
        scales = batch == 1 or OWN in network.tools or own.scaled is not None
        example = network.example(InputShape(batch=batch)) if scales else own.repeated(batch)
        yield {name: own.variations[name].draw(each, generator).to(network.device) for name, each in example.items()}


def inputs_at_once(network: Network, own: OwnInputs, batch_size: int | None) -> int:
    """How many samples of a network with inputs of its own run at once: `batch_size`, or what suits."""
    if own.together:
        return batch_size or BATCH_SIZES[network.kind]
    if batch_size is not None and batch_size > 1:
        raise InputError(
            f"{network.name} takes one input at a time: it has no axis along which everything that varies lies side by "
            "side; leave the batch size out"
        )
    return 1


def _described(network: Network, count: int, seed: int) -> str:
    """Which inputs are drawn for a network with inputs of its own."""
    found = own_inputs(network).variations
    if not own_inputs(network).varies:
        return "the network's example input, in which nothing varies from sample to sample"
    if {each.role for each in found.values()} == {variation.Role.VALUES}:
        noun = counted(count, "noise input")
        return f"{noun} (seed {seed}) with the mean and deviation of the network's example inputs"
    parts = ", ".join(f"{name}: {each.described}" for name, each in found.items())
    return f"{counted(count, 'input')} (seed {seed}) like the network's example ({parts})"
