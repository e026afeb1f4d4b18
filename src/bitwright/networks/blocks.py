"""A network as a chain of blocks, so that a run can begin in the middle.

Most networks hold their repeated part in a list whose members run once each, one after the other (`ModuleList`,
`Sequential`). A run that changes nothing before the b-th of them can take the outputs of those before from an earlier
run: each skipped block returns what it returned then, whatever else happens in between. `Chain.check` holds both ways
of running equal before anyone relies on it.
"""

import contextlib
import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chain:
    """The blocks of a network.

    Attributes
    ----------
    network : Network
        Whose module the blocks are of.
    blocks : tuple of str
        Module paths, in the order in which they run; empty where no chain was found.
    index : mapping
        Site name -> how many blocks need not run when this site changes: its own block's place, or the number of
        blocks that ran before a site outside of them.
    """

    network: Network
    blocks: tuple[str, ...]
    index: Mapping[str, int]

    @property
    def count(self) -> int:
        """Of places where a run can begin: every block, and after the last."""
        return len(self.blocks) + 1

    def run(
        self, batch: Batch, *, start: int = 0, outputs: Mapping[int, Any] | None = None, keep: "Keep | None" = None
    ) -> torch.Tensor:
        """The network's output, beginning at block `start` with the `outputs` of those before.

        `keep(i, output)` is told what block i returned, if it ran.
        """
        assert self.network.module is not None
        modules = [self.network.module.get_submodule(path) for path in self.blocks]
        with contextlib.ExitStack() as stack:
            for i, module in enumerate(modules):
                if i < start:
                    assert outputs is not None
                    stack.enter_context(_returning(module, outputs[i]))
                elif keep is not None:
                    handle = module.register_forward_hook(lambda _, __, found, i=i: keep(i, found))
                    stack.callback(handle.remove)
            return self.network.forward(batch)

    def check(self, batch: Batch) -> "Chain":
        """The chain itself if runs from its blocks repeat a whole run bit by bit, else one without blocks.

        A run from the last block tells; where later blocks write into outputs of earlier ones, or sites are told apart
        by how often they ran, every block is tried. Each site leaves its name in what it computes.
        """
        assert self.network.module is not None
        kept: dict[int, Any] = {}
        versions: dict[int, list[float]] = {}

        def keep(i: int, output: Any) -> None:
            kept[i], versions[i] = output, _versions(output)

        def run(**how: Any) -> torch.Tensor:
            assert self.network.module is not None
            with SiteMode(self.network.module, _named_result):
                return self.run(batch, **how)

        with torch.no_grad():
            whole = run(keep=keep).clone()  # it may be what the last block returned, and be written to
            written = any(_versions(kept[i]) != versions[i] for i in kept)
            counted = any("#" in name for name in self.index)
            first = 1 if written or counted else len(self.blocks)
            if len(kept) == len(self.blocks) and all(
                torch.equal(whole, run(start=start, outputs=kept)) for start in range(first, len(self.blocks) + 1)
            ):
                return self
        return dataclasses.replace(self, blocks=(), index=dict.fromkeys(self.index, 0))


Keep = Callable[[int, Any], None]


def _versions(output: Any) -> list[float]:
    """How often each tensor of a block's output was written to; NaN, never equal, where torch does not count."""
    tensors = output if isinstance(output, tuple | list) else [output]
    return [float("nan") if t.is_inference() else t._version for t in tensors if isinstance(t, torch.Tensor)]


def _named_result(site: Site, view: GemmView) -> torch.Tensor:
    """A site's output, scaled by a number that belongs to its name."""
    return view.float_result() * (0.5 + zlib.crc32(site.name.encode()) / 2**33)


@contextlib.contextmanager
def _returning(module: torch.nn.Module, output: Any) -> Iterator[None]:
    """Meanwhile calling the module returns `output` and computes nothing."""
    module.forward = lambda *_, **__: output
    try:
        yield
    finally:
        del module.forward


def chain_of(network: Network, batch: Batch, sites: Sequence[str]) -> Chain:
    """The chain of `network` that holds most of `sites` (named in the order in which they run).

    Without one, the chain has no blocks and every run begins at the beginning.
    """
    assert network.module is not None
    order = _calls(network, batch)
    best: tuple[str, ...] = ()
    held = 0
    for path, module in network.module.named_modules():
        if not isinstance(module, torch.nn.ModuleList | torch.nn.Sequential):
            continue
        children = tuple(f"{path}.{name}" if path else name for name, _ in module.named_children())
        if len(children) < 2 or any(order.count(child) != 1 for child in children):
            continue
        places = [order.index(child) for child in children]
        count = sum(_owner(site, children) is not None for site in sites)
        if places == sorted(places) and count > held:
            best, held = children, count
    return Chain(network=network, blocks=best, index=_indices(sites, best)).check(batch)


def _calls(network: Network, batch: Batch) -> list[str]:
    """Paths of modules in the order in which they are called."""
    assert network.module is not None
    order: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda _, __, path=path: order.append(path))
        for path, module in network.module.named_modules()
    ]
    try:
        with torch.no_grad():
            network.forward(batch)
    finally:
        for handle in handles:
            handle.remove()
    return order


def _owner(site: str, blocks: Sequence[str]) -> int | None:
    path = site.split(":", maxsplit=1)[0]
    return next((i for i, block in enumerate(blocks) if path == block or path.startswith(f"{block}.")), None)


def _indices(sites: Sequence[str], blocks: Sequence[str]) -> dict[str, int]:
    index: dict[str, int] = {}
    passed = 0
    for site in sites:
        owner = _owner(site, blocks)
        passed = passed if owner is None else owner + 1
        index[site] = passed if owner is None else owner
    return index
