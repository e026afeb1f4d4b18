"""Standard cells from a Liberty file: areas, leakage, capacitances, delays and internal energies.

Units are those of the file, turned into um2 as they are, nW, pF, ns, V and pJ. Internal energy is what a cell burns
beside charging its load; Liberty's unit of it is that of voltage squared times that of capacitance.
"""

import codecs
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitwright.circuits.boolean import names_in, truth_table
from bitwright.circuits.netlist import MOST_INPUTS, CellKind
from bitwright.errors import InputError
from bitwright.files import read_bytes

LARGEST = 256 << 20  # bytes of a file
LOAD, TRANSITION = "total_output_net_capacitance", ("input_net_transition", "input_transition_time")
_TIME = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "ps": 1e-3, "fs": 1e-6}
_VOLTAGE = {"V": 1.0, "mV": 1e-3}
_POWER = {"mW": 1e6, "uW": 1e3, "nW": 1.0, "pW": 1e-3}
_CAPACITANCE = {"pf": 1.0, "ff": 1e-3}
_CLOCKED = ("rising_edge", "falling_edge")
_CAUSES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "positive_unate": ((0,), (1,)), "negative_unate": ((1,), (0,)), "non_unate": ((0, 1), (0, 1)),
    "rising_edge": ((1,), (1,)), "falling_edge": ((0,), (0,)),
}  # fmt: skip
"""Which edges of an input make an output fall, and rise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A number by load [pF] and input transition [ns], linear between grid points and beyond them."""

    loads: npt.NDArray[np.float64]
    transitions: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]

    def at(self, load: float, transition: float) -> float:
        """The number for a load and a transition.

        Examples
        --------
        >>> grid = Table(loads=np.array([0.0, 1.0]), transitions=np.array([0.0]), values=np.array([[1.0], [3.0]]))
        >>> grid.at(0.5, 0.2), grid.at(2.0, 0.2)
        (2.0, 5.0)
        """
        i, u = _between(self.loads, load)
        j, v = _between(self.transitions, transition)
        grid = self.values
        k, n = min(i + 1, len(self.loads) - 1), min(j + 1, len(self.transitions) - 1)
        low = grid[i, j] * (1 - v) + grid[i, n] * v
        high = grid[k, j] * (1 - v) + grid[k, n] * v
        return float(low * (1 - u) + high * u)


def _between(grid: npt.NDArray[np.float64], at: float) -> tuple[int, float]:
    if len(grid) == 1:
        return 0, 0.0
    i = int(np.clip(np.searchsorted(grid, at) - 1, 0, len(grid) - 2))
    return i, (at - grid[i]) / (grid[i + 1] - grid[i])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arc:
    """From a pin to an output: delays and transitions of rising and falling outputs, in ns; none of them: no arc.

    `causes` are the edges of the pin, 1 rising and 0 falling, by which the output falls, and by which it rises.
    """

    related: str
    causes: tuple[tuple[int, ...], tuple[int, ...]] = ((0, 1), (0, 1))
    rise: Table | None
    fall: Table | None
    rise_transition: Table | None
    fall_transition: Table | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Power:
    """Internal energies of a pin's rising and falling, in pJ; `related`: the input that made an output change."""

    related: str
    rise: Table | None
    fall: Table | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a library.

    Attributes
    ----------
    area : float
        In the library's unit, which is um2 in all that are public.
    leakage_nw : float
        Whatever its inputs are.
    kind : CellKind
        What it does.
    capacitance : mapping
        Input pin -> pF.
    arcs, powers : mapping
        By output pin; powers by any pin.
    setup : float
        Of a flip-flop, in ns, at the middle of its table.
    """

    area: float
    leakage_nw: float
    kind: CellKind
    capacitance: Mapping[str, float]
    arcs: Mapping[str, tuple[Arc, ...]]
    powers: Mapping[str, tuple[Power, ...]]
    setup: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Library:
    """Cells that a netlist may have, by name; those that are no gate and no plain flip-flop are left out."""

    name: str
    voltage: float
    cells: Mapping[str, Cell]

    @property
    def nand2_area(self) -> float:
        """Of the smallest cell that is a NAND of two inputs, which areas are counted in.

        Raises
        ------
        InputError
            A library without one.
        """
        return self.cells[self._smallest(2, 0b0111, "a NAND of two inputs")].area

    @property
    def inverter(self) -> str:
        """The name of the smallest inverter."""
        return self._smallest(1, 0b01, "an inverter")

    def require_buffer(self) -> None:
        """Refuse a library without a buffer, on which ABC ends without a word."""
        self._smallest(1, 0b10, "a buffer")

    def _smallest(self, inputs: int, truth: int, what: str) -> str:
        found = [
            name
            for name, cell in self.cells.items()
            if len(cell.kind.inputs) == inputs and list(cell.kind.outputs.values()) == [truth]
        ]
        if not found:
            raise InputError(
                f"the cells of {self.name} have no {what.split(maxsplit=1)[1]}; name a library with {what}"
            )
        return min(found, key=lambda name: self.cells[name].area)


def content(path: Path) -> bytes:
    """Of a Liberty file, without a mark of UTF-8, which is none to Yosys. Raises InputError where it cannot be read."""
    return read_bytes(path, what="Liberty file", most=LARGEST).removeprefix(codecs.BOM_UTF8)


def read(path: Path) -> Library:
    """The library in a Liberty file.

    Raises
    ------
    InputError
        What cannot be read, or is no Liberty file, or has no cells to map to, or figures that none can have.
    """
    return _read(content(path), path)


@functools.lru_cache(maxsize=4)
def _read(content: bytes, path: Path) -> Library:
    try:
        from liberty.parser import parse_liberty
    except ImportError as error:
        raise InputError(
            "Liberty files are read by liberty-parser, which is not installed; install it with: "
            "pip install 'bitwright[rtl]'"
        ) from error
    try:
        return _library(parse_liberty(content.decode("utf-8", errors="replace")))  # comments may be in Latin-1
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        raise InputError(f"{path}{_unread(error)}; give a Liberty file of standard cells") from error


def _unread(error: Exception) -> str:
    """Where the parser stopped, and what should stand there: behind the file's name."""
    from liberty.parser import ExceptionWithLineNum
    from liberty.tokenized import UnexpectedEndOfFile, UnexpectedToken

    if not isinstance(error, ExceptionWithLineNum):
        return " is not one group library (NAME) { ... }, which is expected"
    # lines count from 0, and a token that ends its line has been left for the next one
    line = max(1, error.line_num + (error.char_num > 0))
    if isinstance(error.e, UnexpectedEndOfFile) or (isinstance(error.e, UnexpectedToken) and error.e.actual is None):
        return f", line {line}: the file ends within a group, whose closing }} is expected"
    if isinstance(error.e, UnexpectedToken):
        expected = str(error.e.expected).replace(" | ", " or ")
        return f", line {line}: {str(error.e.actual)[:40]} stands where {expected} is expected"
    return f", line {line}: what stands there is neither a group nor an attribute, which are expected"


def _library(parsed: Any) -> Library:
    units = _Units(parsed)
    templates = {
        str(group.args[0]).strip('"'): [
            str(_plain(group.get(f"variable_{i}"))) for i in (1, 2) if group.get(f"variable_{i}")
        ]
        for kind in ("lu_table_template", "power_lut_template")
        for group in parsed.get_groups(kind)
    }
    cells = {}
    for group in parsed.get_groups("cell"):
        cell = _cell(group, units, templates)
        if cell is not None:
            cells[str(group.args[0]).strip('"')] = cell
    name = str(parsed.args[0]).strip('"')
    if not cells:
        raise InputError(f"the library {name!r} has no gates and no flip-flops that a netlist could be mapped to")
    voltage = _figure(parsed.get("nom_voltage"), "nom_voltage of the library", positive=True)
    return Library(name=name, voltage=voltage * units.volt, cells=cells)


def _figure(value: Any, what: str, *, positive: bool = False) -> float:
    """A number that is finite and no less than 0.

    Raises
    ------
    InputError
        What is not.
    """
    try:
        found = float(_plain(value))
    except (TypeError, ValueError):
        found = float("nan")
    if not math.isfinite(found) or found < 0 or (positive and not found):
        said = "missing" if value is None else f"{str(_plain(value))[:40]!r}"
        raise InputError(f"{what} is {said}, and a number {'over 0' if positive else 'from 0'} is expected")
    return found


class _Units:
    """Factors from a file's units."""

    def __init__(self, parsed: Any) -> None:
        self.time = _factor(parsed.get("time_unit"), _TIME, 1.0)
        self.volt = _factor(parsed.get("voltage_unit"), _VOLTAGE, 1.0)
        self.leakage = _factor(parsed.get("leakage_power_unit"), _POWER, 1.0)
        load = parsed.get("capacitive_load_unit")
        self.load = float(load[0]) * _CAPACITANCE[str(_plain(load[1])).lower()] if load else 1.0
        self.energy = self.volt**2 * self.load


def _factor(value: Any, units: Mapping[str, float], default: float) -> float:
    if value is None:
        return default
    text = str(_plain(value))
    unit = text.lstrip("0123456789.")
    return float(text[: len(text) - len(unit)] or 1) * units[unit]


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


def _cell(group: Any, units: _Units, templates: Mapping[str, list[str]]) -> Cell | None:
    pins = {str(pin.args[0]).strip('"'): pin for pin in group.get_groups("pin")}
    inputs = sorted(name for name, pin in pins.items() if str(_plain(pin.get("direction"))) == "input")
    outputs = sorted(name for name, pin in pins.items() if str(_plain(pin.get("direction"))) == "output")
    kind = _kind(group, pins, inputs, outputs)
    if kind is None:
        return None
    cell = f"cell {group.args[0]!s}"
    return Cell(
        area=_figure(group.get("area"), f"the area of {cell}", positive=bool(inputs and outputs)),
        leakage_nw=_figure(group.get("cell_leakage_power") or 0, f"the leakage of {cell}") * units.leakage,
        kind=kind,
        capacitance={
            name: _figure(pins[name].get("capacitance") or 0, f"the capacitance of pin {name} of {cell}") * units.load
            for name in inputs
        },
        arcs={name: tuple(_arcs(pins[name], units, templates)) for name in outputs},
        powers={name: tuple(_powers(pin, units, templates)) for name, pin in pins.items()},
        setup=_setup(pins, kind, units),
    )


def _kind(group: Any, pins: Mapping[str, Any], inputs: list[str], outputs: list[str]) -> CellKind | None:
    """What the cell does; None: a latch, a tristate buffer, a flip-flop with more than clock and data, a large gate."""
    functions = {name: pins[name].get("function") for name in outputs}
    if any(function is None or pins[name].get("three_state") for name, function in functions.items()):
        return None
    if group.get_groups("latch") or group.get_groups("statetable"):
        return None
    flops = group.get_groups("ff")
    texts = {name: str(_plain(function)) for name, function in functions.items()}
    if not flops and len(inputs) > MOST_INPUTS:
        return None
    if not flops:
        return CellKind(inputs=tuple(inputs), outputs={name: truth_table(text, inputs) for name, text in texts.items()})
    flop = flops[0]
    held, inverse = (str(each).strip('"') for each in flop.args)
    clock, following = (str(_plain(flop.get(key))) for key in ("clocked_on", "next_state"))
    plain = names_in(following) == [following] == [name for name in inputs if name != clock] and clock in inputs
    if not plain or flop.get("clear") or flop.get("preset"):
        return None
    by_function = {text.strip("() "): name for name, text in texts.items()}
    return CellKind(data=following, clock=clock, state=by_function.get(held, ""), inverted=by_function.get(inverse, ""))


def _arcs(pin: Any, units: _Units, templates: Mapping[str, list[str]]) -> Iterator[Arc]:
    for group in pin.get_groups("timing"):
        tables = {
            name: _table(group, name, templates, units.load, units.time, units.time)
            for name in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
        }
        sense, kind = (str(_plain(group.get(key))) for key in ("timing_sense", "timing_type"))
        for related in _related(group):
            yield Arc(
                related=related,
                causes=_CAUSES.get(sense if kind not in _CLOCKED else kind, _CAUSES["non_unate"]),
                rise=tables["cell_rise"],
                fall=tables["cell_fall"],
                rise_transition=tables["rise_transition"],
                fall_transition=tables["fall_transition"],
            )


def _related(group: Any) -> list[str]:
    """The pins that a timing or power group is of, which may name several."""
    return str(_plain(group.get("related_pin") or "")).split()


def _powers(pin: Any, units: _Units, templates: Mapping[str, list[str]]) -> Iterator[Power]:
    for group in pin.get_groups("internal_power"):
        rise, fall = (
            _table(group, name, templates, units.load, units.time, units.energy)
            for name in ("rise_power", "fall_power")
        )
        for related in _related(group) or [""]:
            yield Power(related=related, rise=rise, fall=fall)


def _table(
    group: Any, name: str, templates: Mapping[str, list[str]], load: float, time: float, unit: float
) -> Table | None:
    found = group.get_groups(name)
    if not found:
        return None
    table = found[0]
    values = np.asarray(table.get_array("values"), float) * unit
    if not np.isfinite(values).all():
        raise InputError(f"a table {name} has a value that is no number; give a library whose tables are whole")
    variables = templates.get(str(table.args[0]).strip('"'), []) if table.args else []
    axes = {
        variable: np.asarray(table.get_array(f"index_{i}"), float).reshape(-1)
        for i, variable in enumerate(variables, 1)
    }
    loads = axes.get(LOAD, np.zeros(1)) * load
    transitions = next((axes[each] for each in TRANSITION if each in axes), np.zeros(1)) * time
    first_is_load = bool(variables) and variables[0] == LOAD
    if any((np.diff(axis) <= 0).any() or not np.isfinite(axis).all() for axis in (loads, transitions)):
        raise InputError(f"a table {name} has an index that does not rise; give a library whose tables are whole")
    shape = (len(loads), len(transitions)) if first_is_load else (len(transitions), len(loads))
    grid = values.reshape(shape)
    return Table(loads=loads, transitions=transitions, values=grid if first_is_load else grid.T)


def _setup(pins: Mapping[str, Any], kind: CellKind, units: _Units) -> float:
    if not kind.data:
        return 0.0
    for group in pins[kind.data].get_groups("timing"):
        if str(_plain(group.get("timing_type"))) == "setup_rising":
            tables = [each for name in ("rise_constraint", "fall_constraint") for each in group.get_groups(name)]
            return max(float(np.median(np.asarray(each.get_array("values"), float))) for each in tables) * units.time
    return 0.0
