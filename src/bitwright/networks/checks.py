"""Checks at the door: input shapes that make sense, and weights that are numbers."""

import torch

from bitwright.errors import InputError
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


def check_device(device: str) -> torch.device:
    """The torch device of that name; `InputError` if there is none here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {device!r} cannot be used here; use cpu, or cuda where torch sees a GPU.") from error
    return found


def check_finite(module: torch.nn.Module, name: str) -> None:
    """Raise `InputError` naming the first parameter of network `name` that holds NaN or infinity."""
    for path, parameter in module.named_parameters():
        if parameter.is_meta or not parameter.is_floating_point():
            continue
        bad = int((~torch.isfinite(parameter.detach())).sum())
        if bad:
            raise InputError(
                f"{name}: parameter {path!r} holds NaN or infinity in {bad} of its {parameter.numel()} values; "
                "a network that computes numbers is needed, so repair or reload its weights."
            )
