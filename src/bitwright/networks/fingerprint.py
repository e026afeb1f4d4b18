"""A network's fingerprint: which parameters it has, their shapes and their very bits (SHA-256).

Plans carry it, so that a plan made for one network is refused by another.
"""

import hashlib

import torch

from bitwright.networks.network import Network


def fingerprint(network: Network) -> str:
    """Hexadecimal SHA-256 of the names, shapes, types and values of all parameters and buffers."""
    digest = hashlib.sha256()
    if network.module is None:
        digest.update(repr(network.sites).encode())
        return digest.hexdigest()
    for name, tensor in network.module.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        if not tensor.is_meta:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()
