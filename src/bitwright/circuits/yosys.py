"""RTL and netlists by Yosys, a process for each run: what it prints and how it ends stays there.

Amaranth writes RTLIL, Yosys reads it (package `pyosys`, which brings ABC). Widths beyond 64 bits are no ports here.
"""

import importlib.util
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright import processes, scratch
from bitwright.circuits.circuit import Circuit, component
from bitwright.errors import InputError

TOP = "top"
SECONDS = 900
"""Longer runs are given up."""
GENERIC = (
    "proc -norom",
    "flatten",
    "opt",
    "techmap",
    "opt",
    "simplemap",
    "dfflegalize -cell $_DFF_P_ 01",
    "opt_clean -purge",
)
"""To gates of one or two inputs, multiplexers and plain flip-flops; tables stay logic."""
_RUN = """
import json, sys
from pyosys import libyosys as yosys
design = yosys.Design()
for command in json.load(sys.stdin):
    yosys.run_pass(command, design)
"""
CELLS = "cells.lib"
"""What Yosys knows a library's file by: names of the user's would be parts of its scripts and of a shell's."""


def require_rtl() -> None:
    """Refuse what needs Amaranth and Yosys where they are missing."""
    missing = [name for name in ("amaranth", "pyosys") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"circuits are described and synthesized by {' and '.join(missing)}, which is not installed; install it "
            "with: pip install 'bitwright[rtl]'"
        )


def rtlil(circuit: Circuit, name: str = TOP) -> str:
    """The circuit in Yosys' own language, as Amaranth writes it."""
    require_rtl()
    from amaranth.back import rtlil as back

    text: str = back.convert(component(circuit), name=name, emit_src=False)
    return text


def run(commands: Sequence[str], folder: Path) -> None:
    """Yosys' commands, one after the other, in `folder`.

    Raises
    ------
    InputError
        If a command fails, with what Yosys said last, or if it takes more than `SECONDS`.
    """
    try:
        done = processes.python(_RUN, given=json.dumps(list(commands)), folder=folder, seconds=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"Yosys took more than {SECONDS} s; take smaller parameters") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["nothing"]
        raise InputError(f"Yosys failed: {said[0]}")


def made(
    circuit: Circuit, commands: Sequence[str], results: Sequence[str], given: Mapping[str, bytes] | None = None
) -> dict[str, str]:
    """The texts that Yosys writes into files named in `results`, of a circuit which it has read as `top`.

    Files of `given` names and contents lie beside them.
    """
    described = rtlil(circuit)
    with scratch.folder() as folder:
        for name, content in (given or {}).items():
            (folder / name).write_bytes(content)
        (folder / "in.il").write_text(described, encoding="utf-8")
        run(["read_rtlil in.il", f"hierarchy -top {TOP}", *commands], folder)
        return {name: (folder / name).read_text(encoding="utf-8") for name in results}


def generic(circuit: Circuit) -> dict[str, Any]:
    """The circuit in generic gates: the module of Yosys' JSON."""
    text = made(circuit, [*GENERIC, "write_json out.json"], ["out.json"])["out.json"]
    module: dict[str, Any] = json.loads(text)["modules"][TOP]
    return module


def verilog(circuit: Circuit, name: str) -> str:
    """The circuit in Verilog, as a module of that name."""
    commands = ["proc -norom", f"rename {TOP} {name}", "write_verilog -noattr out.v"]
    return made(circuit, commands, ["out.v"])["out.v"]
