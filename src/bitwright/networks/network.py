"""A network as every other room sees it: a torch module, how to feed it, and what it is for.

Shape-only networks hold their module on the meta device (shapes without numbers) or, for workload files and single
products, no module at all but the sites themselves.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import gc
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bitwright.errors import BitwrightError, InputError
from bitwright.later import torch
from bitwright.networks.eager import eager
from bitwright.networks.packages import told
from bitwright.networks.sites import Site
from bitwright.networks.state import put_back, same_random_numbers
from bitwright.networks.unseen import unseen
from bitwright.shown import Headline, Shown

Batch = Mapping[str, "torch.Tensor"]
LARGE_BYTES = 2**26
"""Of parameters: copies that are looked for before another is made. Looking takes a tenth of a second."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputShape:
    """The shape of one inference. What does not apply to a network is ignored by it; None means its own default.

    Attributes
    ----------
    batch : int
        Images or sequences at once.
    sequence_length : int or None
        Tokens that are processed (prefill), or tokens of context before the one processed (decode).
    image_size : int or None
        Height and width of an image, in pixels.
    phase : str
        `prefill` (all tokens at once) or `decode` (one token against `sequence_length` cached ones).
    """

    batch: int = 1
    sequence_length: int | None = None
    image_size: int | None = None
    phase: str = "prefill"


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Network(Shown):
    """A network with what is needed to run it.

    Attributes
    ----------
    name : str
        As given to `load`.
    kind : str
        `image`, `sentence`, `language`, `tensor` (any other module) or `gemms` (sites without a module): which
        inputs and tasks fit.
    module : torch.nn.Module or None
        In evaluation mode; on the meta device when the network is shape-only.
    run : callable
        (module, batch) -> the output tensor that tasks judge (logits, embeddings).
    example : callable or None
        InputShape -> a batch of that shape on the module's device (zeros or ones; only shapes matter).
    sites : tuple of Site
        Given sites of a network without a module.
    batch : int
        Samples in one inference, where more than one was asked for.
    default_task : str or None
        The task that judges this network when the user names none.
    default_method : str or None
        The method that quantizes it when the user names none: `file` where its file is quantized; None: the usual one.
    tools : mapping
        What its inputs need: `tokenizer`, `preprocess` (PIL image -> tensor of one sample, such as [3, H, W]),
        `image_size`, `sequence_length` (defaults).
    source : str
        Where it came from.
    notes : tuple of str
        What every report on this network must say.
    weight_grid : int or None
        Group size of the quantized file its weights came from: 4-bit groups of this size would look lossless.
    distribution : str
        What synthetic operands of a shape-only network are drawn from; empty: it has none.
    distribution_seed : int
        Of that drawing.
    remembers : bool
        A pass depends on the passes before, unless the module is put back: it is, after every pass.
    """

    name: str
    kind: str
    module: torch.nn.Module | None = None
    run: Callable[[torch.nn.Module, Batch], torch.Tensor] = lambda module, batch: module(**batch)
    example: Callable[[InputShape], dict[str, torch.Tensor]] | None = None
    sites: tuple[Site, ...] = ()
    batch: int = 1
    default_task: str | None = None
    default_method: str | None = None
    tools: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()
    weight_grid: int | None = None
    distribution: str = ""
    distribution_seed: int = 0
    remembers: bool = False

    def headline(self) -> Headline:
        """How large it is, where it came from, and what must be said of it."""
        figures = [("products", f"{len(self.sites):,}")] if self.module is None else []
        if self.module is not None:
            count = sum(each.numel() for each in self.module.parameters())
            figures.append(("parameters", f"{count:,}, {'shapes only' if self.shape_only else f'on {self.device}'}"))
        figures += [("from", self.source)] if self.source else []
        return Headline(f"{self.name}, of kind {self.kind}", [*figures, *(("note:", note) for note in self.notes)])

    @property
    def shape_only(self) -> bool:
        """Whether there are no numbers to execute, only shapes."""
        return self.module is None or any(p.is_meta for p in self.module.parameters())

    @property
    def device(self) -> torch.device:
        """Where the module's parameters are."""
        if self.module is None:
            return torch.device("meta")
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    def forward(self, batch: Batch) -> torch.Tensor:
        """The output tensor for one batch (float, unquantized, in whatever grad mode the caller is in).

        Whatever the module gives is numbers in a dense tensor: see `as_numbers`.

        Random numbers are the same in every pass, the batch stays as it is, and so does a module that remembers.

        Raises
        ------
        InputError
            Where the module itself fails.
        """
        if self.module is None:
            raise ValueError(f"{self.name} is a list of products, it cannot run")
        try:
            with self.undisturbed():
                output = self.run(self.module, copies(batch))
                output = output if self.shape_only else as_numbers(output)
                return output.clone() if self.remembers else output  # it may be what the module keeps
        except (BitwrightError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if _is_ours(error):
                raise
            sizes = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in batch.items())
            raise InputError(
                f"{self.name} fails on inputs of {sizes}: {told(error)}; give inputs that it runs on"
            ) from error

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Within this, a pass of the module is like every other: eager, by the same random numbers, from one state."""
        state = put_back(self.module) if self.remembers and self.module is not None else contextlib.nullcontext()
        with eager(), same_random_numbers(self.device), state:
            yield

    def to(self, device: torch.device | str) -> Network:
        """The same network with its module moved to `device`."""
        if self.module is None:
            return self
        return dataclasses.replace(self, module=self.module.to(device))

    def copy(self) -> Network:
        """The same network with a module of its own.

        Modules refer to themselves, so that copies nobody uses any more stay until they are looked for: before a large
        network is copied, that is done, lest they pile up.
        """
        if self.module is not None and sum(p.nbytes for p in self.module.parameters()) > LARGE_BYTES:
            gc.collect()
        try:
            module = copy.deepcopy(self.module, _computed(self.module))
        except Exception as error:
            raise InputError(
                f"{self.name} cannot be copied ({told(error)}), and plans change a copy; "
                "let copy.deepcopy work on it, or leave out of it what cannot be copied"
            ) from error
        return dataclasses.replace(self, module=module)


def as_numbers(output: torch.Tensor) -> torch.Tensor:
    """An output as dense numbers that can be compared and subtracted.

    True and false are 1 and 0, 8-bit floats float32, complex numbers pairs of their parts along a last axis.

    Raises
    ------
    InputError
        For a tensor that has no numbers (on the meta device), or of several lengths (nested).
    """
    if output.is_nested or output.is_meta:
        kind = "a nested tensor" if output.is_nested else "a tensor without numbers (on the meta device)"
        raise InputError(f"the network returned {kind}; let it return a dense one")
    output = output.dequantize() if output.is_quantized else output.to_dense()
    if output.is_complex():
        return torch.view_as_real(output.resolve_conj())
    narrow = output.dtype is torch.bool or (output.is_floating_point() and output.element_size() == 1)
    return output.float() if narrow else output


def _is_ours(error: Exception) -> bool:
    """Whether what failed is no module, but what computes its sites."""
    here = Path(__file__).parent
    files = (Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(here.parent in file.parents and here not in file.parents for file in files)


@functools.singledispatch
def copies(batch: Batch) -> Batch:
    """Of what a module is given, which it may write to."""
    with unseen():
        return {name: tensor.detach().clone().requires_grad_(tensor.requires_grad) for name, tensor in batch.items()}


def _computed(module: torch.nn.Module | None) -> dict[int, torch.Tensor]:
    """By identity, copies of tensors that modules keep beside their parameters, which torch would refuse to copy.

    Weights that hooks compute at every pass, such as those of weight norm.
    """
    modules = () if module is None else module.modules()
    kept = (value for m in modules for value in vars(m).values() if isinstance(value, torch.Tensor))
    return {id(tensor): tensor.detach().clone() for tensor in kept if not tensor.is_leaf}
