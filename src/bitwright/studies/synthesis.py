"""Synthesis of circuits, many at once: in processes side by side, kept in the user's cache, gone on from there.

An entry of the cache is a hash of the circuit's RTL, the library's file, the tools' versions and bitwright's own rooms
that measure, so that it is the same computation or is not found.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import pydantic

import bitwright.circuits
from bitwright import processes
from bitwright.circuits import CIRCUITS, Circuit, circuit_of
from bitwright.circuits.liberty import content, read
from bitwright.circuits.report import Synthesized, synthesized
from bitwright.circuits.synthesis import tool_versions
from bitwright.circuits.yosys import require_rtl, rtlil
from bitwright.errors import InputError, unknown_name
from bitwright.files import write_atomic
from bitwright.shown import Headline, Table, Tabled
from bitwright.tasks.evaluate import Progress, silent

DEBIAN_CELLS = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
"""Where Debian's package qflow-tech-osu018 has the cells that are taken where none are named."""
GIVEN = "as given"


class SynthesisLine(TypedDict):
    """A circuit in one configuration."""

    circuit: str
    configuration: str
    cells: int
    area_um2: float
    gates: float
    sequential_share: float
    path_ns: float
    leakage_nw: float
    energy_uniform_pj: float
    energy_laplace_pj: float
    energy_uniform_with_glitches_pj: float
    energy_laplace_with_glitches_pj: float


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Synthesis(Tabled):
    """Circuits in the cells of a library; `.frame()` has a line for each.

    Attributes
    ----------
    lines : tuple of Synthesized
        A line for every circuit and configuration.
    reused : int
        How many of them were in the cache.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {"circuits": Table(SynthesisLine, lambda found: map(_line, found.lines))}

    lines: tuple[Synthesized, ...]
    reused: int = 0

    def headline(self) -> Headline:
        """Areas in gates."""
        figures = [(f"{line.circuit}, {line.configuration}", f"{line.gates:,.0f} gates") for line in self.lines]
        return Headline(f"{len(self.lines)} circuits", figures)


def _line(line: Synthesized) -> SynthesisLine:
    return {
        "circuit": line.circuit,
        "configuration": line.configuration,
        "cells": line.cells,
        "area_um2": line.area_um2,
        "gates": line.gates,
        "sequential_share": line.sequential,
        "path_ns": line.path_ns,
        "leakage_nw": line.leakage_nw,
        "energy_uniform_pj": line.energy_pj["uniform"],
        "energy_laplace_pj": line.energy_pj["laplace"],
        "energy_uniform_with_glitches_pj": line.glitching_pj["uniform"],
        "energy_laplace_with_glitches_pj": line.glitching_pj["laplace"],
    }


def chosen(names: Sequence[str], parameters: Mapping[str, Any] | None = None) -> list[tuple[str, Circuit]]:
    """The circuits of these names (none: all) in all their configurations, or with parameters of the user's.

    Raises
    ------
    InputError
        An unknown circuit, or a parameter that it does not take.
    """
    for name in names:
        if name not in CIRCUITS:
            raise unknown_name("circuit", name, CIRCUITS)
    kinds = [CIRCUITS[name] for name in dict.fromkeys(names or CIRCUITS)]
    if parameters:
        return [(GIVEN, circuit_of(kind, parameters)) for kind in kinds]
    return [(phrase, circuit_of(kind, given)) for kind in kinds for phrase, given in kind.configurations.items()]


def synthesis(
    circuits: Sequence[tuple[str, Circuit]],
    liberty: Path | None = None,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> Synthesis:
    """Synthesize circuits, `workers` at once, but for those that are in the cache.

    Raises
    ------
    InputError
        Without Amaranth and Yosys, without cells, or where Yosys fails.
    """
    require_rtl()
    cells = cells_of(liberty)
    lines: list[Synthesized | None] = [_kept(_file(circuit, cells)) for _, circuit in circuits]
    waiting = [at for at, line in enumerate(lines) if line is None]
    reused = len(lines) - len(waiting)
    done = reused
    progress("synthesis", done, len(lines))
    for at, line in _made([(*circuits[at], at) for at in waiting], cells, workers or os.cpu_count() or 1):
        _keep(_file(circuits[at][1], cells), line)
        lines[at] = line
        done += 1
        progress(f"synthesis ({line.circuit}, {line.configuration})", done, len(lines))
    named = [
        dataclasses.replace(line, configuration=phrase)
        for (phrase, _), line in zip(circuits, lines, strict=True)
        if line is not None
    ]
    return Synthesis(lines=tuple(named), reused=reused)


def cells_of(liberty: Path | None) -> Path:
    """The Liberty file that is named, or Debian's; read once, so that what is no library is refused at once.

    Raises
    ------
    InputError
        Where there is none.
    """
    if liberty is None and not DEBIAN_CELLS.is_file():
        raise InputError(
            "synthesis needs standard cells, and none are here; install Debian's: apt-get install qflow-tech-osu018, "
            "or name a Liberty file: --liberty FILE"
        )
    found = liberty or DEBIAN_CELLS
    read(found)
    return found


def _made(tasks: Sequence[tuple[str, Circuit, int]], cells: Path, workers: int) -> Iterator[tuple[int, Synthesized]]:
    if len(tasks) <= 1 or workers <= 1:
        for phrase, circuit, at in tasks:
            yield at, synthesized(circuit, phrase, cells)
        return
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        with processes.starting():
            futures = {pool.submit(synthesized, circuit, phrase, cells): at for phrase, circuit, at in tasks}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process of the synthesis died, most likely for lack of memory; use fewer --workers (circuits that "
                "are done are kept)"
            ) from error
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    processes.begin()
    signal.signal(signal.SIGTERM, processes.end_at_once)  # Yosys too, and what it has started


def cache_folder() -> Path:
    """Where entries are kept: `bitwright/synthesis` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitwright" / "synthesis"


def _file(circuit: Circuit, cells: Path) -> Path:
    digest = hashlib.sha256()
    for part in (rtlil(circuit), circuit.name, circuit.model_dump_json(), json.dumps(tool_versions(), sort_keys=True)):
        digest.update(part.encode())
    digest.update(hashlib.sha256(content(cells)).digest())
    digest.update(_own())
    return cache_folder() / f"{digest.hexdigest()[:40]}.json"


@functools.cache
def _own() -> bytes:
    """Of bitwright's own rooms that synthesize and measure."""
    folder = Path(bitwright.circuits.__file__).parent
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))).digest()


def _kept(path: Path) -> Synthesized | None:
    """An entry of the cache; what cannot be read is made anew."""
    try:
        return pydantic.TypeAdapter(Synthesized).validate_json(path.read_bytes(), strict=True)
    except (OSError, ValueError):
        return None


def _keep(path: Path, line: Synthesized) -> None:
    with contextlib.suppress(OSError, InputError):  # a cache that is read-only or full keeps nothing
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(dataclasses.asdict(line)).encode())
