"""`circuits`, `synthesize`, `rtl`: what stands in machines' bills, in cells and in Verilog."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitwright.cli import given, outputs
from bitwright.cli.app import app, stop_interrupted
from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.plans import find_plan
from bitwright.cli.show import deliver, show, written
from bitwright.cli.working import working
from bitwright.errors import InputError, unknown_name

if TYPE_CHECKING:
    from bitwright.studies.rtl import Captured

OneCircuit = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show what can be set on this one.")]
Circuits = Annotated[list[str] | None, typer.Argument(metavar="[CIRCUIT ...]", help="See: bitwright circuits.")]
Circuit_ = Annotated[
    str, typer.Argument(metavar="CIRCUIT|ACCELERATOR", help="See: bitwright circuits; or a machine, for its element.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the circuit; without, all its configurations."),
]
OneSet = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the circuit.")]
Liberty = Annotated[
    Path | None,
    typer.Option(
        "--liberty", metavar="FILE", help="Standard cells.  [default: those of Debian's package qflow-tech-osu018]"
    ),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes.  [default: the processor's cores]")]
Table = Annotated[list[str] | None, outputs.option("circuits")]
Listed = Annotated[list[str] | None, outputs.option("entries or parameters")]
Folder = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where Verilog and vectors go.")]
Clocks = Annotated[int, typer.Option("--clocks", min=1, max=1_000_000, help="That the testbench checks.")]
Network = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Operands are codes of a layer of this network.")
]
Site = Annotated[str | None, typer.Option("--site", metavar="SITE", help="The layer; bitwright nodes lists them.")]


@app.command()
def circuits(
    name: OneCircuit = None, out: Listed = None, overwrite: given.Overwrite = False, json: given.Json = False
) -> None:
    """List the circuits that have RTL, or the parameters of one."""
    with working():
        from bitwright.circuits import CIRCUITS
        from bitwright.reports.listings import print_entry, print_listing
        from bitwright.studies.catalogue import Entries, Entry, circuit
        from bitwright.studies.catalogue import circuits as entries

        files = outputs.targets(out, Entries if name is None else Entry, overwrite=overwrite)
        if name is not None and name not in CIRCUITS:
            raise unknown_name("circuit", name, CIRCUITS)
        every = entries()
    if name is None:
        records = [{"circuit": each.name, "what it is": CIRCUITS[each.name].summary} for each in every]
        following = "bitwright circuits multiply-accumulate shows its parameters"
        deliver(
            "circuits",
            every,
            lambda: {"circuits": every},
            lambda console: print_listing(records, console, following),
            files=files,
            json=json,
        )
        return
    entry = circuit(name)
    deliver(
        "circuits",
        entry,
        lambda: {"circuit": entry},
        lambda console: print_entry(entry, console, "--set"),
        files=files,
        json=json,
    )


@app.command()
def synthesize(
    circuits: Circuits = None,
    *,
    parameters: Parameters = None,
    liberty: Liberty = None,
    workers: Workers = None,
    out: Table = None,
    overwrite: given.Overwrite = False,
    json: given.Json = False,
    wide: given.Wide = False,
) -> None:
    """Synthesize circuits with the cells of a library: area, longest path, leakage, energy under operand streams."""
    with working() as progress:
        progress("starting", 0, 0)
        from bitwright.reports.circuits import print_synthesis, synthesis_record
        from bitwright.studies.provenance import provenance
        from bitwright.studies.synthesis import Synthesis, chosen, synthesis

        files = outputs.targets(out, Synthesis, overwrite=overwrite)
        if parameters and not circuits:
            raise InputError("--set changes a circuit's parameters; name the circuit")
        wanted = chosen(circuits or (), given.machine_settings(parameters, None))
        with INTERRUPTS.keeping():
            try:
                found = synthesis(wanted, liberty, workers=workers, progress=progress)
            except KeyboardInterrupt:
                stop_interrupted("circuits that are done are kept; the same command goes on from there")
    made = provenance(given.command_line(), 0)
    deliver(
        "synthesize",
        found,
        lambda: synthesis_record(found, made),
        lambda console: print_synthesis(found, console),
        files=files,
        json=json,
        wide=wide,
    )


@app.command()
def rtl(
    circuit: Circuit_,
    *,
    out: Folder,
    parameters: OneSet = None,
    clocks: Clocks = 4096,
    model: Network = None,
    site: Site = None,
    preprocess: given.Preprocess = None,
    tokenizer: given.Tokenizer = None,
    method: given.Method = None,
    option: given.Options = None,
    plan: given.Plan = None,
    calibration: given.Calibration = None,
    sequence_length: given.SequenceLength = None,
    image_size: given.ImageSize = None,
    shape: given.Shape = None,
    overwrite: given.Overwrite = False,
    seed: given.Seed = 0,
    json: given.Json = False,
) -> None:
    """Write a circuit as Verilog with a testbench that checks itself, on random operands or a layer's codes."""
    with working() as progress:
        progress("starting", 0, 0)
        from bitwright.circuits.yosys import require_rtl
        from bitwright.files import check_folder
        from bitwright.reports.circuits import emitted_record, print_emitted
        from bitwright.studies.provenance import provenance
        from bitwright.studies.rtl import MARKER, circuit_named, emit, inputs_of

        built = circuit_named(circuit, given.machine_settings(parameters, None))
        require_rtl()
        check_folder(out, marker=MARKER, overwrite=overwrite)
        INTERRUPTS.expect(out)
        if (model is None) != (site is None):
            raise InputError("operands of a layer need both --model and --site; name both or none")
        captured = None
        if model is not None and site is not None:
            reads: dict[str, Any] = {
                **given.reading(preprocess, tokenizer),
                "sequence_length": sequence_length,
                "image_size": image_size,
                "dims": given.dims(shape),
            }
            choice = find_plan(method, option, plan, calibration=calibration)
            captured = _captured(model, site, choice, calibration, clocks, seed, reads, progress)
        inputs, operands = inputs_of(built, captured, clocks=clocks, seed=seed)
        progress("running the RTL beside its twin", 0, 0)
        found = emit(built, out, inputs, operands, overwrite=overwrite)
    made = provenance(given.command_line(), seed)
    show("rtl", lambda: emitted_record(found, made), lambda console: print_emitted(found, console), json=json)
    written([out])


def _captured(
    model: str,
    site: str,
    choice: Any,
    calibration: int | None,
    clocks: int,
    seed: int,
    reads: dict[str, Any],
    progress: Any,
) -> "Captured":
    """Codes of the layer, as the plan has them."""
    from bitwright import api
    from bitwright.networks.trace import require_sites
    from bitwright.studies.inputs import simulation_input
    from bitwright.studies.rtl import capture
    from bitwright.tasks.evaluate import require_numbers

    progress("loading", 0, 0)
    network = api.load(model, **reads, device="cpu")
    require_numbers(network)
    batch, _ = simulation_input(network, seed=seed)
    require_sites(network, [site], batch)
    used = choice.of(network)
    if isinstance(used, str):
        progress("calibrating", 0, 0)
        used = api.calibrate(network, used, options=choice.options, count=calibration, seed=seed)
    assert batch is not None
    return capture(network, used, site, batch, clocks=clocks, seed=seed)
