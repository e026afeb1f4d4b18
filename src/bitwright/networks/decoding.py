"""A decoding step of any causal language model: one token, and what the model remembers of those before it.

What is remembered is whatever the model itself returns when it reads the context: keys and values of any heads, latent
attention, sliding windows, states of recurrent layers. It is made once, outside of the step, and travels in the step's
batch as plain tensors: `context` are the ids [batch, tokens] that were read, `context.keys` and the like are what is
kept of them, stacked over the layers that keep the same shape.
"""

import copy
import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.network import copies
from bitwright.networks.packages import first_line
from bitwright.networks.unseen import unseen

CONTEXT = "context"
ARGUMENTS = ("cache", "past_key_values", "cache_params", "state")  # what transformers call it, the newest name first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slot:
    """Where one tensor of the memory lies in a step's batch.

    Attributes
    ----------
    name : str
        Of the stacked tensor.
    index : int
        Of this one in it.
    changes : bool
        Whether a step writes into it: each gets a copy of its own, so that the batch stays as it is.
    """

    name: str
    index: int
    changes: bool


class Step(dict[str, torch.Tensor]):
    """The batch of one decoding step.

    Attributes
    ----------
    argument : str
        The parameter of the model's forward that takes its memory.
    form : object
        The memory as the model made it, with a `Slot` in place of each tensor.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], *, argument: str, form: Any) -> None:
        super().__init__(tensors)
        self.argument = argument
        self.form = form

    def memory(self) -> dict[str, Any]:
        """The model's memory anew, as the keyword argument that its forward takes."""
        filled: dict[int, Any] = {}
        for _, slot in _leaves(self.form, Slot):
            tensor = self[slot.name][slot.index]
            filled[id(slot)] = tensor.clone() if slot.changes else tensor
        return {self.argument: _replaced(self.form, filled)}


@copies.register
def _(step: Step) -> Step:
    """Its memory is copied where it is handed on (`Step.memory`)."""
    with unseen():
        own = {"input_ids": step["input_ids"].clone()}
    return Step({**step, **own}, argument=step.argument, form=step.form)


def decoding_step(module: torch.nn.Module, ids: torch.Tensor, context: torch.Tensor, name: str) -> Step:
    """The batch of a step that reads `ids` [batch, 1] after `context` [batch, tokens], which the module reads here.

    Raises
    ------
    InputError
        A model that cannot read so much, returns nothing that it remembers, or cannot go on from it.
    """
    with torch.no_grad():
        try:
            argument, memory = _remembered(module, context)
            tensors = {path: tensor for path, tensor in _leaves(memory, torch.Tensor) if tensor.dim()}
            changes = _changed_by_a_step(module, ids, argument, memory, tensors)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        except Exception as error:  # transformers raise whatever they run into
            raise InputError(
                f"{name}: a decoding step after {context.shape[1]} tokens fails in transformers "
                f"({first_line(error)}); use prefill, or another context."
            ) from error
        slots, stacked = _stacked(tensors, changes, argument)
    form = _replaced(memory, {id(tensor): slots[path] for path, tensor in tensors.items()})
    return Step({"input_ids": ids, CONTEXT: context, **stacked}, argument=argument, form=form)


def _remembered(module: torch.nn.Module, context: torch.Tensor) -> tuple[str, Any]:
    """What the module remembers of `context`, and the name of the parameter that takes it."""
    output = module(input_ids=context, use_cache=True)
    taken = inspect.signature(module.forward).parameters
    for argument in ARGUMENTS:
        if argument in taken and argument in output:
            return argument, output[argument]
    raise InputError("the network returns nothing that a decoding step could go on from; use prefill.")


def _changed_by_a_step(
    module: torch.nn.Module, ids: torch.Tensor, argument: str, memory: Any, tensors: Mapping[str, torch.Tensor]
) -> set[str]:
    """The paths of the tensors that a step writes into; torch counts the writes of each."""
    copies = {path: tensor.clone() for path, tensor in tensors.items()}
    before = {path: tensor._version for path, tensor in copies.items()}
    trial = _replaced(memory, {id(tensor): copies[path] for path, tensor in tensors.items()})
    logits = module(input_ids=ids, use_cache=True, **{argument: trial}).logits
    if logits.shape[:2] != ids.shape:  # RWKV's step mixes up the sequences of a batch
        raise InputError(
            f"its decoding step is wrong in this version of transformers (logits {[*logits.shape]} for tokens "
            f"{[*ids.shape]}); use a batch of 1, or prefill."
        )
    return {path for path, tensor in copies.items() if tensor._version != before[path]}


def _stacked(
    tensors: Mapping[str, torch.Tensor], changes: set[str], argument: str
) -> tuple[dict[str, Slot], dict[str, torch.Tensor]]:
    """Tensors of the same name, shape and type as one [count, ...], and where each of them is."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for path, tensor in tensors.items():
        words = [word for word in path.split(".") if not word.isdigit()]
        groups.setdefault((words[-1] if words else argument, tensor.shape, tensor.dtype), []).append(path)
    slots: dict[str, Slot] = {}
    stacked: dict[str, torch.Tensor] = {}
    for (word, *_), paths in groups.items():
        known = sum(name.split(".")[1] == word for name in stacked)
        name = f"{CONTEXT}.{word}" if not known else f"{CONTEXT}.{word}.{known + 1}"
        stacked[name] = torch.stack([tensors[path] for path in paths])
        for index, path in enumerate(paths):
            slots[path] = Slot(name=name, index=index, changes=path in changes)
    return slots, stacked


def _leaves(whole: Any, kind: type, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Everything of type `kind` in lists, tuples, dicts and attributes, each once, with its dotted path."""
    seen = set() if seen is None else seen
    if id(whole) in seen:
        return
    seen.add(id(whole))
    if isinstance(whole, kind):
        yield path, whole
        return
    for key, part in _parts(whole):
        yield from _leaves(part, kind, f"{path}.{key}" if path else str(key), seen)


def _parts(whole: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(whole, list | tuple):
        yield from enumerate(whole)
    elif isinstance(whole, dict):
        yield from whole.items()
    elif not isinstance(whole, type | torch.Tensor | Slot):
        yield from getattr(whole, "__dict__", {}).items()


def _replaced(whole: Any, others: Mapping[int, Any]) -> Any:
    """A deep copy in which what `others` names by identity is another thing; all other tensors are shared."""
    shared = {id(tensor): tensor for _, tensor in _leaves(whole, torch.Tensor)}
    return copy.deepcopy(whole, {**shared, **others})
