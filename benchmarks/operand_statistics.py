"""How wrong one price per operation is: what circuits of the four systems burn on real operands, by uniform ones.

    python benchmarks/operand_statistics.py [--liberty FILE] [--models NETWORK,...] [--systems NAME,...]
        [--plot FOLDER]

Energy per clock of the mapped netlist, without glitches. Every circuit works as in its array:

- int8 unit, LPA's element and Drift's bit group: a weight rests while 128 consecutive rows of x pass, and sums of the
  rows above come in;
- Panacea's operator: the slice vectors that are not skipped, kind after kind;
- APSQ's engine: sums of tiles of 16, one output after the other, in groups of two.

Sites of a network are drawn by their share of its products. Uniform and Laplace operands (mean magnitude an eighth of
the range's end) walk the same way, so that the difference is that of operands alone. `table` is what
`bitwright synthesize` prints for uniform operands, where whatever enters is uniform, sums from above too.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bitwright
from bitwright.circuits.bit_group import COLUMNS, DIGIT, PORT, BitGroup
from bitwright.circuits.circuit import Circuit, Integers, Words
from bitwright.circuits.energy import energy
from bitwright.circuits.lpa_pe import LpaPe
from bitwright.circuits.multiply_accumulate import MultiplyAccumulate
from bitwright.circuits.rae import Rae
from bitwright.circuits.slice_operator import SliceOperator
from bitwright.circuits.streams import SPREAD, stream
from bitwright.circuits.synthesis import synthesize
from bitwright.errors import InputError
from bitwright.exchange.export.vectors import matrices
from bitwright.formats import (
    Format,
    Integer,
    LogPosit,
    SlicedUnsigned,
    frequent_slice,
    signed_slices,
    unsigned_slices,
)
from bitwright.methods.apsq.rule import PartialSums
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor
from bitwright.methods.vectors import VECTOR, split_of
from bitwright.studies.inputs import simulation_input
from bitwright.studies.synthesis import DEBIAN_CELLS

CLOCKS, STREAMS = 128, 64
TILE = 16
WORDS = {4: LogPosit(n=8, es=1, rs=3), 5: LogPosit(n=8, es=0, rs=3)}
"""Synthetic log posits by width of their fractions: fields that `lp8` finds for tensors of networks."""
NARROW_BLOCK = 32
"""Elements of a sub-tensor, where operands are made narrow as `methods.drift.conversion` does (from zero)."""
MODELS, SYSTEMS = "minilm-l6,efficientnet-lite0,smollm2-135m", "int8,Panacea,APSQ,LP,Drift"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codes:
    """A part of a site's product, x [rows, K] by w [K, columns], and what a machine knows of it."""

    x: Integers
    w: Integers
    x_zero: int = 0
    formats: tuple[Format, Format] | None = None
    work: Execution | None = None


def layers(model: str, method: str) -> list[Execution]:
    """Every quantized execution of one input."""
    network = bitwright.load(model)
    plan = bitwright.calibrate(network, method, count=8)
    batch, _ = simulation_input(network, seed=0)
    found: list[Execution] = []

    def listen(work: Execution) -> None:
        if work.x is not None and work.w is not None and work.view is not None:
            found.append(work)

    Executor(network, plan, listeners=[listen]).run(batch)
    return found


def parts(works: list[Execution], rows: int, columns: int, generator: np.random.Generator) -> Iterator[Codes]:
    """Consecutive rows and columns of groups of sites, which are drawn by their products; without end."""
    share = np.array([work.site.macs for work in works], float)
    drawn = generator.choice(len(works), 4096, p=share / share.sum())
    kept: dict[int, tuple[Integers, Integers]] = {}
    for index in drawn:
        work = works[index]
        if index not in kept:
            assert work.view is not None
            assert work.x is not None
            assert work.w is not None
            kept[index] = matrices(work.view, work.x, work.w)
        x, w = kept[index]
        group = generator.integers(len(x))
        m = generator.integers(max(1, x.shape[1] - rows + 1))
        n = generator.integers(max(1, w.shape[2] - columns + 1))
        assert work.x is not None
        assert work.w is not None
        yield Codes(
            x=x[group, m : m + rows],
            w=w[group, :, n : n + columns],
            x_zero=int(work.x.zero_point),
            formats=(work.x.format, work.w.format),
            work=work,
        )


def drawn(kind: str, low: int, high: int, shape: tuple[int, ...], generator: np.random.Generator) -> Integers:
    """Synthetic codes."""
    if kind == "uniform":
        return generator.integers(low, high, shape, np.int64, endpoint=True)
    values = generator.laplace(0, (high + 1) / SPREAD, shape)
    found: Integers = np.clip(np.rint(values), low, high).astype(np.int64)
    return found


def synthetic(kind: str, generator: np.random.Generator) -> Iterator[Codes]:
    """Products of signed 8-bit codes."""
    while True:
        x, w = (drawn(kind, -127, 127, shape, generator) for shape in ((CLOCKS, 2 * CLOCKS), (2 * CLOCKS, 2)))
        yield Codes(x=x, w=w)


def stacked(streams: list[dict[str, Integers]]) -> dict[str, Integers]:
    """Streams [clocks(, lanes)] side by side."""
    return {name: np.stack([each[name] for each in streams], 1) for name in streams[0]}


def whole(source: Iterator[Codes], generator: np.random.Generator, columns: int) -> Iterator[Codes]:
    """Parts cut at a place of the reduction: what lies above it, and as many k as there are columns from it on."""
    for part in source:
        if len(part.x) == CLOCKS and part.w.shape[1] >= columns and part.x.shape[1] >= columns:
            end = int(generator.integers(columns, min(part.x.shape[1], 2 * CLOCKS) + 1))
            yield dataclasses.replace(part, x=part.x[:, :end], w=part.w[:end, :columns])


def integer_unit(source: Iterator[Codes], generator: np.random.Generator) -> dict[str, Integers]:
    """A weight rests, and sums come from the rows above."""
    found = []
    for part in whole(source, generator, 1):
        x, w = part.x - part.x_zero, part.w
        found.append(
            {
                "x": x[:, -1],
                "w": np.full(CLOCKS, w[-1, 0]),
                "load": np.ones(CLOCKS, np.int64),
                "sum_in": x[:, :-1] @ w[:-1, 0],
            }
        )
        if len(found) == STREAMS:
            break
    return stacked(found)


def bit_group(source: Iterator[Codes], generator: np.random.Generator, *, narrow: bool) -> dict[str, Integers]:
    """Wide products of one element and one column, or narrow ones of two elements and two columns."""
    found = []
    count = 2 if narrow else 1
    mode = np.full(CLOCKS, int(narrow))
    rest = {"from_east": 0 * mode, "from_below": 0 * mode, "begins": 0 * mode, "x_signed": 0 * mode + 1}
    for part in whole(source, generator, count):
        x, w = part.x - part.x_zero, part.w
        if narrow:
            x, w = narrowed(x), narrowed(w.T).T
        above = np.zeros((CLOCKS, COLUMNS), np.int64)
        above[:, :count] = x[:, :-count] @ w[:-count]
        bits = DIGIT if narrow else PORT
        word_x = sum((x[:, -count + i] & ((1 << bits) - 1)) << bits * i for i in range(count))
        word_w = sum(
            (int(w[-count + i, j]) & ((1 << bits) - 1)) << PORT * i + bits * j
            for i in range(count)
            for j in range(count)
        )
        found.append(
            {
                "x_west": word_x,
                "x_east": 0 * word_x,
                "sum_above": above,
                "sum_below": 0 * above,
                "w": np.full(CLOCKS, word_w),
                "load": 0 * mode + 1,
                "take": 0 * mode + 1,
                "x_narrow": mode,
                "w_narrow": mode,
                "w_signed": 0 * mode + 1,
                **rest,
            }
        )
        if len(found) == STREAMS:
            break
    return stacked(found)


def words_of(fmt: LogPosit, kind: str, generator: np.random.Generator) -> Iterator[Codes]:
    """Products of log posits: all words alike, or Laplace's values of mean magnitude 1."""
    shapes = (CLOCKS, 2 * CLOCKS), (2 * CLOCKS, 1)
    while True:
        if kind == "uniform":
            words = np.delete(np.arange(1 << fmt.n), 1 << (fmt.n - 1))  # all but NaR
            x, w = (generator.choice(words, shape) for shape in shapes)
        else:
            x, w = (
                fmt.encode(torch.from_numpy(generator.laplace(0, 1, shape)).float()).numpy().astype(np.int64)
                for shape in shapes
            )
        yield Codes(x=x, w=w, formats=(fmt, fmt))


def narrowed(codes: Integers) -> Integers:
    """4-bit codes of sub-tensors along the rows: as many low bits dropped as the largest needs."""
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % NARROW_BLOCK)))
    blocks = padded.reshape(len(codes), -1, NARROW_BLOCK)
    most = np.abs(blocks).max(2, keepdims=True)
    shift = np.zeros_like(most)
    for _ in range(4):
        shift += np.rint(most / 2.0**shift) > 7
    found: Integers = np.clip(np.rint(blocks / 2.0**shift), -7, 7).astype(np.int64)
    return found.reshape(len(codes), -1)[:, : codes.shape[1]]


def lpa(unit: LpaPe, source: Iterator[Codes], generator: np.random.Generator) -> dict[str, Integers] | None:
    """A weight rests; what stands at the sums' ports is what `feed_words` makes of the elements above.

    None where no layer's words have such fractions: the element rounds products of others differently.
    """
    found: list[dict[str, Integers]] = []
    for part in whole(source, generator, 1):
        assert part.formats is not None
        left, right = part.formats
        widths = [each.fraction_bits for each in (left, right) if isinstance(each, LogPosit)]
        if max(widths) != unit.fraction_bits:
            continue
        x, w = part.x.T, np.repeat(part.w, CLOCKS, 1)
        begins = np.zeros_like(x)
        begins[0] = 1
        try:
            fed = unit.feed_words(Words(codes=x, format=left), Words(codes=w, format=right), begins)
        except InputError:  # logarithms beyond the element's reach
            continue
        loaded = -2 if len(x) > 1 else -1
        found.append({name: values[loaded if name.startswith("w_") else -1] for name, values in fed.items()})
        if len(found) == STREAMS:
            return stacked(found)
    return None


def sliced_codes(kind: str, generator: np.random.Generator) -> Iterator[Codes]:
    """Products of asymmetric 8-bit activations by 7-bit weights, as Panacea has them, with real zero at 128."""
    formats = SlicedUnsigned(), Integer(bits=7)
    while True:
        x = 128 + drawn(kind, -128, 127, (VECTOR, 2 * CLOCKS), generator)
        w = drawn(kind, -64, 63, (2 * CLOCKS, VECTOR), generator)
        yield Codes(x=x, w=w, x_zero=128, formats=formats)


def slices(source: Iterator[Codes]) -> tuple[dict[str, Integers], float]:
    """Vectors of slices in the order of the kinds, and the share of them that is skipped."""
    xs, ws, begins, done, offered = [], [], [], 0, 0
    for part in source:
        if len(part.x) < VECTOR or part.w.shape[1] < VECTOR:
            continue
        assert part.formats is not None
        of_x, of_w = part.formats
        assert isinstance(of_x, Integer)
        split = split_of(of_x)
        high, low = unsigned_slices(torch.from_numpy(part.x), split)
        frequent = frequent_slice(part.x_zero, split)
        right = [each.numpy() for each in signed_slices(torch.from_numpy(part.w), int(of_w.bits))]
        for x, x_skipped in ((low.numpy(), None), (high.numpy(), frequent)):
            for j, w in enumerate(right):
                kept = np.ones(x.shape[1], bool)
                if x_skipped is not None:
                    kept &= ~(x == x_skipped).all(0)
                if j == len(right) - 1:
                    kept &= ~(w == 0).all(1)
                offered += len(kept)
                done += int(kept.sum())
                xs.append(x.T[kept])
                ws.append(w[kept])
                begins.append(np.eye(1, len(xs[-1]), dtype=np.int64)[0])
        if done >= CLOCKS * STREAMS:
            break
    cut = [np.concatenate(each)[: CLOCKS * STREAMS] for each in (xs, ws, begins)]
    x, w, clear = (each.reshape(STREAMS, CLOCKS, *each.shape[1:]).swapaxes(0, 1) for each in cut)
    return {"x": x, "w": w, "take": np.ones_like(clear), "clear": clear}, 1 - done / offered


def tiles(source: Iterator[Codes]) -> dict[str, Integers]:
    """Sums of tiles and their exponents: the plan's, or the least that hold all of a synthetic product's sums."""
    columns: dict[str, list[Integers]] = {"tile": [], "exponent": [], "first": [], "last": []}
    done = 0
    for part in source:
        x, w = part.x[:1], part.w[:, :1]
        count = -(-x.shape[1] // TILE)
        if count < 2:
            continue
        rule = part.work.plan.accumulation if part.work is not None else None
        centre: Any = part.x_zero
        if isinstance(rule, PartialSums) and rule.centres is not None:
            centre = np.tile(rule.centres.numpy(), -(-x.shape[1] // len(rule.centres)))[: x.shape[1]]
        products = np.pad((x - centre)[0] * w[:, 0], (0, -x.shape[1] % TILE))
        sums = products.reshape(count, TILE).sum(1)
        if isinstance(rule, PartialSums):
            exponents = np.array([int(scale).bit_length() - 1 for scale in rule.scales(count)])
        else:
            most = np.abs(sums.cumsum()).max()
            exponents = np.full(count, max(0, int(np.ceil(np.log2(most / 127)))))
        columns["tile"].append(sums)
        columns["exponent"].append(exponents)
        columns["first"].append(np.eye(1, count, dtype=np.int64)[0])
        columns["last"].append(np.eye(1, count, count - 1, dtype=np.int64)[0])
        done += count
        if done >= CLOCKS * STREAMS:
            break
    flat = {name: np.concatenate(each)[: CLOCKS * STREAMS] for name, each in columns.items()}
    found = {name: values.reshape(STREAMS, CLOCKS).T for name, values in flat.items()}
    found["tile"] = found["tile"][..., None]
    found["group"] = np.ones_like(found["first"])
    found["head"] = np.ones_like(found["first"])
    return found


Source = Callable[[str], Iterator[Codes]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """Energy of a circuit, by what it was fed with, in pJ a clock."""

    system: str
    circuit: str
    found: dict[str, float]
    skipped: dict[str, float] = dataclasses.field(default_factory=dict)


def plot(rows: list[Row], models: list[str], folder: Path) -> None:
    """A drawing per system: bars of energy by that of uniform operands."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ["table", "uniform", "laplace", *models]
    for system in dict.fromkeys(row.system for row in rows):
        own = [row for row in rows if row.system == system]
        height = 34 + sum(22 + 18 * len(kinds) for _ in own)
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}"',
            ' font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="8" y="18" font-weight="bold">{system}: energy per clock by that of uniform operands</text>',
        ]
        y = 28
        most = max(value / row.found["uniform"] for row in own for value in row.found.values())
        for row in own:
            lines.append(f'<text x="8" y="{y + 14}" font-style="italic">{row.circuit}</text>')
            y += 22
            for kind in (each for each in kinds if each in row.found):
                ratio = row.found[kind] / row.found["uniform"]
                fill = "#4878a8" if kind in models else "#b0b8c0"
                skips = f", {row.skipped[kind]:.0%} skipped" if row.skipped.get(kind) else ""
                lines += [
                    f'<text x="150" y="{y + 12}" text-anchor="end">{kind}</text>',
                    f'<rect x="156" y="{y + 1}" width="{340 * ratio / most:.1f}" height="14" fill="{fill}"/>',
                    f'<text x="{162 + 340 * ratio / most:.1f}" y="{y + 12}">{ratio:.2f}{skips}</text>',
                ]
                y += 18
        lines.append("</svg>")
        (folder / f"energy-{system.lower()}.svg").write_text("\n".join(lines) + "\n")


class Measuring:
    """Energies of one circuit after the other, printed as they come."""

    def __init__(self, liberty: Path, models: list[str], systems: list[str]) -> None:
        self.liberty, self.models, self.systems = liberty, models, systems
        self.rows: list[Row] = []

    def layers_or(self, method: str, rows: int, columns: int, made: Callable[..., Iterator[Codes]]) -> Source:
        """Parts of a network's layers, or what `made` makes of a distribution."""

        def source(kind: str) -> Iterator[Codes]:
            generator = np.random.default_rng(1)
            if kind in self.models:
                return parts(layers(kind, method), rows, columns, generator)
            return made(kind, generator)

        return source

    def measure(self, system: str, name: str, circuit: Circuit, feed: Callable[[str], Any]) -> None:
        """Energy under every kind of operands."""
        if system not in self.systems:
            return
        mapped, ports = synthesize(circuit, self.liberty), circuit.ports()

        def burnt(inputs: dict[str, Integers]) -> float:
            return energy(mapped, ports, inputs, glitches=False).pj

        found, skipped = {"table": burnt(stream(circuit, "uniform"))}, {}
        for kind in ("uniform", "laplace", *self.models):
            inputs = feed(kind)
            if inputs is None:
                continue
            if isinstance(inputs, tuple):
                inputs, skipped[kind] = inputs
            found[kind] = burnt(inputs)
        self.rows.append(Row(system=system, circuit=name, found=found, skipped=skipped))
        shown = "  ".join(f"{kind} {value / found['uniform']:5.2f}" for kind, value in found.items())
        note = "".join(f"; {kind} skips {share:.0%}" for kind, share in skipped.items() if share)
        print(f"{system:8} {name:34} {found['uniform']:7.2f} pJ | {shown}{note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liberty", type=Path, default=DEBIAN_CELLS)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--systems", default=SYSTEMS)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    models = given.models.split(",")
    circuits = Measuring(given.liberty, models, given.systems.split(","))

    def seeded() -> np.random.Generator:
        return np.random.default_rng(0)

    print("pJ a clock under uniform operands, and others by it\n")
    eight = circuits.layers_or("int8-sym", CLOCKS, 2, synthetic)
    unit = MultiplyAccumulate(stationary="weights")
    circuits.measure(
        "int8", "multiply-accumulate, weights rest", unit, lambda kind: integer_unit(eight(kind), seeded())
    )
    aqs = circuits.layers_or("aqs", VECTOR, VECTOR, sliced_codes)
    circuits.measure("Panacea", "slice-operator", SliceOperator(), lambda kind: slices(aqs(kind)))
    apsq = circuits.layers_or("int8+apsq-gs2", 1, 1, synthetic)
    engine = Rae(lanes=1, banks="registers")
    circuits.measure("APSQ", "rae, a lane, banks are registers", engine, lambda kind: tiles(apsq(kind)))
    for bits, fmt in WORDS.items():
        element = LpaPe(fraction_bits=bits)
        words = circuits.layers_or("lp8", CLOCKS, 1, functools.partial(words_of, fmt))
        circuits.measure(
            "LP",
            f"lpa-pe, 8 bits, fractions of {bits}",
            element,
            lambda kind, element=element, words=words: lpa(element, words(kind), seeded()),
        )
    for name, narrow in (("bit-group, 8 by 8 bits", False), ("bit-group, four of 4 by 4 bits", True)):
        circuits.measure(
            "Drift", name, BitGroup(), lambda kind, narrow=narrow: bit_group(eight(kind), seeded(), narrow=narrow)
        )
    if given.plot:
        plot(circuits.rows, models, given.plot)


if __name__ == "__main__":
    main()
