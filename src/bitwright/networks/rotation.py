"""Rotations: sites read their x in another orthogonal basis, where outliers are spread over all channels.

x W^T = (x Q)(W Q)^T for an orthogonal Q (QuaRot, Ashkboos et al., NeurIPS 2024; SpinQuant, Liu et al., ICLR 2025).
Weights are rotated offline. Where a recorded forward pass shows that x can be rotated offline too, it is: the residual
stream of a network with norms before its layers, whose gains move into the weights that read them, and the output of
attention, head by head through the value projection. Elsewhere x is rotated as the network runs, by a Hadamard matrix
(`bitwright.networks.hadamard`), which is an operator of the network like others: machines are charged for it.

Ours: a stream's Q is B S B^T, of random orthogonal B whose first column is constant and a random signed permutation S
that keeps the first axis. So Q keeps the mean of all channels, and a layer norm's subtraction of it.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import torch

from bitwright.errors import InputError
from bitwright.networks import hadamard
from bitwright.networks.dataflow import Dataflow, record
from bitwright.networks.network import Batch, Network
from bitwright.networks.online import rotate_at_run_time
from bitwright.networks.paley import largest_order
from bitwright.networks.provenance import (
    Reader,
    readers_of_sites,
    sites_by_tensor,
    value_projection,
)
from bitwright.networks.rotated_sites import Rotation, Where
from bitwright.networks.smoothing import untie
from bitwright.networks.streams import Norm, Stream, stream_of

SEED = 0
"""Of a stream's signed permutation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotationGroup:
    """Sites whose x can be rotated together, and what changes.

    Attributes
    ----------
    where : Where
        Offline or as the network runs.
    sites : tuple of str
        All that read in the new basis.
    channels : int
        Of x.
    readers : tuple of Reader
        Their weights.
    sources : tuple of torch.Tensor
        Parameters whose first axis is the channels that are rotated offline; of embeddings the last one.
    modules : tuple of torch.nn.Module
        Linear layers that rotate their input as the network runs.
    stream : Stream or None
        Of the residual stream, norms and embeddings.
    head : int
        Channels per head.
    """

    where: Where
    sites: tuple[str, ...]
    channels: int
    readers: tuple[Reader, ...] = ()
    sources: tuple[torch.Tensor, ...] = ()
    modules: tuple[torch.nn.Module, ...] = ()
    stream: Stream | None = None
    head: int = 0

    @property
    def block(self) -> int:
        """The largest power of two that divides what Hadamard matrices may rotate together; 0: none, of a stream."""
        return 0 if self.stream is not None else hadamard.block_of(self.head or self.channels)

    @property
    def largest_block(self) -> int:
        """The largest order of a Hadamard matrix that does."""
        return 0 if self.stream is not None else largest_order(self.head or self.channels)

    @torch.no_grad()
    def apply(self, rotation: Rotation) -> None:
        """Rotate weights in place, and have modules rotate their input."""
        if self.stream is not None:
            _apply_stream(self.stream, stream_matrix(self.channels))
            return
        block = rotation.block or self.block
        q = hadamard.matrix(block, block, signs=rotation.signs)
        for weight, axis in self.readers:
            _read_rotated(weight, axis, q)
        for source in self.sources:
            source.copy_(_rows_rotated(source, q))
        if rotation.at_run_time:
            rotate_at_run_time(self.modules, bits=rotation.bits, step=rotation.step, block=block, signs=rotation.signs)


def rotation_groups(network: Network, batch: Batch, *, stream: bool = True) -> list[RotationGroup]:
    """Every group of sites of `network` whose x can be rotated, in the order in which they run; no site is in two.

    Without `stream`, what reads the residual stream is rotated at run time.
    """
    assert network.module is not None
    flow = record(network, batch)
    shared = sites_by_tensor(network, flow)
    found = stream_of(flow, shared) if stream else None
    groups = [] if found is None else [_of_stream(found)]
    taken = {site for group in groups for site in group.sites}
    for tensor, sites in shared:
        if not taken & set(sites):
            group = _of_heads(flow, tensor, sites) or _at_run_time(network.module, flow, tensor, sites)
            groups += [] if group is None else [group]
    order = {name: i for i, name in enumerate(flow.sites)}
    return sorted(groups, key=lambda group: order[group.sites[0]])


def apply_rotations(network: Network, rotations: Mapping[str, Rotation], batch: Batch) -> None:
    """Rotate `network` in place as a plan says, by site name."""
    assert network.module is not None
    untie(network.module)
    stream = any(rotation.where is Where.STREAM for rotation in rotations.values())
    groups = [group for group in rotation_groups(network, batch, stream=stream) if group.sites[0] in rotations]
    found = {site: group.where for group in groups for site in group.sites}
    if found != {site: rotation.where for site, rotation in rotations.items()}:
        site = next(iter(set(rotations) - set(found)), next(iter(found), ""))
        raise InputError(
            f"the plan rotates what {site} of {network.name} reads, which cannot be done as it runs now (with another "
            "implementation of attention, say); run it as it was calibrated, or calibrate it anew"
        )
    for group in groups:
        rotation = rotations[group.sites[0]]
        if rotation.block and (group.head or group.channels) % rotation.block:
            raise InputError(
                f"the plan rotates what {group.sites[0]} of {network.name} reads in blocks of {rotation.block} "
                f"channels, which do not divide {group.head or group.channels}; calibrate it anew"
            )
        group.apply(rotation)


@functools.cache
def stream_matrix(channels: int) -> torch.Tensor:
    """Q [channels, channels] of a residual stream, float64: orthogonal, and it keeps the mean of all channels."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    drawn[:, 0] = 1
    basis, _ = torch.linalg.qr(drawn)  # its first column is constant
    signs = torch.randint(0, 2, (channels,), generator=generator).double() * 2 - 1
    signs[0] = 1
    moved = torch.cat([torch.zeros(1, dtype=torch.long), torch.randperm(channels - 1, generator=generator) + 1])
    return (basis * signs)[:, moved] @ basis.T


def _of_stream(stream: Stream) -> RotationGroup:
    sites = tuple(site for norm in stream.norms for site in norm.sites)
    return RotationGroup(where=Where.STREAM, sites=sites, channels=stream.channels, stream=stream)


def _of_heads(flow: Dataflow, tensor: torch.Tensor, sites: Sequence[str]) -> RotationGroup | None:
    readers = readers_of_sites(flow, list(sites))
    source = value_projection(flow, tensor, tensor.shape[-1])
    if readers is None or source is None or len(flow.readers_of(tensor)) != len(sites):
        return None
    if hadamard.block_of(source.head) == 1 or any(len(flow.readers_of(p)) != 1 for p in source.parameters):
        return None
    return RotationGroup(
        where=Where.HEADS,
        sites=tuple(sites),
        channels=tensor.shape[-1],
        readers=readers,
        sources=source.parameters,
        head=source.head,
    )


def _at_run_time(
    module: torch.nn.Module, flow: Dataflow, tensor: torch.Tensor, sites: Sequence[str]
) -> RotationGroup | None:
    """Linear layers that read one tensor, whoever reads it too."""
    readers, channels = readers_of_sites(flow, list(sites)), tensor.shape[-1]
    if readers is None or hadamard.block_of(channels) == 1:
        return None
    by_weight = {id(m.weight): m for m in module.modules() if isinstance(m, torch.nn.Linear)}
    modules = [by_weight.get(id(weight)) for weight, _ in readers]
    if any(each is None for each in modules):
        return None  # a function reads the weight, whose input nobody can turn
    return RotationGroup(
        where=Where.RUN_TIME,
        sites=tuple(sites),
        channels=channels,
        readers=readers,
        modules=tuple(each for each in modules if each is not None),
    )


def _apply_stream(stream: Stream, q: torch.Tensor) -> None:
    for norm in stream.norms:
        _absorb(norm)
        for weight, axis in norm.readers:
            _read_rotated(weight, axis, q)
    for source in stream.sources:
        source.copy_(_rows_rotated(source, q))
    for table in stream.tables:
        wide = torch.promote_types(table.dtype, torch.float32)
        table.copy_(table.to(wide) @ q.to(table.device, wide))


def _absorb(norm: Norm) -> None:
    """A norm's gain and bias into the weights and biases behind it, in place."""
    for (weight, axis), bias in zip(norm.readers, norm.biases, strict=True):
        if norm.bias is not None and bias is not None:
            bias.add_(weight @ norm.bias if axis == 1 else norm.bias @ weight)
        if norm.gain is not None:
            weight.mul_(norm.gain if axis == 1 else norm.gain.unsqueeze(1))
    if norm.gain is not None:
        norm.gain.fill_(1)
    if norm.bias is not None:
        norm.bias.zero_()


def _read_rotated(weight: torch.Tensor, axis: int, q: torch.Tensor) -> None:
    """A weight that reads x Q, block by block of len(q) channels, in place."""
    flat = weight if axis == 1 else weight.t()
    wide = torch.promote_types(weight.dtype, torch.float32)
    turned = (flat.to(wide).unflatten(1, (-1, len(q))) @ q.to(weight.device, wide)).flatten(1)
    weight.copy_(turned if axis == 1 else turned.t())


def _rows_rotated(source: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """A parameter [channels, ..] whose output is turned: Q^T of every block of len(q) rows."""
    wide = torch.promote_types(source.dtype, torch.float32)
    blocks = source.to(wide).reshape(-1, len(q), source[0].numel())
    return (q.to(source.device, wide).T @ blocks).reshape(source.shape)
