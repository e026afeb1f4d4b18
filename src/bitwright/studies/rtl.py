"""A circuit as Verilog, with a testbench that checks itself on random operands or on codes of a network's layer.

What the testbench expects comes from the functional twin; that the RTL agrees is checked here too before anything is
written. Codes of a layer are those of real outputs, one sum after the other: x [M, K] by w [K, N] of a site as
`bitwright export --format vectors` has them.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bitwright.circuits import CIRCUITS, Circuit, circuit_of, yosys
from bitwright.circuits.circuit import Integers, Multiplying, MultiplyingWords, Port, Values, Words
from bitwright.circuits.equality import compare
from bitwright.circuits.simulation import CLOCK, RESET
from bitwright.circuits.streams import stream
from bitwright.errors import InputError, unknown_name
from bitwright.exchange.export.vectors import matrices
from bitwright.files import whole_folder, write_atomic
from bitwright.formats import Integer
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor
from bitwright.methods.plan import Plan
from bitwright.networks.network import Batch, Network
from bitwright.shown import Headline, Shown, printable
from bitwright.words import counted

MARKER = "parameters.json"
CLOCKS = 4096
"""Of a testbench, where nothing is said."""
ELEMENTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "panacea": ("slice-operator", {}),
    "sibia": ("slice-operator", {"x_signed": True}),
    "apsq": ("rae", {"banks": "registers"}),
    "lpa": ("lpa-pe", {}),
    "ant": ("ant-pe", {}),
    "bitfusion": ("fusion-unit", {}),
    "adaptivfloat": ("adaptivfloat-pe", {}),
    "drift": ("bit-group", {}),
    "drq": ("drq-element", {}),
    "eyeriss": ("eyeriss-element", {}),
    "systolic-ws": ("multiply-accumulate", {"stationary": "double"}),
    "systolic-os": ("multiply-accumulate", {"stationary": "outputs"}),
}
"""Machines and what multiplies in them, or is theirs alone, with its parameters."""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Emitted(Shown):
    """What was written.

    Attributes
    ----------
    circuit : Circuit
        Of which.
    path : Path
        The folder.
    files : tuple of str
        In it.
    clocks : int
        That the testbench checks.
    operands : str
        Where its operands come from.
    """

    circuit: Circuit
    path: Path
    files: tuple[str, ...]
    clocks: int
    operands: str

    def headline(self) -> Headline:
        """Files and clocks."""
        return Headline(self.circuit.name, [("folder", str(self.path)), ("clocks", f"{self.clocks:,}")])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Captured:
    """Codes of a site's product.

    Attributes
    ----------
    x, w : Words
        [clocks, 1]: of one sum after the other.
    begins : array
        1 where a sum starts.
    described : str
        Which.
    """

    x: Words
    w: Words
    begins: Integers
    described: str


def circuit_named(name: str, parameters: Mapping[str, Any]) -> Circuit:
    """A circuit, or that of a machine, with parameters of the user's.

    Raises
    ------
    InputError
        No such circuit or machine, or a parameter that the circuit does not have or take.
    """
    kind, own = ELEMENTS.get(name, (name, {}))
    if kind not in CIRCUITS:
        raise unknown_name("circuit or machine", name, [*CIRCUITS, *ELEMENTS])
    return circuit_of(CIRCUITS[kind], {**own, **parameters})


def capture(network: Network, plan: Plan, site: str, batch: Batch, *, clocks: int, seed: int = 0) -> Captured:
    """Codes of random outputs of a site, as many as fill so many clocks.

    Raises
    ------
    InputError
        A site that the network does not have, that does not run on this input, or stays in floating point.
    """
    if site not in plan.sites:
        raise InputError(f"{network.name} has no site {printable(site)!r}; bitwright nodes lists them")
    caught: list[Execution] = []

    def listen(work: Execution) -> None:
        if work.site.name == site and work.x is not None and work.w is not None and not caught:
            caught.append(work)

    Executor(network, plan, listeners=[listen]).run(batch)
    if not caught:
        raise InputError(f"{printable(site)} is not quantized, or does not run on this input; choose another site")
    work = caught[0]
    assert work.view is not None
    assert work.x is not None
    assert work.w is not None
    x, w = matrices(work.view, work.x, work.w)
    groups, rows, k = x.shape
    generator = np.random.default_rng(seed)
    count = -(-clocks // k)
    g, m, n = (generator.integers(size, size=count) for size in (groups, rows, w.shape[-1]))
    begins = np.zeros((count, k), np.int64)
    begins[:, 0] = 1
    left, right, first = (each.reshape(-1, 1)[:clocks] for each in (x[g, m], w[g, :, n], begins))
    return Captured(
        x=Words(codes=left, format=work.x.format, zero_point=work.x.zero_point),
        w=Words(codes=right, format=work.w.format, zero_point=work.w.zero_point),
        begins=first,
        described=f"{counted(count, 'output')} of {site}, {k} products each, of {network.name} as {plan.method} has it",
    )


def inputs_of(circuit: Circuit, captured: Captured | None, *, clocks: int, seed: int = 0) -> tuple[Values, str]:
    """Operands for a testbench: a layer's, or random ones, and a phrase that says which.

    Raises
    ------
    InputError
        A circuit without products, or codes that do not fit its ports.
    """
    if captured is None:
        found = stream(circuit, "uniform", clocks=clocks, streams=1, seed=seed)
        return found, f"uniform operands (seed {seed})"
    fed = _fed(circuit, captured)
    for port in circuit.ports().inputs:
        low, high = int(fed[port.name].min()), int(fed[port.name].max())
        if low < port.smallest or high > port.largest:
            raise InputError(
                f"codes of the layer are {low} .. {high}, and port {port.name} of {circuit.name} takes "
                f"{port.smallest} .. {port.largest}; set its width and sign by --set"
            )
    return fed, captured.described


def _fed(circuit: Circuit, captured: Captured) -> dict[str, Integers]:
    """A layer's codes at the ports of a circuit that multiplies."""
    if isinstance(circuit, MultiplyingWords):
        return circuit.feed_words(captured.x, captured.w, captured.begins)
    if not isinstance(circuit, Multiplying):
        raise InputError(f"{circuit.name} multiplies no operands of a layer; leave --model and --site out")
    for operand in (captured.x, captured.w):
        if not isinstance(operand.format, Integer):
            raise InputError(
                f"operands of the layer are {operand.format.name}, and {circuit.name} multiplies integers; choose a "
                "method of integers, or a circuit made for that format"
            )
    return circuit.feed(captured.x.codes, captured.w.codes, captured.begins)


def emit(circuit: Circuit, path: Path, inputs: Values, operands: str, *, overwrite: bool = False) -> Emitted:
    """Write a circuit's Verilog, testbench, vectors and a README into a folder.

    Parameters
    ----------
    circuit : Circuit
        Which.
    path : Path
        The folder.
    inputs : mapping
        Port -> [clocks, 1(, lanes)].
    operands : str
        Where they come from.
    overwrite : bool
        Whether a folder that was written so before is replaced.

    Raises
    ------
    InputError
        Without the extra `rtl`; where RTL and twin disagree, which is a fault of bitwright; or the folder cannot be
        written.
    """
    agreement = compare(circuit, inputs)
    if agreement.wrong:
        raise InputError(
            f"RTL and functional twin of {circuit.name} disagree in {agreement.wrong} of {agreement.compared} clocks: "
            f"{agreement.first}; please report this"
        )
    name = circuit.name.replace("-", "_")
    expected = circuit.model(inputs)
    clocks = len(next(iter(inputs.values())))
    ports = circuit.ports()
    files = {
        f"{name}.v": yosys.verilog(circuit, name),
        f"{name}_tb.v": _testbench(circuit, name, clocks),
        "stimulus.hex": _words(ports.inputs, inputs),
        "expected.hex": _words(ports.outputs, expected),
        "README.md": _readme(circuit, name, clocks, operands),
        MARKER: json.dumps({"circuit": circuit.name, **circuit.model_dump(mode="json")}, indent=2) + "\n",
    }
    with whole_folder(path, marker=MARKER, overwrite=overwrite) as folder:
        for file, text in files.items():
            write_atomic(folder / file, text.encode())
    return Emitted(circuit=circuit, path=path, files=tuple(files), clocks=clocks, operands=operands)


def _bits(ports: tuple[Port, ...]) -> int:
    return sum(port.bits * len(port.names) for port in ports)


def _words(ports: tuple[Port, ...], values: Values) -> str:
    """A hexadecimal word per clock: the first port's first lane in the lowest bits."""
    clocks = len(next(iter(values.values())))
    digits = -(-_bits(ports) // 4)
    lines = []
    for clock in range(clocks):
        word, at = 0, 0
        for port in ports:
            for value in np.atleast_1d(values[port.name][clock, 0]):
                word |= (int(value) & ((1 << port.bits) - 1)) << at
                at += port.bits
        lines.append(f"{word:0{digits}x}")
    return "\n".join(lines) + "\n"


def _slices(ports: tuple[Port, ...], vector: str) -> list[str]:
    """Named connections of all signals to parts of a vector."""
    found, at = [], 0
    for port in ports:
        for name in port.names:
            found.append(f".{name}({vector}[{at + port.bits - 1}:{at}])")
            at += port.bits
    return found


def _testbench(circuit: Circuit, name: str, clocks: int) -> str:
    ports = circuit.ports()
    clocked = [f".{CLOCK}({CLOCK})", f".{RESET}({RESET})"] if circuit.clocked else []
    connections = ",\n    ".join([*clocked, *_slices(ports.inputs, "stimulus"), *_slices(ports.outputs, "result")])
    edge = f"#1 {CLOCK} = 1; #5 {CLOCK} = 0;" if circuit.clocked else "#1;"
    return f"""// Checks {name} against its functional twin, clock by clock. Run it in this folder.
`timescale 1ns / 1ps
module {name}_tb;
  localparam integer CLOCKS = {clocks};
  reg {CLOCK} = 0, {RESET} = 1;
  reg [{_bits(ports.inputs) - 1}:0] stimuli [0:CLOCKS-1];
  reg [{_bits(ports.outputs) - 1}:0] expected [0:CLOCKS-1];
  reg [{_bits(ports.inputs) - 1}:0] stimulus = 0;
  wire [{_bits(ports.outputs) - 1}:0] result;
  integer i, wrong = 0;

  {name} dut (
    {connections}
  );

  initial begin
    $readmemh("stimulus.hex", stimuli);
    $readmemh("expected.hex", expected);
    #4 {edge}
    {RESET} = 0;
    for (i = 0; i < CLOCKS; i = i + 1) begin
      stimulus = stimuli[i];
      #4;
      if (result !== expected[i]) begin
        wrong = wrong + 1;
        if (wrong <= 10) $display("clock %0d: %h, should be %h", i, result, expected[i]);
      end
      {edge}
    end
    if (wrong == 0) $display("PASS: {name}, %0d clocks", CLOCKS);
    else begin
      $display("FAIL: {name}, %0d of %0d clocks", wrong, CLOCKS);
      $fatal(1);
    end
    $finish;
  end
endmodule
"""


def _readme(circuit: Circuit, name: str, clocks: int, operands: str) -> str:
    ports = circuit.ports()
    rows = [
        f"| `{port.names[0]}`{f' .. `{port.names[-1]}`' if port.lanes else ''} | {way} | {port.bits} | "
        f"{'yes' if port.signed else 'no'} | {port.what} |"
        for way, each in (("in", ports.inputs), ("out", ports.outputs))
        for port in each
    ]
    fields: Mapping[str, Any] = type(circuit).model_fields
    parameters = [f"| `{key}` | {getattr(circuit, key)} | {field.description} |" for key, field in fields.items()]
    steering = f"Rising edges of `{CLOCK}`; `{RESET}` is synchronous and active high.\n" if circuit.clocked else ""
    return f"""# {name}

{circuit.summary[0].upper()}{circuit.summary[1:]}. Source: {circuit.source}.
{steering}
| port | | bits | signed | what |
|---|---|---|---|---|
{chr(10).join(rows)}

| parameter | value | what |
|---|---|---|
{chr(10).join(parameters)}

The testbench checks {clocks:,} clocks of {printable(operands)}.

```console
$ iverilog -g2005-sv -o sim {name}.v {name}_tb.v && vvp sim
$ verilator --binary --timing -Wno-fatal --top-module {name}_tb {name}.v {name}_tb.v && obj_dir/V{name}_tb
```
"""
