"""Results of sites whose values wait until something reads them.

Between two sites a network often does no more than clamp (ReLU, ReLU6) and pad, and the next site encodes what comes:
then nobody needs the floats. A site's result is handed on as a `Deferred`, a tensor with the memory of its values but
not yet these; clamping and padding give another one, and the next site's codes are made from the sums in one pass over
them. Any other torch function finds the values computed, bit by bit what they would have been at once.
"""

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F

_T = torch.Tensor
INFINITE = float("inf")
CLAMPS: dict[Any, tuple[float, float]] = {  # functions of one tensor, and whether in place
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, _T.relu, _T.relu_), (0.0, INFINITE)),
    F.relu6: (0.0, 6.0),
}
IN_PLACE = {F.relu_, torch.relu_, _T.relu_}
PROPERTIES = (
    "shape dtype device ndim layout requires_grad grad_fn is_leaf is_nested is_cuda is_meta is_sparse is_mkldnn"
)
METHODS = (_T.size, _T.dim, _T.numel, _T.stride, _T.is_contiguous, _T.is_floating_point, _T.is_complex, _T.element_size)
OF_SHAPE = {*METHODS, *(getattr(_T, name).__get__ for name in PROPERTIES.split())}
"""What asks for no values."""


class Recipe(Protocol):
    """How values come from a site's sums."""

    def fill(self, memory: torch.Tensor) -> None:
        """Compute the values into the memory of a tensor that is laid out as the sums are."""

    def clamped(self, low: float, high: float) -> "Recipe | None":
        """The same, clamped; None where that takes another pass."""

    def padded(self, sides: Sequence[int], shape: torch.Size) -> "Recipe | None":
        """The same with zeros around images of `shape` [N, C, H, W]: left, right, top, bottom; None as above."""


class Alive:
    """Tensors by identity, as long as something else holds them."""

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[Deferred]] = {}

    def add(self, tensor: "Deferred") -> None:
        """Know a tensor until it is gone."""
        references, key = self._references, id(tensor)
        references[key] = weakref.ref(tensor, lambda _: references.pop(key, None))

    def discard(self, tensor: "Deferred") -> None:
        """Know it no more."""
        self._references.pop(id(tensor), None)

    def __iter__(self) -> Iterator["Deferred"]:
        return iter([tensor for each in list(self._references.values()) if (tensor := each()) is not None])


class Deferred(torch.Tensor):
    """A tensor whose memory is not filled until a torch function asks for its values.

    Attributes
    ----------
    recipe : Recipe or None
        What fills it; None: it is filled.
    relatives : Alive
        All that are computed from the same sums.
    owns_sums : bool
        Its memory is the sums', which filling it overwrites: the relatives are filled before.
    """

    recipe: Recipe | None
    relatives: Alive
    owns_sums: bool

    @classmethod
    def of(cls, memory: torch.Tensor, recipe: Recipe, relative: "Deferred | None" = None) -> "Deferred":
        """`memory`, whose values `recipe` gives."""
        made: Deferred = memory.as_subclass(cls)
        made.recipe, made.owns_sums = recipe, relative is None
        made.relatives = Alive() if relative is None else relative.relatives
        made.relatives.add(made)
        _WAITING.tensors.add(made)
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in OF_SHAPE:
            args, kwargs = filled(args), filled(kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    def arranged(self, arrange: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Itself seen in another way: deferred too, where that is a view of its memory."""
        found = arrange(self.memory)
        if self.recipe is None or found.data_ptr() != self.memory.data_ptr():
            return arrange(self.fill())
        made = Deferred.of(found, self.recipe, self)
        made.owns_sums, self.owns_sums, self.recipe = self.owns_sums, False, None
        return made

    @property
    def memory(self) -> torch.Tensor:
        """Itself as a plain tensor, filled or not."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(torch.Tensor)

    def fill(self) -> torch.Tensor:
        """Compute the values, and give them as a plain tensor."""
        recipe = self.recipe
        if recipe is not None:
            if self.owns_sums:
                for relative in self.relatives:
                    if relative is not self:
                        relative.fill()
            self.recipe = None
            _WAITING.tensors.discard(self)
            recipe.fill(self.memory)
        return self.memory


class _Waiting(threading.local):
    """A thread's tensors that are not filled yet, while they live."""

    def __init__(self) -> None:
        self.tensors = Alive()


_WAITING = _Waiting()


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Within this, torch functions ask deferred tensors for their values, also where none is told of otherwise."""
    function = torch._C._EnableTorchFunction()
    try:
        yield
    finally:
        del function


def fill_all() -> None:
    """Fill every tensor of this thread: what comes asks for values where no torch function tells of it."""
    for tensor in _WAITING.tensors:
        tensor.fill()


def filled(values: Any) -> Any:
    """Arguments with plain tensors in the place of deferred ones, inside sequences and dictionaries too."""
    if isinstance(values, Deferred):
        return values.fill()
    if isinstance(values, tuple | list):
        parts = [filled(each) for each in values]
        if all(one is other for one, other in zip(parts, values, strict=True)):
            return values
        named = isinstance(values, tuple) and type(values) is not tuple
        return type(values)(*parts) if named else type(values)(parts)
    if isinstance(values, dict):
        for key, value in values.items():
            values[key] = filled(value)  # in place: outputs of networks are dictionaries of many kinds
    return values


def deferred_result(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Deferred | None:
    """What clamping or padding a deferred tensor gives, deferred too; None where values must be computed."""
    if not args or not isinstance(args[0], Deferred) or args[0].recipe is None:
        return None
    if func is F.pad:
        return _padded(*args, **kwargs)
    limits = _limits(func, *args[1:], **kwargs)
    return None if limits is None else _clamped(args[0], *limits)


def _limits(func: Any, *args: Any, **kwargs: Any) -> tuple[float, float, bool] | None:
    """Between which numbers a function clamps, and whether in place; None for any other function."""
    if func in CLAMPS:
        rest = [*args, *kwargs.values()]
        if len(rest) > 1 or any(type(each) is not bool for each in rest):
            return None
        return (*CLAMPS[func], func in IN_PLACE or any(rest))
    if func in (F.hardtanh, torch.clamp, _T.clamp, _T.clamp_, torch.clamp_):
        return _numbers(func, *args, **kwargs)
    return None


def _numbers(
    func: Any,
    low: Any = None,
    high: Any = None,
    inplace: bool = False,
    *,
    min: Any = None,  # noqa: A002
    max: Any = None,  # noqa: A002
    min_val: Any = None,
    max_val: Any = None,
    **others: Any,
) -> tuple[float, float, bool] | None:
    usual = (-1.0, 1.0) if func is F.hardtanh else (-INFINITE, INFINITE)
    limits = [
        next((each for each in given if each is not None), default)
        for given, default in zip(((low, min, min_val), (high, max, max_val)), usual, strict=True)
    ]
    if others or any(type(each) not in (int, float) for each in limits) or not limits[0] <= limits[1]:
        return None
    return float(limits[0]), float(limits[1]), inplace or func in (_T.clamp_, torch.clamp_)


def _clamped(tensor: Deferred, low: float, high: float, in_place: bool) -> Deferred | None:
    assert tensor.recipe is not None
    recipe = tensor.recipe.clamped(low, high)
    if recipe is None:
        return None
    if in_place:
        tensor.recipe = recipe
        return tensor
    return Deferred.of(_blank(tensor.memory), recipe, tensor)


def _padded(tensor: Deferred, pad: Any, mode: str = "constant", value: float | None = None) -> Deferred | None:
    assert tensor.recipe is not None
    memory = tensor.memory
    images = memory.dim() == 4 and memory.is_contiguous(memory_format=torch.channels_last)
    if mode != "constant" or value or not images or len(pad) != 4 or any(not isinstance(n, int) or n < 0 for n in pad):
        return None
    recipe = tensor.recipe.padded(pad, memory.shape)
    if recipe is None:
        return None
    batch, channels, height, width = memory.shape
    size = batch, height + pad[2] + pad[3], width + pad[0] + pad[1], channels
    return Deferred.of(torch.empty(size, dtype=memory.dtype).permute(0, 3, 1, 2), recipe, tensor)


def _blank(tensor: torch.Tensor) -> torch.Tensor:
    """Memory of a tensor's layout, nothing in it."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
