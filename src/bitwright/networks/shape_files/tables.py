"""Tables with a row for every layer: SCALE-Sim's topologies of convolutions and of GEMMs, and GEMMs of other origin.

SCALE-Sim (Samajdar et al., ISPASS 2020; scalesim/topology_utils.py of version 3) reads columns by their place, below
one line of heads: name, IFMAP height and width, filter height and width, channels, filters, stride, and in version 3 a
sparsity of weights as N:M; in its GEMM mode name, M, N, K. Its rows end with a comma; here they need not. Of an input
that is h long, a filter that is r long and a stride of s it counts ceil((h - r + s) / s) outputs, so that the last
window may hang over; there is no padding, which inputs have already. A convolution with DP in its name stands for as
many as it has channels, each of one channel. GEMMs without heads are name, M, K, N and groups, or M, K, N.
"""

import csv
import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.networks.shape_files.layers import Layer, brief, listed, name_of, network_of, size_of
from bitwright.networks.shape_files.nests import read_extent
from bitwright.networks.sites import ConvGeometry, Site
from bitwright.networks.workload import conv_site, gemm_site

CONV_COLUMNS = ("IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter", "Strides")
GEMM_FORM = "name,M,K,N or name,M,K,N,groups"
HEADS = {
    "name": ("layer", "layername", "name", "l", "label", "op", "operation", "gemm", ""),
    "groups": ("groups", "group", "g"),
    "count": ("count", "repeat", "repeats", "times"),
    "sparsity": ("sparsity", "sparsityratio"),
    "stride width": ("stridewidth", "stridesw", "stridew"),
    "batch": ("batchsize", "batch", "b"),
}
SPARSITY = re.compile(r"\s*(\d{1,9})\s*:\s*(\d{1,9})\s*")
DEPTHWISE = re.compile(r"(?<![a-z])(dw|depth-?_?wise)(?![a-z])", re.IGNORECASE)
DEPTHWISE_MARK = "DP"
COMMENT = "#"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table.

    Attributes
    ----------
    where : str
        File and line.
    cells : tuple of str
        Without spaces around them, and without an empty last one.
    """

    where: str
    cells: tuple[str, ...]

    def error(self, message: str) -> InputError:
        """What is wrong with it."""
        return InputError(f"{self.where}: {message}.")


def build(text: str, path: str) -> Network | None:
    """The network of a table, None where the text is none that is known.

    Raises
    ------
    InputError
        With file and line, for the first row that cannot be used.
    """
    rows = _rows(text, path)
    try:
        first = next(rows, None)
    except InputError:
        return None
    if first is None:
        return None
    heads = tuple(re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in first.cells)
    if _are_convolutions(heads):
        return _table(rows, path, _Convolutions(heads, first), "SCALE-Sim topology")
    if {"m", "n", "k"} <= set(heads):
        return _table(rows, path, _Gemms(heads, first), "table of GEMMs")
    if _is_headless(first):
        table = _Gemms(("m", "k", "n") if len(first.cells) == 3 else ("name", "m", "k", "n", "groups"), first)
        table.notes.append(f"the table has no heads and is read as {GEMM_FORM}")
        return _table(_with(first, rows), path, table, "table of GEMMs")
    return None


def _with(first: Row, rows: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rows


def _rows(text: str, path: str) -> Iterator[Row]:
    """The lines that have anything; what separates cells is what the first line has: comma, semicolon or tab."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((each for each in ",;\t" if each in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=separator, skipinitialspace=True)
    while True:
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}; a line of a table is expected.") from error
        while cells and not cells[-1]:
            cells.pop()
        if cells and not cells[0].startswith(COMMENT):
            yield Row(where=f"{path}, line {reader.line_num}", cells=tuple(cells))


def _are_convolutions(heads: Sequence[str]) -> bool:
    return len(heads) >= 8 and heads[1].startswith("ifmap") and heads[3].startswith("filter")


def _is_headless(row: Row) -> bool:
    """Whether the first line is a product already: three sizes, or a name and three or four."""
    numbers = [cell.isascii() and cell.isdigit() for cell in row.cells]
    return (len(numbers) == 3 and all(numbers)) or (len(numbers) in {4, 5} and all(numbers[1:]))


def _table(rows: Iterator[Row], path: str, table: "_Convolutions | _Gemms", form: str) -> Network:
    layers = []
    headings = []
    for number, row in enumerate(rows, 1):
        if len(row.cells) == 1:
            headings.append(name_of(row.cells[0], ""))
            continue
        try:
            layers.append(Layer(site=table.site(row, f"layer{number}"), where=row.where))
        except ValueError as error:
            raise row.error(str(error)) from error
    if not layers:
        raise InputError(f"{path} has heads and no layers below them; a row for every layer is expected.")
    notes = [f"lines with a name alone are taken for headings: {listed(headings)}"] if headings else []
    return network_of(layers, name=Path(path).stem, source=f"{form} {path}", notes=[*notes, *table.all_notes()])


class _Gemms:
    """Rows of m, k, n and groups, wherever the heads have them."""

    def __init__(self, heads: Sequence[str], row: Row) -> None:
        self.heads = heads
        self.places = {key: heads.index(key) for key in ("m", "k", "n")}
        self.groups, self.count, self.sparsity = (_place(heads, key) for key in ("groups", "count", "sparsity"))
        self.named = _place(heads, "name")
        self.notes: list[str] = []
        self.sparse: list[str] = []
        if len(set(heads) & {"m", "k", "n"}) != sum(head in {"m", "k", "n"} for head in heads):
            raise row.error("M, N or K heads two columns; one of each is expected")
        if (batch := _place(heads, "batch")) is not None:
            raise row.error(
                f"what {brief(row.cells[batch])} multiplies is not known; multiply it into M where all share the "
                "weights, or call it groups where every one has its own"
            )
        known = {*self.places.values(), self.groups, self.count, self.sparsity, self.named}
        self.notes += _unread(row.cells, known, heads)

    def site(self, row: Row, otherwise: str) -> Site:
        """The product of a row. Raises ValueError."""
        name = name_of(row.cells[self.named or 0] if _has(row, self.named) else "", otherwise)
        sizes = {}
        for key, place in self.places.items():
            if place >= len(row.cells):
                raise ValueError(f"there is no {key.upper()}; a size for each of M, N and K is expected")
            sizes[key] = size_of(row.cells[place], key.upper())
        groups = size_of(row.cells[self.groups or 0], "groups") if _has(row, self.groups) else 1
        if _has(row, self.sparsity) and _is_sparse(row.cells[self.sparsity or 0]):
            self.sparse.append(name)
        count = size_of(row.cells[self.count or 0], "count") if _has(row, self.count) else 1
        site = gemm_site(name=name, op="linear", groups=groups, static_weight=True, **sizes)
        return dataclasses.replace(site, count=count)

    def all_notes(self) -> list[str]:
        """What is to be said of the table."""
        return [*self.notes, *_of_sparsity(self.sparse)]


class _Convolutions:
    """Rows of a topology: columns by their place, as SCALE-Sim reads them; what stands behind them, by its head."""

    def __init__(self, heads: Sequence[str], row: Row) -> None:
        self.last = len(CONV_COLUMNS)
        behind = {key: _place(heads, key, self.last + 1) for key in ("sparsity", "stride width", "batch")}
        self.sparsity, self.stride_width, self.batch = behind.values()
        known = {*range(self.last + 1), *behind.values()}
        self.notes = _unread(row.cells, known, heads)
        self.of: dict[str, list[str]] = {key: [] for key in ("sparse", "over", "channels", "one filter", "one channel")}

    def site(self, row: Row, otherwise: str) -> Site:
        """The convolution of a row. Raises ValueError."""
        name = name_of(row.cells[0], otherwise)
        if len(row.cells) <= self.last:
            missing = CONV_COLUMNS[len(row.cells) - 1]
            raise ValueError(
                f"it ends before {missing}; a name and {self.last} numbers are expected: {', '.join(CONV_COLUMNS)}"
            )
        height, width, kernel_h, kernel_w, channels, filters, stride = (
            size_of(cell, what) for cell, what in zip(row.cells[1 : self.last + 1], CONV_COLUMNS, strict=True)
        )
        strides = (stride, self._number(row, self.stride_width, "stride width", stride))
        outputs = _outputs("height", height, kernel_h, strides[0]), _outputs("width", width, kernel_w, strides[1])
        pairs = zip(outputs, (kernel_h, kernel_w), strides, strict=True)
        read = [read_extent(output=output, kernel=kernel, stride=step) for output, kernel, step in pairs]
        if read[0] > height or read[1] > width:
            self.of["over"].append(name)
        groups = channels if DEPTHWISE_MARK in name else 1
        self._note(name, row, kernel_h * kernel_w, channels, filters)
        return conv_site(
            name=name,
            batch=self._number(row, self.batch, "batch size", 1),
            filters=filters * groups,
            groups=groups,
            geometry=ConvGeometry(
                kernel=(kernel_h, kernel_w),
                stride=strides,
                padding=(0, 0),
                dilation=(1, 1),
                channels=channels,
                input_size=(max(read[0], height), max(read[1], width)),
                output_size=outputs,
            ),
        )

    def _number(self, row: Row, place: int | None, what: str, otherwise: int) -> int:
        return size_of(row.cells[place or 0], what) if _has(row, place) else otherwise

    def _note(self, name: str, row: Row, area: int, channels: int, filters: int) -> None:
        """What a row leaves open."""
        if _has(row, self.sparsity) and _is_sparse(row.cells[self.sparsity or 0]):
            self.of["sparse"].append(name)
        if DEPTHWISE_MARK in name:
            self.of["channels"].append(name)
        elif channels == 1 and (DEPTHWISE.search(name) or any(DEPTHWISE.search(cell) for cell in row.cells[8:])):
            self.of["one channel"].append(name)
        elif filters == 1 and channels > 1 and area > 1:
            self.of["one filter"].append(name)

    def all_notes(self) -> list[str]:
        """What is to be said of the table."""
        words: dict[str, Callable[[str], str]] = {
            "over": lambda names: (
                f"{names}: the last window hangs over the input, as SCALE-Sim counts outputs "
                "(ceil((h - r + s) / s)); torch would count one less"
            ),
            "channels": lambda names: (
                f"{names}: depthwise, since {DEPTHWISE_MARK} is in the name, as SCALE-Sim reads it: "
                "every channel has its own filters"
            ),
            "one channel": lambda names: (
                f"{names}: called depthwise, but of one channel, which is what is costed; a "
                f"name with {DEPTHWISE_MARK} and all channels would be all of it"
            ),
            "one filter": lambda names: (
                f"{names}: one filter over several channels, costed as such, as SCALE-Sim does; "
                f"where a depthwise one is meant (as many multiply-accumulates), put {DEPTHWISE_MARK} in its name"
            ),
        }
        open_questions = [says(listed(self.of[key])) for key, says in words.items() if self.of[key]]
        return [*self.notes, *open_questions, *_of_sparsity(self.of["sparse"])]


def _outputs(axis: str, size: int, kernel: int, stride: int) -> int:
    """Outputs along an axis, as SCALE-Sim counts them."""
    if kernel > size:
        raise ValueError(f"the filter's {axis} is {kernel:,}, but the IFMAP's is {size:,}; SCALE-Sim refuses that too")
    return -(-(size - kernel + stride) // stride)


def _has(row: Row, place: int | None) -> bool:
    return place is not None and place < len(row.cells) and bool(row.cells[place]) and row.cells[place][0] != COMMENT


def _place(heads: Sequence[str], key: str, start: int = 0) -> int | None:
    return next((i for i, head in enumerate(heads) if i >= start and head in HEADS[key]), None)


def _is_sparse(cell: str) -> bool:
    """Whether a ratio leaves out weights. Raises ValueError for what is no ratio."""
    ratio = SPARSITY.fullmatch(cell)
    if ratio is None or not 0 < int(ratio[1]) <= int(ratio[2]):
        raise ValueError(f"sparsity is {brief(cell)}; N:M with N of M weights kept is expected, such as 2:4")
    return ratio[1] != ratio[2]


def _of_sparsity(names: Sequence[str]) -> list[str]:
    return [f"{listed(names)}: the sparsity of weights is left out, products are dense"] if names else []


def _unread(cells: Sequence[str], known: set[int | None], heads: Sequence[str]) -> list[str]:
    names = [brief(cell) for i, cell in enumerate(cells) if i not in known and heads[i]]
    return [f"columns that are not read: {listed(names)}"] if names else []
