"""Which sizes of an input a network has: a size that changes nothing is refused where it is given, never ignored."""

import dataclasses
from collections.abc import Mapping, Sequence

from bitwright.errors import InputError
from bitwright.networks.network import InputShape, Network
from bitwright.networks.own_inputs import OWN

DEFAULT_SHAPE = InputShape()
SIZES: Mapping[str, tuple[str, ...]] = {  # what of a shape each kind of network has, beside batch and phase
    "image": ("image_size",),
    "sentence": ("sequence_length",),
    "language": ("sequence_length",),
}


def given_sizes(shape: InputShape) -> tuple[str, ...]:
    """The fields of a shape that are not the default's."""
    names = (field.name for field in dataclasses.fields(shape))
    return tuple(name for name in names if getattr(shape, name) != getattr(DEFAULT_SHAPE, name))


def unfit_sizes(network: Network, shape: InputShape, *, users: bool = False) -> list[str]:
    """The fields that are given and change nothing; a phase is refused by the network's example where it must.

    An example function of the user's (`users`) is tried, since it may do with a shape what it likes.
    """
    known = sizes_of(network)
    tried = users and OWN not in network.tools
    return [field for field in given_sizes(shape) if field not in known or (tried and _ignores(network, shape, field))]


def fitting(network: Network, shape: InputShape, *, users: bool = False) -> InputShape:
    """The shape without what changes nothing."""
    unfit = unfit_sizes(network, shape, users=users)
    return dataclasses.replace(shape, **{field: getattr(DEFAULT_SHAPE, field) for field in unfit})


def sizes_of(network: Network) -> frozenset[str]:
    """The fields of a shape that may change what the network runs on."""
    if network.example is None:
        return frozenset()
    if OWN in network.tools:  # a module of the user's, whose example decides all but the length of text
        return frozenset({"batch", "phase", *(("sequence_length",) if "tokenizer" in network.tools else ())})
    if network.kind == "tensor":  # its example decides
        return frozenset(field.name for field in dataclasses.fields(InputShape))
    return frozenset({"batch", "phase", *SIZES.get(network.kind, ())})


def no_size(fields: Sequence[str], names: str, shape: InputShape, network: Network | None) -> InputError:
    """An `InputError` for sizes that change nothing, of one `network` or of several."""
    said = " and ".join(f"{field} is {getattr(shape, field)}" for field in fields)
    instead = "" if network is None else _instead(network)
    return InputError(f"{names}: {said}, which changes nothing there{instead}; leave {' and '.join(fields)} out")


def _instead(network: Network) -> str:
    """What decides instead of a size."""
    if network.example is None:
        return " (the products' sizes are given)"
    if network.kind == "tensor":
        return " (its example inputs decide)"
    if OWN in network.tools and "preprocess" in network.tools:
        return " (its preprocess decides)"
    return f" (it is of kind {network.kind})"


def _ignores(network: Network, shape: InputShape, field: str) -> bool:
    """Whether an example has the shapes of the default for this value of a size and for another one."""
    assert network.example is not None
    if field == "phase":
        return False
    value = getattr(shape, field)
    try:
        made = [network.example(dataclasses.replace(DEFAULT_SHAPE, **{field: each})) for each in (value, 2 * value)]
    except InputError:
        return False  # it looks at the size
    usual = {key: tensor.shape for key, tensor in network.example(DEFAULT_SHAPE).items()}
    return all({key: tensor.shape for key, tensor in batch.items()} == usual for batch in made)
