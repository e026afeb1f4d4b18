"""What becomes of everything that a network does: mapped to a site, on the vector unit, free, or refused and why.

Recorded while one inference runs, where torch executes it, so that nothing is left out: every multiply-accumulate is in
one line. Of a network from an ONNX file the lines are the file's nodes, all of them, those that never run included; of
any other they are the operators of each module.
"""

import dataclasses
import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypedDict

import torch

from bitwright.networks.counting import OperatorCounts
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.onnx.built import NODES, Became, Built
from bitwright.networks.sites import OFFLINE, Site
from bitwright.networks.trace import example_batch
from bitwright.networks.view import GemmView
from bitwright.shown import Headline, Table, Tabled

PRODUCTS = frozenset(
    {
        *("Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul", "FusedMatMul", "Attention", "LSTM", "GRU", "RNN"),
        *("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulNBits"),
    }
)
NOT_REACHED = "a product that this input does not reach, such as one in a branch that is not taken"
"""Why one of these costs nothing: the inference that is accounted for does without it."""


class Place(enum.StrEnum):
    """Where a node's work is done."""

    MAPPED = "mapped"
    """On the array, as a site."""
    VECTOR = "vector unit"
    FREE = "free"
    """A view, a constant, or known before the inference."""
    REFUSED = "refused"
    """A product that an inference computes and that is no site, so that no machine costs it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeLine:
    """One node.

    Attributes
    ----------
    name : str
        The node's of a file; otherwise the path of the module.
    operator : str
        Of ONNX, or of torch.
    place : Place
        Where its work is done.
    sites : tuple of str
        The sites that it is mapped to.
    calls, elements : int
        Operators that ran outside sites, and elements that they made.
    macs : int
        Multiply-accumulates of one inference.
    why : str
        Of what is free or refused; of others what is to be said.
    """

    name: str
    operator: str
    place: Place
    sites: tuple[str, ...] = ()
    calls: int = 0
    elements: int = 0
    macs: int = 0
    why: str = ""


class NodeFrameLine(TypedDict):
    """A node."""

    name: Annotated[str, "the node's of a file; otherwise the path of the module"]
    operator: Annotated[str, "of ONNX, or of torch"]
    place: Annotated[str, "mapped, vector unit, free or refused"]
    sites: Annotated[str, "that it is mapped to, separated by commas"]
    calls: Annotated[int, "operators that ran outside sites"]
    elements: Annotated[int, "that these made"]
    macs: Annotated[int, "multiply-accumulates of one inference"]
    why: Annotated[str, "it is free or refused"]


class PlaceFigures(TypedDict):
    """What is done at a place."""

    nodes: Annotated[int, "whose work is done there"]
    share_of_macs: Annotated[float, "of all multiply-accumulates, 0 .. 1"]


class PlaceLine(PlaceFigures):
    """A place where work is done."""

    place: Annotated[str, "mapped, vector unit, free or refused"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class NodeReport(Tabled):
    """Every node of a network and where its work is done; `.frame()` has them as a table.

    Frames: `nodes`, one line each; `places`, one per place.

    Attributes
    ----------
    network : str
        Its name.
    lines : tuple of NodeLine
        In the order of the file, or of the inference.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {
        "nodes": Table(NodeFrameLine, lambda found: found._node_lines()),
        "places": Table(PlaceLine, lambda found: found._place_lines()),
    }

    network: str
    lines: tuple[NodeLine, ...]

    @property
    def macs(self) -> int:
        """Of one inference, wherever they are done."""
        return sum(line.macs for line in self.lines)

    def count(self, place: Place) -> int:
        """Nodes of a place."""
        return sum(line.place is place for line in self.lines)

    def share(self, place: Place) -> float:
        """The share of multiply-accumulates, of 1; 0 where there are none at all."""
        macs = sum(line.macs for line in self.lines if line.place is place)
        return macs / self.macs if self.macs else 0.0

    def headline(self) -> Headline:
        """How many nodes are where, with their share of the multiply-accumulates."""
        figures = [
            (str(place), f"{self.count(place):,} nodes, {100 * self.share(place):.4g} % of MACs")
            for place in Place
            if self.count(place)
        ]
        return Headline(f"{self.network}: {len(self.lines):,} nodes, {self.macs:,} MACs", figures)

    @property
    def places(self) -> dict[str, PlaceFigures]:
        """What is done where."""
        return {str(each): {"nodes": self.count(each), "share_of_macs": self.share(each)} for each in Place}

    def _node_lines(self) -> Iterator[NodeFrameLine]:
        for line in self.lines:
            yield {
                "name": line.name,
                "operator": line.operator,
                "place": str(line.place),
                "sites": ", ".join(line.sites),
                "calls": line.calls,
                "elements": line.elements,
                "macs": line.macs,
                "why": line.why,
            }

    def _place_lines(self) -> Iterator[PlaceLine]:
        for place, figures in self.places.items():
            yield {"place": place, **figures}


def report_nodes(network: Network, batch: Batch | None = None) -> NodeReport:
    """What becomes of everything in one inference of `batch` (the network's own example if None).

    A network that is a list of products has these alone.
    """
    if network.module is None:
        listed = (
            NodeLine(name=site.name, operator=site.op, place=Place.MAPPED, sites=(site.name,), macs=site.macs)
            for site in network.sites
        )
        return NodeReport(network=network.name, lines=tuple(listed))
    record = _record(network, example_batch(network) if batch is None else batch)
    built: Sequence[Built] | None = network.tools.get(NODES)
    lines = _of_modules(record) if built is None else _of_file(record, built)
    return NodeReport(network=network.name, lines=tuple(lines))


@dataclasses.dataclass
class _Work:
    """What was counted of one operator at one path."""

    calls: int = 0
    elements: int = 0
    macs: int = 0
    sites: tuple[str, ...] = ()
    view: bool = False
    reason: str = ""

    @property
    def place(self) -> Place:
        """Where it is done."""
        if self.sites:
            return Place.MAPPED
        if self.reason:
            return Place.FREE if self.reason == OFFLINE else Place.REFUSED
        return Place.FREE if self.view or not self.elements else Place.VECTOR


Record = dict[tuple[str, str], _Work]


class _PathCounts(OperatorCounts):
    """Operators by the path of the module that is running."""

    def __init__(self) -> None:
        super().__init__()
        self.record: Record = {}
        self.mode: SiteMode | None = None

    def entry(self, name: str, reason: str = "") -> _Work:
        """The work of an operator where the network is now."""
        assert self.mode is not None
        key = (self.mode.path, f"{name} ({reason})" if reason else name)
        return self.record.setdefault(key, _Work(reason=reason))

    def add(self, func: Any, args: Any, kwargs: Any, result: Any, why: str = "") -> None:
        """One operator; a view has a line too, and moves nothing."""
        if isinstance(func, torch._ops.OpOverload) and func.is_view:
            entry = self.entry(func.overloadpacket.__name__.strip("_"))
            entry.calls, entry.view = entry.calls + 1, True
            return
        super().add(func, args, kwargs, result, why)

    def add_offline(self, site: Site) -> None:
        """A product that no inference computes: its multiply-accumulates are none of an inference's."""
        entry = self.entry(site.op, OFFLINE)
        entry.calls += 1

    def _count(self, name: str, reason: str, macs: int, work: int, result: Any) -> None:
        del work
        entry = self.entry(name, reason)
        parts = result if isinstance(result, tuple | list) else (result,)
        entry.calls, entry.macs = entry.calls + 1, entry.macs + macs
        entry.elements += sum(part.numel() for part in parts if isinstance(part, torch.Tensor))


def _record(network: Network, batch: Batch) -> Record:
    counts = _PathCounts()

    def handle(site: Site, view: GemmView) -> torch.Tensor:
        entry = counts.entry(f"{site.op}: {site.name}")
        entry.calls, entry.macs = entry.calls + 1, entry.macs + site.macs
        entry.sites = (site.name,)
        return view.float_result()

    assert network.module is not None
    mode = SiteMode(network.module, torch.no_grad()(handle), counts=counts)
    counts.mode = mode
    with torch.no_grad(), mode:
        network.forward(batch)
    return counts.record


def _of_modules(record: Record) -> Iterable[NodeLine]:
    for (path, operator), work in record.items():
        yield NodeLine(
            name=path,
            operator=operator.partition(": ")[0].partition(" (")[0],
            place=work.place,
            sites=work.sites,
            calls=work.calls,
            elements=work.elements,
            macs=work.macs,
            why=work.reason or ("a view" if work.view else ""),
        )


def _of_file(record: Record, built: Sequence[Built]) -> Iterable[NodeLine]:
    """The nodes of a file: what was counted at the path of each, and below it."""
    paths = {path for each in built if each.became is Became.MODULE for path in (each.path, *each.also)}
    by_path: dict[str, list[_Work]] = {}
    for (path, _), work in record.items():
        by_path.setdefault(_owner(path, paths), []).append(work)
    for each in built:
        works = [work for path in (each.path, *each.also) for work in by_path.get(path, [])]
        if each.became is Became.MODULE:
            yield _line(each, works)
        elif each.became is Became.JOINED:
            place = _line(dataclasses.replace(each, became=Became.MODULE), works)
            yield NodeLine(
                name=each.node.name,
                operator=each.node.op,
                place=place.place,
                sites=place.sites,
                why=f"part of {each.path}",
            )
        else:
            why = "constant: computed when the file is read" if each.became is Became.CONSTANT else "known from shapes"
            yield NodeLine(name=each.node.name, operator=each.node.op, place=Place.FREE, why=why)


def _owner(path: str, paths: set[str]) -> str:
    """The node whose module a path is, or is inside of."""
    while path and path not in paths:
        path = path.rpartition(".")[0]
    return path


def _line(each: Built, works: Sequence[_Work]) -> NodeLine:
    places = Counter(work.place for work in works)
    place = next((place for place in (Place.REFUSED, Place.MAPPED, Place.VECTOR) if places[place]), Place.FREE)
    reasons = dict.fromkeys(work.reason for work in works if work.reason)
    aside = sum(work.elements for work in works if work.place is Place.VECTOR)
    if place is Place.MAPPED and aside:
        reasons[f"and {aside:,} elements on the vector unit"] = None
    if place is Place.FREE and not reasons:
        reasons["a view" if works else NOT_REACHED if each.node.op in PRODUCTS else "nothing runs"] = None
    return NodeLine(
        name=each.node.name,
        operator=each.node.op,
        place=place,
        sites=tuple(dict.fromkeys(name for work in works for name in work.sites)),
        calls=sum(work.calls for work in works if work.place is not Place.MAPPED),
        elements=sum(work.elements for work in works),
        macs=sum(work.macs for work in works),
        why="; ".join(reasons),
    )
