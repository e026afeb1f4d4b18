"""Samples that the caller gives: a data loader, or any iterable of batches, as the network takes them.

A batch is a tensor, a tuple of tensors in the order of `forward`, or a dict of them by name; what `forward` does not
take, such as labels, is left out. For networks with a tokenizer or a preprocessing it may be texts or images too.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.networks.own_inputs import OWN, BatchAxes, own_inputs
from bitwright.networks.packages import told
from bitwright.networks.user import forward_parameters
from bitwright.tasks.given_files import file_samples
from bitwright.tasks.inputs import image_inputs, sentence_inputs
from bitwright.tasks.samples import Samples, refuse_sources
from bitwright.tasks.sources import are_sources, parse_sources
from bitwright.words import counted

MOST = 4096  # batches; one that gives more is taken for endless
LABELS = frozenset({"label", "labels", "target", "targets"})
EXPECTED = "a tensor, a tuple of tensors or a dict of them is expected"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenSamples:
    """The caller's batches, as the network takes them.

    Attributes
    ----------
    batches : tuple of Batch
        All of them.
    axes : BatchAxes or None
        Where samples lie side by side in a batch; None: a batch is one sample.
    files : str
        What they were read from; empty: the caller gave tensors.
    """

    batches: tuple[Batch, ...]
    axes: BatchAxes | None
    files: str = ""

    def samples(self) -> Samples:
        """All of them, to calibrate on."""
        if self.files:
            return Samples(batches=self.batches, count=self._count(self.batches), description=self.files)
        return self._described(self.batches, counted(len(self.batches), "batch", "batches"))

    def halves(self, what: str = "samples") -> tuple[Samples, Samples]:
        """Every other batch to calibrate on, and the rest to judge by; a single batch is cut along its batch axis.

        Raises
        ------
        InputError
            A single sample.
        """
        cut = len(self.batches) == 1
        batches = self._cut(self.batches[0]) if cut else self.batches
        if len(batches) < 2:
            raise InputError(
                f"{what} has one sample only, and half of them calibrate, the others judge; give at least 2, or "
                "calibration_samples= apart"
            )
        parts = tuple(batches[::2]), tuple(batches[1::2])
        said = [f"{len(part)} of the {counted(len(batches), 'batch', 'batches')}" for part in parts]
        said = ["half of the batch", "the other half of the batch"] if cut else said
        return self._described(parts[0], said[0]), self._described(parts[1], said[1])

    def _cut(self, batch: Batch) -> Sequence[Batch]:
        if self.axes is None or self.axes.size(batch) < 2:
            return [batch]
        parts = {key: batch[key].tensor_split(2, dim=axis) for key, axis in self.axes.inputs.items()}
        return [{**batch, **{key: part[half] for key, part in parts.items()}} for half in (0, 1)]

    def _described(self, batches: Sequence[Batch], said: str) -> Samples:
        count = self._count(batches)
        inputs = "" if self.axes is None else f" ({counted(count, 'input')})"
        where = f"of {self.files}" if self.files else "given by the caller"
        return Samples(batches=tuple(batches), count=count, description=f"{said} {where}{inputs}")

    def _count(self, batches: Sequence[Batch]) -> int:
        return len(batches) if self.axes is None else sum(self.axes.size(batch) for batch in batches)


def given_samples(network: Network, samples: Iterable[Any] | Path, what: str = "samples") -> GivenSamples:
    """The batches of `samples` as `network` takes them.

    Parameters
    ----------
    network : Network
        With numbers.
    samples : iterable or path
        Of batches; or a folder of pictures or a text, as `file_samples` reads it.
    what : str
        What to call them in messages.

    Raises
    ------
    InputError
        What is no iterable of batches, has none, does not end, or does not fit the network.
    """
    if isinstance(samples, str) and are_sources(samples):
        raise InputError(
            f"{what} names sources ({samples}), which calibrate and do not judge; give them as calibration_samples= "
            "(--calibration-from)"
        )
    if isinstance(samples, str | Path):
        read = file_samples(network, Path(samples))
        return dataclasses.replace(given_of(network, read.batches, what), files=read.described)
    return given_of(network, itertools.islice(iterated(samples, what), MOST + 1), what)


def to_calibrate_on(network: Network, samples: Iterable[Any] | Path, what: str) -> Samples | tuple[str, ...]:
    """All of the caller's samples, or the sources that a text names (`a,b` of `sources.NAMES`).

    Raises
    ------
    InputError
        As `given_samples`; a source that is unknown, not installed, or of another kind than the network's.
    """
    if isinstance(samples, str) and are_sources(samples):
        origins = parse_sources(samples)
        refuse_sources(network, origins)
        return origins
    return given_samples(network, samples, what).samples()


def given_of(network: Network, items: Iterable[Any], what: str) -> GivenSamples:
    """The batches of `items`, of which there are at most `MOST` and one; as `given_samples`."""
    taken = taken_by(network)
    batches = [given_batch(taken, item, f"batch {at} of {what}") for at, item in enumerate(items)]
    if not batches:
        raise InputError(f"{what} has no batch; give an iterable of at least one (a generator gives its batches once)")
    if len(batches) > MOST:
        raise InputError(f"{what} gave more than {MOST:,} batches and may never end; cut it, as with itertools.islice")
    try:
        with torch.no_grad():
            network.forward(batches[0])
    except InputError as error:
        raise InputError(f"batch 0 of {what}: {error}") from error
    return GivenSamples(batches=tuple(batches), axes=axes_of(network))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taken:
    """A network, its example inputs and the parameters of `forward` that take them."""

    network: Network
    example: Batch
    names: Mapping[str, str]

    def said(self, key: str) -> str:
        """An input as the user knows it."""
        return self.names.get(key, key)

    @property
    def order(self) -> str:
        """All inputs as the user knows them."""
        return ", ".join(map(self.said, self.example))


def taken_by(network: Network) -> Taken:
    """What a network takes; needs a network with an example."""
    if network.kind == "tensor" or OWN in network.tools:
        own = own_inputs(network)
        return Taken(network=network, example=own.example, names=own.names)
    assert network.example is not None
    return Taken(network=network, example=network.example(InputShape()), names={})


def axes_of(network: Network) -> BatchAxes | None:
    """Where samples lie side by side: axis 0 of images and text, what was found for other networks."""
    if network.kind == "tensor":
        return own_inputs(network).axes
    assert network.example is not None
    return BatchAxes(inputs=dict.fromkeys(network.example(InputShape()), 0), output=0)


def first_inputs(module: torch.nn.Module, samples: Iterable[Any] | Path) -> Any:
    """The first batch of `samples` as the example of `module`: a tuple by position, or a dict by name."""
    if isinstance(samples, str | Path):
        raise InputError(
            f"samples is {samples}, but a module alone reads no files; load it with a preprocess or a tokenizer"
        )
    item = next(iterated(samples, "samples"), None)
    if item is None:
        raise InputError("samples has no batch; give an iterable of at least one")
    parts = _unwrapped(item)
    known = forward_parameters(module)
    if isinstance(parts, Mapping):
        return {key: _tensor(value, key) for key, value in parts.items() if key in known and key not in LABELS}
    if len(parts) > 1 and known:
        needed = sum(parameter.default is parameter.empty for parameter in known.values())
        label = len(parts) > needed and _is_label(parts[-1], parts[0])
        parts = parts[: min(len(known), len(parts) - label)]
    return tuple(_tensor(value, f"input {at}") for at, value in enumerate(parts))


def iterated(samples: Iterable[Any] | Path, what: str) -> Iterator[Any]:
    """The batches of `samples`, one after the other.

    Raises
    ------
    InputError
        What is no iterable of batches, or fails to give one.
    """
    if isinstance(samples, str | bytes | Mapping | torch.Tensor | np.ndarray) or not hasattr(samples, "__iter__"):
        raise InputError(
            f"{what} is a {type(samples).__name__}; a data loader or another iterable of batches is expected "
            "(one batch: [batch])"
        )
    return _guarded(samples, what)


def _guarded(samples: Iterable[Any], what: str) -> Iterator[Any]:
    given = 0
    try:
        for batch in samples:
            yield batch
            given += 1
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} fails to give batch {given}: {told(error)}; mend the loader, or cut it") from error


def _unwrapped(item: Any) -> Mapping[str, Any] | Sequence[Any]:
    """The inputs of a batch, without the label beside them where inputs are a collection of their own."""
    if isinstance(item, tuple | list) and item and isinstance(item[0], Mapping | tuple | list):
        item = item[0]
    return item if isinstance(item, Mapping | tuple | list) else (item,)


def given_batch(taken: Taken, item: Any, where: str) -> Batch:
    """One batch of the caller's, by the names of the network's inputs, on its device.

    Raises
    ------
    InputError
        What is no batch of tensors, or does not fit.
    """
    network, example = taken.network, taken.example
    made = _from_media(network, item)
    if made is not None:
        return made
    parts = _unwrapped(item)
    if isinstance(parts, Mapping):
        known = {key: key if key in parts else taken.said(key) for key in example}
        named = {key: parts[name] for key, name in known.items() if name in parts}
        missing = [taken.said(key) for key in example if key not in named]
        if missing:
            raise InputError(
                f"{where} has {', '.join(map(str, parts)) or 'nothing'}, but {network.name} takes {taken.order}; "
                f"{' and '.join(missing)} is missing"
            )
    elif len(parts) < len(example):
        raise InputError(
            f"{where} has {counted(len(parts), 'tensor')}, but {network.name} takes {len(example)}: {taken.order}; "
            "give a tuple in that order"
        )
    else:
        named = dict(zip(example, parts, strict=False))
    return {key: _fitted(taken, key, value, f"{taken.said(key)} in {where}") for key, value in named.items()}


def _fitted(taken: Taken, key: str, value: Any, where: str) -> torch.Tensor:
    """One tensor of a batch in the example's floating type, on the network's device."""
    tensor, example = _tensor(value, where), taken.example[key]
    if tensor.is_floating_point() and example.is_floating_point():
        tensor = tensor.to(example.dtype)
    if tensor.dim() != example.dim() or not tensor.numel():
        raise InputError(
            f"{where} is {list(tensor.shape)}, but {taken.network.name} runs on {list(example.shape)}; give batches "
            "like its example"
        )
    return tensor.detach().to(taken.network.device)


def _from_media(network: Network, item: Any) -> Batch | None:
    """Texts through the network's tokenizer, images through its preprocessing; None where it is neither."""
    several = item if isinstance(item, tuple | list) else [item]
    if not several:
        return None
    if "tokenizer" in network.tools and all(isinstance(each, str) for each in several):
        return sentence_inputs(network, several)
    if "preprocess" in network.tools and all(type(each).__module__.startswith("PIL.") for each in several):
        return image_inputs(network, several)
    return None


def _tensor(value: Any, where: str) -> torch.Tensor:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{where} is a {type(value).__name__}; {EXPECTED}")
    return value


def _is_label(last: Any, first: Any) -> bool:
    """Whether the last of a batch's tensors looks like class ids, one for each of the first's elements."""
    tensors = isinstance(last, torch.Tensor) and isinstance(first, torch.Tensor)
    return tensors and not last.is_floating_point() and last.shape == first.shape[:1]
