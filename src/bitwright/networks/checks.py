"""Checks at the door: input shapes that make sense, and weights that are numbers."""

from __future__ import annotations

import itertools

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.networks.network import InputShape

LARGEST = {"batch": 10**6, "sequence_length": 10**7, "image_size": 10**5}
"""Beyond what anybody runs; sizes of tensors made of them are still counted in 64 bits."""
PHASES = ("prefill", "decode")


def check_shape(shape: InputShape) -> None:
    """Raise `InputError` unless sizes are positive integers and the phase is known."""
    for field, most in LARGEST.items():
        value = getattr(shape, field)
        if value is None and field != "batch":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"input shape: {field} is {value!r}, a positive integer is expected.")
        if value > most:
            raise InputError(f"input shape: {field} is {value:,}, at most {most:,} is computed with.")
    if shape.phase not in PHASES:
        raise InputError(f"input shape: phase is {shape.phase!r}, expected one of {', '.join(PHASES)}.")


AUTO = "auto"


def place(device: str | None) -> str | None:
    """The device meant: auto is cuda where torch sees a GPU."""
    if device != AUTO:
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str) -> torch.device:
    """The torch device of that name; `InputError` if there is none here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {device!r} cannot be used here; use cpu, or cuda where torch sees a GPU.") from error
    return found


def check_plain(module: torch.nn.Module, name: str) -> None:
    """Raise `InputError` naming the first tensor of network `name` that has no numbers of its own to multiply.

    That is a parameter or buffer which keeps them in other tensors, as those of packages that quantize in place do, or
    a sparse parameter.
    """
    parameters = dict(module.named_parameters())
    for path, tensor in itertools.chain(parameters.items(), module.named_buffers()):
        if tensor.is_meta or torch.nn.parameter.is_lazy(tensor):
            continue
        if path in parameters and tensor.layout is not torch.strided:
            kind = f"of layout {str(tensor.layout).removeprefix('torch.')}"
        elif tensor.layout is torch.strided and not _has_memory(tensor):
            kind = f"a {type(tensor.data).__name__}, which keeps its numbers in other tensors"
        else:
            continue
        raise InputError(
            f"{name}: {path!r} is {kind}, and products with it cannot be followed; give the network with dense "
            "weights, as it was before it was quantized or packed"
        )


def _has_memory(tensor: torch.Tensor) -> bool:
    try:
        tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def check_finite(module: torch.nn.Module, name: str) -> None:
    """Raise `InputError` naming the first parameter of network `name` that holds NaN or infinity."""
    for path, parameter in module.named_parameters():
        if parameter.is_meta or not parameter.is_floating_point():
            continue
        values = parameter.detach()
        bad = int((~torch.isfinite(values.float() if values.element_size() == 1 else values)).sum())
        if bad:
            raise InputError(
                f"{name}: parameter {path!r} holds NaN or infinity in {bad} of its {parameter.numel()} values; "
                "a network that computes numbers is needed, so repair or reload its weights."
            )
