"""SQNR of int8 networks beside ONNX Runtime, Brevitas and torchao: the same weights, the same samples, one judge.

    python benchmarks/against_quantizers.py [--networks NAME ...] [--peers NAME ...] [--samples N] [--venvs FOLDER]

Each peer is installed into an environment of its own in FOLDER, which is made where it is not (without: temporary
ones), by pip from the package index, with the torch of constraints.txt. It is handed the float network, calibration
samples and test samples in files, and hands back its outputs (`benchmarks/quantizers`); `bitwright` is run here on the
same. All outputs are judged by the task `fidelity` against this process's float outputs: SQNR over all of them, and,
of logits, KL divergence. Calibration samples are those of `samples.default_samples`, tests those of `fidelity`:
other photographs, other prose. No option is chosen by them: every row that was tried is printed.

Every row says what it quantizes to 8 bits. `all operators` means sums, activations, softmax and normalisations beside
products; `attention` the products of two activations too, which bitwright quantizes unless told otherwise, torchao
never, and Brevitas not here. Networks that hold 8-bit weights alone are no peers, and left out. `float` is the network
as the peer has it: its SQNR says what the handing over itself changed. Seconds are those of quantizing, of this
computer as busy as it is. ONNX Runtime adds products of unsigned by signed bytes in 16 bits where a processor lacks
VNNI, which saturates: look for `vnni` in /proc/cpuinfo before its rows are believed.

Left out for their time: GPTQ on the language model, which passes all samples once for each of 211 layers, and learned
rounding. Its products have no biases, so that bias correction has nothing to do there. What an option of ours adds is
shown by rows without it. 25 minutes of one core's time, and 1.3 GB of disk for each environment.

Prints a line a row as it comes, then what is best of each quantizer on each network. Exits with 1 where one of the
peers' best, of what is quantized alike, is above bitwright's.
"""

import argparse
import copy
import dataclasses
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import bitwright
from bitwright.methods.executor import Executor
from bitwright.networks.packages import quiet
from bitwright.tasks import get_task
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.samples import default_samples
from bitwright.tasks.statistics import score_once

HERE = Path(__file__).parent
PACKAGES = {
    "onnxruntime": ("onnxruntime==1.32.0", "onnx==1.23.2", "onnxscript==0.7.2"),
    "brevitas": ("brevitas==0.13.4",),
    "torchao": ("torchao==0.18.0",),
}
COMMON = ("torch", "transformers==5.24.0", "safetensors", "numpy")
SAMPLES = {  # to test, to calibrate
    "efficientnet-lite0": (64, 32),
    "minilm-l6": (64, 64),
    "smollm2-135m": (2, 8),
}
INPUTS = "weights, inputs of products"
ATTENTION = "weights, inputs of products, attention"
ALL = "weights, all operators"
NO_ATTENTION = {"attention": False}
UNCHANGED = {"smoothing": "none", "rotation": "none"}
SECOND_ORDER = {"w_rounding": "second-order"}
UNCORRECTED = {"bias_correction": False, "w_rounding": "nearest"}
TOKENS = ("minilm-l6", "smollm2-135m")
EVERY = ("efficientnet-lite0", *TOKENS)
SMALL = ("efficientnet-lite0", "minilm-l6")
OURS = (  # recipe, options, what is quantized, of which networks
    ("int8", {}, ATTENTION, EVERY),
    ("int8", NO_ATTENTION, INPUTS, TOKENS),
    ("int8", UNCORRECTED, ATTENTION, SMALL),
    ("int8", UNCHANGED | UNCORRECTED, ATTENTION, SMALL),
    ("int8", NO_ATTENTION | SECOND_ORDER, INPUTS, SMALL),
    ("int8-token", {}, ATTENTION, TOKENS),
    ("int8-token", NO_ATTENTION, INPUTS, TOKENS),
    ("int8-token", NO_ATTENTION | SECOND_ORDER, INPUTS, ("minilm-l6",)),
    ("int8-token", UNCORRECTED, ATTENTION, ("minilm-l6",)),
    ("int8-token", UNCHANGED | UNCORRECTED, ATTENTION, ("minilm-l6",)),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    network, quantizer, options, quantized : str
        Which, how, and what.
    sqnr, divergence : float or None
        In dB; in nats, of logits. None where it failed.
    seconds : float
        Of quantizing.
    failed : str
        Why there are no figures; empty: there are.
    default : bool
        Whether no option was given, which is what counts of bitwright.
    """

    network: str
    quantizer: str
    options: str
    quantized: str = ""
    sqnr: float | None = None
    divergence: float | None = None
    seconds: float = math.nan
    failed: str = ""
    default: bool = False

    @property
    def static(self) -> bool:
        """Whether scales of activations are constants."""
        return not self.options.startswith(("dynamic", "int8-token"))

    def __str__(self) -> str:
        start = f"{self.network:18s} {self.quantizer:11s} {self.options:78s} {self.quantized:38s} "
        if self.sqnr is None:
            return start + self.failed
        divergence = "" if self.divergence is None else f"KL {self.divergence:.5f}"
        return f"{start}{self.sqnr:7.2f} dB {divergence:11s} {self.seconds:6.1f} s"


class Judge:
    """One network with its samples, and what its outputs are compared with."""

    def __init__(self, name: str, tests: int | None) -> None:
        self.network = bitwright.load(name)
        count, calibrating = SAMPLES[name]
        count = count if tests is None else tests
        tokens = self.network.tools.get("sequence_length", 1) if self.network.kind == "language" else 1
        self.task = get_task("fidelity", network=self.network, limit=count * tokens)
        self.tests = list(self.task.batches(self.network))
        self.calibration = default_samples(self.network, count=calibrating)
        with torch.no_grad():
            self.reference = [self.network.forward(batch.inputs) for batch in self.tests]

    def judged(self, row: Row, outputs: Iterator[torch.Tensor]) -> Row:
        """The row with its figures."""
        found = [
            self.task.collect(batch, output, reference)
            for batch, output, reference in zip(self.tests, outputs, self.reference, strict=True)
        ]
        rows, kinds = np.concatenate(found), {kind.name: kind for kind in self.task.further}
        divergence = next((score_once(rows, kind.score) for name, kind in kinds.items() if name.startswith("KL")), None)
        return dataclasses.replace(row, sqnr=score_once(rows, self.task.score), divergence=divergence)


def main() -> None:
    """Print rows, then who is best; exit with 1 where a peer is above ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=SAMPLES, default=[*SAMPLES])
    parser.add_argument("--peers", nargs="+", choices=("bitwright", *PACKAGES), default=["bitwright", *PACKAGES])
    parser.add_argument("--samples", type=int, help="images, sentences or windows to test on")
    parser.add_argument("--venvs", type=Path, help="where the peers are, or shall be installed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for row in table(given, Path(folder)) if print(row, flush=True) is None]
    sys.exit(summary(rows))


def table(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """All rows, each as soon as it is there."""
    for name in given.networks:
        judge = Judge(name, given.samples)
        print(f"{name}: tested on {judge.task.tested_on}; calibrated on {judge.calibration.description}", flush=True)
        hand(judge, folder / name)
        for peer in given.peers:
            if peer == "bitwright":
                yield from ours(judge)
            else:
                yield from theirs(judge, peer, given.venvs or folder / "venvs", folder / name)


def ours(judge: Judge) -> Iterator[Row]:
    """Bitwright's rows, computed exactly as a machine would."""
    for recipe, options, quantized, networks in OURS:
        if judge.network.name not in networks:
            continue
        said = ", ".join([recipe, *(f"{key}={value}" for key, value in options.items())])
        start = time.perf_counter()
        plan = calibrate_method(judge.network, recipe, options=options, samples=judge.calibration)
        row = Row(
            network=judge.network.name,
            quantizer="bitwright",
            options=said,
            quantized=INPUTS if judge.network.kind == "image" else quantized,
            seconds=time.perf_counter() - start,
            default=options in ({}, NO_ATTENTION),
        )
        executor = Executor(judge.network, plan)
        yield judge.judged(row, (executor.run(batch.inputs) for batch in judge.tests))


def theirs(judge: Judge, peer: str, venvs: Path, folder: Path) -> Iterator[Row]:
    """A peer's rows; one that says why, where it cannot be installed or does not start."""
    nothing = Row(network=judge.network.name, quantizer=peer, options="")
    try:
        python = environment(venvs / peer, peer)
    except subprocess.CalledProcessError as error:
        yield dataclasses.replace(nothing, failed=f"not installed: {last_line(error.stderr)}")
        return
    command = [python, HERE / "quantizers" / f"peer_{peer}.py", folder]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    back = folder / f"peer_{peer}"
    (folder / f"{peer}.log").write_text(told.stdout + told.stderr)
    lines = (back / "rows.jsonl").read_text().splitlines() if (back / "rows.jsonl").exists() else []
    for found in map(json.loads, lines):
        file = Path(found.pop("file", ""))
        row = dataclasses.replace(nothing, **found)
        yield row if row.failed else judge.judged(row, outputs(judge, file))
    if told.returncode:
        yield dataclasses.replace(nothing, failed=f"ended with {told.returncode}: {last_line(told.stderr)}")
    shutil.rmtree(back, ignore_errors=True)


def last_line(text: str) -> str:
    """Of what a process said; where it said nothing, that."""
    return (text.strip().splitlines() or ["nothing was said"])[-1][:200]


def outputs(judge: Judge, file: Path) -> Iterator[torch.Tensor]:
    """What the network's outputs would be, if its module gave what the peer handed back."""
    found = load_file(file)
    for index, batch in enumerate(judge.tests):
        raw = found[str(index)]
        answer = raw if judge.network.kind == "image" else SimpleNamespace(last_hidden_state=raw, logits=raw)
        yield judge.network.run(lambda *_, answer=answer, **__: answer, batch.inputs)


def hand(judge: Judge, folder: Path) -> None:
    """The network and its samples, as `quantizers/handed.py` reads them."""
    folder.mkdir()
    network = judge.network
    (folder / "about.json").write_text(json.dumps({"kind": network.kind}))
    for name, batches in (("calibration", judge.calibration.batches), ("test", [each.inputs for each in judge.tests])):
        tensors = {f"{i}.{key}": each.contiguous() for i, batch in enumerate(batches) for key, each in batch.items()}
        save_file(tensors, folder / f"{name}.safetensors")
    if network.kind == "image":
        torch.save(plain(network.module, judge.calibration.batches[0]["pixel_values"]), folder / "module.pt")
    else:
        with quiet():
            network.module.save_pretrained(folder / "model")


def plain(network: torch.nn.Module, images: torch.Tensor) -> torch.fx.GraphModule:
    """The network in torch's own layers, for images of one size, each used once: peers tell layers by their modules.

    "Same" padding becomes the convolution's own, or where its sides differ, a module.
    """
    network = copy.deepcopy(network).eval()
    sizes: dict[str, torch.Size] = {}
    layers = {name: each for name, each in network.named_modules() if isinstance(each, torch.nn.Conv2d)}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, given, name=name: sizes.__setitem__(name, given[0].shape[-2:]))
    with torch.no_grad():
        network(images[:1])
    for name, layer in layers.items():
        network.set_submodule(name, padded(layer, sizes[name]))
    traced = torch.fx.symbolic_trace(network)
    seen: set[str] = set()
    for node in traced.graph.nodes:
        if node.op == "call_module" and node.target in seen:
            name = f"{node.target}_{node.name}"
            traced.add_submodule(name, copy.deepcopy(traced.get_submodule(node.target)))
            node.target = name
        seen.add(node.target)
    traced.recompile()
    return traced


def padded(layer: torch.nn.Conv2d, size: torch.Size) -> torch.nn.Module:
    """A convolution with the padding that makes as many outputs as inputs by stride; even sides are its own."""
    needed = [
        max((math.ceil(extent / stride) - 1) * stride + kernel - extent, 0)
        for extent, stride, kernel in zip(size, layer.stride, layer.kernel_size, strict=True)
    ]
    even = not any(total % 2 for total in needed)
    conv = torch.nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        [total // 2 for total in needed] if even else 0,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    conv.load_state_dict(layer.state_dict())
    if even:
        return conv
    (top, left), (high, wide) = (total // 2 for total in needed), needed
    return torch.nn.Sequential(torch.nn.ZeroPad2d((left, wide - left, top, high - top)), conv)


def environment(folder: Path, peer: str) -> Path:
    """The interpreter of an environment with the peer, made if it is not there."""
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        pinned = ["--constraint", HERE.parent / "constraints.txt", *COMMON, *PACKAGES[peer]]
        commands = [[sys.executable, "-m", "venv", folder], [python, "-m", "pip", "install", "--quiet", *pinned]]
        try:
            for command in commands:
                subprocess.run(command, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(folder, ignore_errors=True)  # half an environment would be taken for one
            raise
    return python


def summary(rows: list[Row]) -> int:
    """Print bitwright's defaults beside the best row of each peer; how many peers are above."""
    above = 0
    done = [row for row in rows if row.sqnr is not None and row.quantized != "nothing"]
    for our in (row for row in done if row.default):
        for peer in PACKAGES:
            alike = [row for row in done if row.quantizer == peer and comparable(row, our)]
            if alike:
                best = max(alike, key=lambda row: row.sqnr)
                above += best.sqnr > our.sqnr
                print(
                    f"{our.network}, {our.options}: {our.sqnr:.2f} dB; {peer} at best {best.sqnr:.2f} dB "
                    f"({our.sqnr - best.sqnr:+.2f}): {best.options}"
                )
    return int(above > 0)


def comparable(row: Row, our: Row) -> bool:
    """Whether both quantize the same of one network; what only a peer quantizes beside products stands against all."""
    more = ATTENTION if row.quantized == ALL and our.network in TOKENS else INPUTS if row.quantized == ALL else ""
    return (row.network, row.static) == (our.network, our.static) and our.quantized in (row.quantized, more)


if __name__ == "__main__":
    main()
