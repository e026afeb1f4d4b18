"""A network's fingerprint: which parameters and buffers it has, their shapes and their very bits (SHA-256, shortened).

Plans carry it, so that a plan made for one network is refused by another, with the first thing that differs. Synthetic
operands are told apart by their distribution and seed, which decide all their numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from bitwright.later import torch
from bitwright.networks.network import Network
from bitwright.networks.synthetic import describe

SYNTHETIC = "synthetic operands"
DIGITS = 16  # hexadecimal digits kept of each hash: no two networks of a study coincide by chance


def fingerprint(network: Network) -> dict[str, str]:
    """Parameter or buffer name -> "shape type hash"; for a network without a module, its sites."""
    synthetic = {SYNTHETIC: describe(network)} if network.distribution else {}
    if network.module is None:
        return synthetic | {site.name: f"{site.groups}x{site.m}x{site.k}x{site.n}" for site in network.sites}
    return synthetic | {name: _describe(tensor) for name, tensor in network.module.state_dict().items()}


def difference(made_for: Mapping[str, str], given: Mapping[str, str]) -> str | None:
    """What distinguishes two fingerprints, in one clause; None if nothing does."""
    drawn = [each.get(SYNTHETIC, f"no {SYNTHETIC}") for each in (given, made_for)]
    if drawn[0] != drawn[1]:
        return f"it has {drawn[0]} instead of {drawn[1]}"
    missing = sorted(set(made_for) - set(given))
    extra = sorted(set(given) - set(made_for))
    if missing:
        return f"it has no parameter {missing[0]!r}" + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else "")
    if extra:
        return f"it has a further parameter {extra[0]!r}" + (f" (and {len(extra) - 1} more)" if len(extra) > 1 else "")
    for name, before in made_for.items():
        if given[name] != before:
            old, new = before.rsplit(" ", 1)[0], given[name].rsplit(" ", 1)[0]
            what = "other values" if old == new else f"shape and type {new} instead of {old}"
            return f"its parameter {name!r} has {what}"
    return None


def _describe(tensor: Any) -> str:
    if isinstance(tensor, tuple | list):  # packed weights of torch's own quantization
        return f"[{', '.join(map(_describe, tensor))}]"
    if not isinstance(tensor, torch.Tensor):
        return repr(tensor)
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    shape = f"{'x'.join(map(str, tensor.shape)) or 'scalar'} {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.is_meta:
        return f"{shape} meta"
    return f"{shape} {hashlib.sha256(bits_of(tensor)).hexdigest()[:DIGITS]}"


def bits_of(tensor: torch.Tensor) -> memoryview:
    """All bits of a tensor, in the order of its elements."""
    flat = tensor.detach().to_dense().cpu().contiguous().reshape(-1)
    if flat.numel() == 1:  # torch calls it contiguous whatever its stride is, which may be 0
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().data
