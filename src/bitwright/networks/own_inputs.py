"""The inputs of a network that brings its own: what each is, and along which axis several samples lie, if along any.

Both are found by running the network, once and when first asked for. An axis is a batch axis where two samples side by
side give, side by side, what each gives alone: so a sequence whose elements see each other is never taken for a batch.
Networks with shapes only are repeated along axis 0.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bitwright.errors import InputError
from bitwright.later import later, torch
from bitwright.networks.checks import check_shape
from bitwright.networks.eager import eager
from bitwright.networks.inputs import refuse_decode
from bitwright.networks.network import Batch, InputShape, Network, as_numbers, copies
from bitwright.networks.packages import told
from bitwright.networks.state import put_back, remembers, same_random_numbers

if TYPE_CHECKING:
    from bitwright.networks import variation
    from bitwright.networks.variation import Lookups, Variation
else:
    variation = later("bitwright.networks.variation")

OWN = "inputs"  # the tool of a network that holds its `OwnInputs`
TRIES = 24  # ways to lay two samples side by side that are tried at most; our choice
TOLERANCE = 1e-2  # of the largest output in half precision, a hundredth of it in others: sums in another order


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchAxes:
    """Where samples lie side by side: the axis of each input that has one, and that of the output."""

    inputs: Mapping[str, int]
    output: int

    def joined(self, batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """Batches side by side; inputs without a batch axis are the first one's."""
        return _joined(self.inputs, batches)

    def size(self, batch: Batch) -> int:
        """How many samples lie side by side in a batch."""
        key, axis = next(iter(self.inputs.items()))
        return batch[key].shape[axis]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OwnInputs:
    """The example inputs of a network, what each is, and how many at once it takes.

    Attributes
    ----------
    name : str
        The network's, for messages.
    given : mapping
        Name -> example tensor.
    run : callable
        (module, batch) -> the network's output tensor.
    module : torch.nn.Module
        What runs; its state is put back afterwards.
    names : mapping
        Name of an input -> the parameter of `forward` that takes it.
    scaled : mapping or None
        The batch axis of each input where the network's own example knows it, which is believed (and that outputs have
        it as axis 0); None: it is searched for.
    """

    name: str
    given: Batch
    run: Callable[[torch.nn.Module, Batch], torch.Tensor]
    module: torch.nn.Module
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scaled: Mapping[str, int] | None = None

    @property
    def example(self) -> dict[str, torch.Tensor]:
        """Copies of the example inputs where the module is: it may write to them."""
        return {key: tensor.to(self.device) for key, tensor in copies(self.given).items()}

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))

    @property
    def _shapes_only(self) -> bool:
        return any(tensor.is_meta for tensor in (*self.module.parameters(), *self.given.values()))

    @functools.cached_property
    def remembers(self) -> bool:
        """Whether the module's passes depend on those before; not known of one that does not run on its example.

        Raises
        ------
        InputError
            If they do so even where all that the module holds is put back.
        """
        if self._shapes_only:
            return False

        def run(other: bool) -> torch.Tensor | None:
            batch = self.example
            if other:
                batch = {key: _halved(x) for key, x in batch.items()}
            with torch.no_grad(), eager(), same_random_numbers(self.device):
                try:
                    return as_numbers(self.run(self.module, batch)).clone()  # it may be what the module keeps
                except Exception:
                    return None

        return remembers(self.module, self.name, run)

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """As a network runs its module (`Network.forward`)."""
        state = put_back(self.module) if self.remembers else contextlib.nullcontext()
        with torch.no_grad(), eager(), same_random_numbers(self.device), state:
            yield

    @functools.cached_property
    def variations(self) -> dict[str, Variation]:
        """What each input is; integers that the network does not run on when drawn anew are kept.

        Raises
        ------
        InputError
            A network that does not run on its example.
        """
        example, watch = self.example, variation.Lookups()
        if self.scaled is None or not all(tensor.is_floating_point() for tensor in example.values()):
            self._run_once(example, watch)
        found = variation.variations(example, self.names, watch.tables(example))
        guessed = [key for key, each in found.items() if each.role is variation.Role.TOKENS and not each.known]
        if guessed and self._attempt(_drawn(example, found, 0)) is None:
            found |= dict.fromkeys(guessed, variation.Variation(role=variation.Role.LENGTHS))
        return found

    def _run_once(self, example: Batch, watch: Lookups) -> None:
        try:
            with self._undisturbed(), watch:
                self.run(self.module, example)
        except InputError:
            raise
        except Exception as error:
            sizes = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in example.items())
            raise InputError(
                f"{self.name} does not run on its example inputs ({sizes}): {told(error)}; give an example that it "
                "runs on"
            ) from error

    @property
    def varies(self) -> bool:
        """Whether samples differ at all."""
        return any(each.varies for each in self.variations.values())

    @functools.cached_property
    def axes(self) -> BatchAxes | None:
        """Where several samples lie side by side; None: the network takes one at a time."""
        if self.scaled is not None:
            return BatchAxes(inputs=self.scaled, output=0)
        one, other = (_drawn(self.example, self.variations, seed) for seed in (1, 2))
        first = self._attempt(one)
        if first is None:
            return None
        for axes in self._candidates():
            two = {key: other[key] if key in axes else tensor for key, tensor in one.items()}
            both = self._attempt(_joined(axes, [one, two]))
            second = None if both is None else self._attempt(two)
            if both is None or second is None or first.shape != second.shape:
                continue
            for output in range(first.dim()):
                if _equal(both, torch.cat([first, second], dim=output)):
                    return BatchAxes(inputs=axes, output=output)
        return None

    @property
    def together(self) -> bool:
        """Whether several samples may run at once: there is a batch axis, and whatever varies has it."""
        axes = self.axes
        return axes is not None and all(key in axes.inputs for key, each in self.variations.items() if each.varies)

    @property
    def output_axis(self) -> int | None:
        """Along which axis of the output drawn samples lie; None: each run gives one sample's."""
        return self.axes.output if self.axes is not None and self.together else None

    def repeated(self, batch: int) -> dict[str, torch.Tensor]:
        """The example `batch` times side by side.

        Raises
        ------
        InputError
            If the network takes one at a time.
        """
        if batch == 1:
            return dict(self.example)
        if self.axes is None:
            raise InputError(
                f"{self.name}: batch is {batch}, but its inputs have no axis along which samples lie side by side "
                "(two at once give something else than each alone); leave the batch at 1"
            )
        return self.axes.joined([self.example] * batch)

    def _candidates(self) -> Iterator[Mapping[str, int]]:
        """Ways to lay samples side by side, the likely ones first: axis 0 of all inputs of one length there."""
        tried: list[Mapping[str, int]] = []
        for anchor, axis in itertools.product((key for key, each in self.variations.items() if each.varies), (0, 1)):
            if self.example[anchor].dim() <= axis:
                continue
            size = self.example[anchor].shape[axis]
            choices = [
                [(key, axis)] if key == anchor else [*((key, at) for at in (0, 1) if _has(tensor, at, size)), None]
                for key, tensor in self.example.items()
            ]
            for chosen in itertools.product(*choices):
                axes = dict(pair for pair in chosen if pair is not None)
                if axes not in tried and len(tried) < TRIES:
                    tried.append(axes)
                    yield axes

    def _attempt(self, batch: Batch) -> torch.Tensor | None:
        """What the network gives, or None where it fails."""
        try:
            with self._undisturbed():
                output = self.run(self.module, copies(batch))
                return (output if self._shapes_only else as_numbers(output)).clone()
        except Exception:
            return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnExample:
    """InputShape -> the example inputs, `batch` times side by side; other sizes are the example's."""

    inputs: OwnInputs

    def __call__(self, shape: InputShape) -> dict[str, torch.Tensor]:
        """The batch; `InputError` for sizes, which are the example's, and for more at once than the network takes."""
        check_shape(shape)
        refuse_decode(shape, self.inputs.name)
        for field in ("sequence_length", "image_size"):
            if getattr(shape, field) is not None:
                raise InputError(
                    f"{self.inputs.name}: {field} is {getattr(shape, field)}, but a network of one's own has the sizes "
                    f"of its example inputs; leave {field} out, or change the example"
                )
        return self.inputs.repeated(shape.batch)


def own_inputs(network: Network) -> OwnInputs:
    """Those that the network came with, or those of its example.

    Raises
    ------
    InputError
        A network without an example.
    """
    if OWN in network.tools:
        known: OwnInputs = network.tools[OWN]
        return known
    if network.example is None or network.module is None:
        raise InputError(f"{network.name} has no example inputs to make samples from; give example= of the Network")
    return OwnInputs(
        name=network.name,
        given=network.example(InputShape()),
        run=network.run,
        module=network.module,
        scaled=_scaled(network.example),
    )


def _scaled(example: Callable[[InputShape], dict[str, torch.Tensor]]) -> dict[str, int] | None:
    """The axis of each input that grows with the batch; None where none does."""
    try:
        two, three = (example(InputShape(batch=batch)) for batch in (2, 3))
    except InputError:
        return None
    found = {
        key: axis
        for key, tensor in two.items()
        for axis, (small, large) in enumerate(zip(tensor.shape, three[key].shape, strict=True))
        if small != large
    }
    return found or None


def _joined(axes: Mapping[str, int], batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
    return {
        key: torch.cat([batch[key] for batch in batches], dim=axes[key]) if key in axes else tensor
        for key, tensor in batches[0].items()
    }


def _equal(both: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether outputs are the same but for the rounding of kernels that add in another order."""
    if both.shape != expected.shape:
        return False
    if not (both.is_floating_point() or both.is_complex()):
        return torch.equal(both, expected)
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    tolerance = TOLERANCE if both.dtype in {torch.float16, torch.bfloat16} else TOLERANCE / 100
    return bool(((both - expected).abs() <= tolerance * largest).all())


def _halved(x: torch.Tensor) -> torch.Tensor:
    """Other values of an input that are as possible; integers may be offsets, which must stay what they are."""
    return x * 0.5 if x.is_floating_point() or x.is_complex() else x


def _drawn(example: Batch, found: Mapping[str, Variation], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: found[key].draw(tensor, generator).to(tensor.device) for key, tensor in example.items()}


def _has(tensor: torch.Tensor, axis: int, size: int) -> bool:
    return tensor.dim() > axis and tensor.shape[axis] == size
