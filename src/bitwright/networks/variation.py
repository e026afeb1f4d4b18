"""What each input of a network is, and how samples of it are drawn, from one example and one run.

Tokens are drawn anew below the size of the table that they are looked up in, values with the example's mean and
deviation, time steps between nothing and twice their value; masks, positions and lengths stay as they are. Names of
inputs decide first, then where integers go while the network runs, then dtypes and values. All of it is our choice.
"""

import dataclasses
import enum
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from bitwright.errors import InputError
from bitwright.networks.network import Batch

HIDDEN = -1e4  # what is added to scores that a mask hides is at most this
NAMED = (  # parts of an input's name -> what it is kept as
    (re.compile(r"masks?($|_)|(^|_)pad(ding)?($|_)"), "mask"),
    (re.compile(r"(^|_)pos(ition)?(s|_|$)|position_ids"), "positions"),
    (re.compile(r"(^|_)len(gth)?s?($|_)|offs|(^|_)ptr($|_)|edge_index"), "lengths"),
)


class Role(enum.StrEnum):
    """What an input is; a mask, positions and lengths stay as the example has them."""

    VALUES = "values"
    TOKENS = "tokens"
    STEP = "time step"
    MASK = "mask"
    POSITIONS = "positions"
    LENGTHS = "lengths"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variation:
    """How one input differs from sample to sample.

    Attributes
    ----------
    role : Role
        What the input is.
    size : int
        Of tokens and of steps that are integers: they are drawn from 0 to below this.
    known : bool
        Whether `size` is that of a table that the network looks them up in.
    """

    role: Role
    size: int = 0
    known: bool = False

    @property
    def varies(self) -> bool:
        """Whether samples differ in it at all."""
        return self.role in {Role.VALUES, Role.TOKENS, Role.STEP}

    @property
    def described(self) -> str:
        """The draw in a phrase."""
        if self.role is Role.TOKENS:
            return f"tokens below {self.size}"
        if self.role is Role.STEP:
            return f"steps below {self.size}" if self.size else "steps up to twice the example's"
        return "noise with the example's mean and deviation" if self.role is Role.VALUES else f"{self.role} kept"

    def draw(self, example: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A tensor of the example's shape and type, drawn by `generator` on the CPU; what does not vary is kept."""
        if not self.varies:
            return example
        if self.size:
            return torch.randint(self.size, example.shape, generator=generator).to(example.dtype)
        if self.role is Role.STEP:
            top = 2 * example.cpu().float()
            drawn = torch.rand(example.shape, generator=generator) * torch.where(top == 0, 1.0, top)
            return drawn.to(example.dtype)
        return _noise_like(example, generator)


def _noise_like(example: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Normal noise; where the example's elements are all equal, mean 0 and deviation 1 stand in for its own."""
    if example.is_complex():
        return torch.view_as_complex(_noise_like(torch.view_as_real(example), generator))
    values = example if example.dtype in {torch.float32, torch.float64} else example.float()
    mean, deviation = float(values.mean()), float(values.std(correction=0))
    if deviation == 0:
        mean, deviation = 0.0, 1.0
    return (torch.randn(example.shape, generator=generator) * deviation + mean).to(example.dtype)


def variations(inputs: Batch, names: Mapping[str, str], tables: Mapping[str, int]) -> dict[str, Variation]:
    """What each of the `inputs` is.

    Parameters
    ----------
    inputs : mapping
        Name -> example tensor.
    names : mapping
        Name -> the name of the parameter of `forward` that takes it.
    tables : mapping
        Name -> rows of the smallest table that it is looked up in, where `lookups` found one.

    Raises
    ------
    InputError
        An example of values that are NaN or infinite.
    """
    found = {key: _variation(key, inputs, names.get(key, key), tables.get(key, 0)) for key in inputs}
    tokens = [key for key, variation in found.items() if variation.role is Role.TOKENS]
    ordered = [key for key in tokens if _ascends(inputs[key])]
    if len(tokens) > 1 and ordered:  # one of them is the text, the others count along it
        for key in ordered if len(ordered) < len(tokens) else ordered[1:]:
            found[key] = Variation(role=Role.POSITIONS)
    return found


def _variation(key: str, inputs: Batch, name: str, table: int) -> Variation:
    tensor = inputs[key]
    named = next((role for pattern, role in NAMED if pattern.search(name.lower())), None)
    if named is not None:
        return Variation(role=Role(named))
    if tensor.dtype is torch.bool:
        return Variation(role=Role.MASK)
    others = [other for at, other in inputs.items() if at != key]
    if tensor.is_floating_point() or tensor.is_complex():
        return _of_floats(tensor, others, name)
    return _of_integers(tensor, others, table)


def _of_floats(tensor: torch.Tensor, others: Sequence[torch.Tensor], name: str) -> Variation:
    if tensor.is_complex():
        return Variation(role=Role.VALUES)
    hidden = tensor <= HIDDEN
    if bool(hidden.any()) and bool((hidden | (tensor == 0)).all()):
        return Variation(role=Role.MASK)
    if not bool(tensor.isfinite().all()):
        raise InputError(
            f"the example of the input {name!r} holds NaN or infinity; give an example of finite numbers (a mask that "
            "is added may hold 0 and -inf)"
        )
    if others and bool((tensor == 0).any()) and bool((tensor == 1).any()) and _binary(tensor):
        return Variation(role=Role.MASK)
    per_sample = tensor.shape[:1] == (tensor.numel(),) and any(
        other.dim() > 1 and len(other) == len(tensor) for other in others
    )
    if (tensor.numel() == 1 and (others or not tensor.dim())) or (per_sample and bool((tensor >= 0).all())):
        return Variation(role=Role.STEP)
    return Variation(role=Role.VALUES)


def _of_integers(tensor: torch.Tensor, others: Sequence[torch.Tensor], table: int) -> Variation:
    most, least = (int(tensor.max()), int(tensor.min())) if tensor.numel() else (0, 0)
    if table > 2 or (table and not others):
        return Variation(role=Role.TOKENS, size=table, known=True)
    if table or least < 0:  # token types and such
        return Variation(role=Role.MASK)
    if tensor.numel() == 1:
        return Variation(role=Role.STEP, size=max(most, 1) + 1)
    if others and _binary(tensor):
        return Variation(role=Role.MASK)
    lengths = tensor.dim() == 1 and any(
        other.dim() > 1 and len(other) == len(tensor) and most <= other.shape[1] for other in others
    )
    if lengths:
        return Variation(role=Role.LENGTHS)
    if others and _ascends(tensor):
        return Variation(role=Role.POSITIONS)
    return Variation(role=Role.TOKENS, size=max(most, 1) + 1)


def _binary(tensor: torch.Tensor) -> bool:
    return bool(((tensor == 0) | (tensor == 1)).all())


def _ascends(tensor: torch.Tensor) -> bool:
    """Whether it counts in steps of one along its last axis."""
    return tensor.dim() > 0 and tensor.shape[-1] > 1 and bool((tensor.diff(dim=-1) == 1).all())


class Lookups(TorchFunctionMode):
    """Watches which integers are looked up in which tables, while a network runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Tensor, int]] = []  # indices, rows of the table

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.__getitem__:
            if isinstance(args[0], torch.nn.Parameter):
                self._note(args[1], len(args[0]))
        elif func is torch.embedding:
            self._note(args[1], len(args[0]))
        elif func in {F.embedding, F.embedding_bag} and len(args) > 1:
            self._note(args[0], len(args[1]))
        elif func is F.one_hot:
            self._note(args[0], kwargs.get("num_classes", args[1] if len(args) > 1 else -1))
        return func(*args, **kwargs)

    def _note(self, indices: Any, rows: int) -> None:
        integers = isinstance(indices, torch.Tensor) and not indices.is_floating_point()
        if integers and indices.dtype is not torch.bool and rows > 0:
            self.seen.append((indices, rows))

    def tables(self, inputs: Batch) -> dict[str, int]:
        """Name -> rows of the smallest table that this input is looked up in.

        By shared memory first; lookups that no input shares memory with by equal values, then by equal shapes.
        """
        found: dict[str, int] = {}
        left = list(self.seen)
        integers = {
            key: tensor
            for key, tensor in inputs.items()
            if not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool)
        }
        for same in (_same_memory, _same_values, _same_shape):
            pairs = itertools.product(integers, range(len(left)))
            matched = [(key, i) for key, i in pairs if same(left[i][0], integers[key])]
            for key, i in matched:
                found[key] = min(left[i][1], found.get(key, left[i][1]))
            claimed = {i for _, i in matched}
            integers = {key: tensor for key, tensor in integers.items() if key not in found}
            left = [lookup for i, lookup in enumerate(left) if i not in claimed]
        return found


def _same_memory(indices: torch.Tensor, tensor: torch.Tensor) -> bool:
    return bool(tensor.numel()) and indices.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()


def _same_values(indices: torch.Tensor, tensor: torch.Tensor) -> bool:
    return indices.numel() == tensor.numel() > 1 and torch.equal(indices.flatten(), tensor.flatten().to(indices.dtype))


def _same_shape(indices: torch.Tensor, tensor: torch.Tensor) -> bool:
    return tensor.numel() > 1 and indices.shape == tensor.shape and not _binary(tensor)
