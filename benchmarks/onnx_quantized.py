"""Networks that onnxruntime quantized, read as plans: whose integers are not onnxruntime's, and what they cost.

    python benchmarks/onnx_quantized.py [NETWORK ...] [--inputs N] [--calibrate N] [--forms QDQ,QOperator]

For each network (efficientnet-lite0 and minilm-l6): torch's exporter writes it in float, `quantize_static` quantizes it
(8 bits, weights per output channel) on inputs that are always there, and bitwright reads that file as a plan.
On N other inputs two things are counted:

- free: inputs on which the output is that of onnxruntime's default session within 1e-5 of its largest element (an
  output of floats has float sums behind its last codes);
- node by node: every tensor of codes that onnxruntime hands out, where each node is given onnxruntime's own values
  before it. A code that differs is of this node alone, and is told with its operator and by how much.

onnxruntime's values are those of the graph that its default optimizations leave, but for those that change layouts.
Then one inference is costed on four machines. Exits with 1 where a code differs node by node.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitwright.exchange.quantized import plan_of
from bitwright.methods.executor import Executor
from bitwright.networks.load import load
from bitwright.networks.network import Batch, Network
from bitwright.networks.onnx.graph import OnnxNetwork
from bitwright.studies.machines import build_accelerators
from bitwright.studies.simulate import simulate
from bitwright.tasks.samples import default_samples

NETWORKS = ("efficientnet-lite0", "minilm-l6")
MACHINES = ("systolic-ws", "systolic-os", "simd", "bitfusion")
OPSET = 17
NEAR = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """Of a tensor of codes: real = scale * (code - zero)."""

    scale: np.float32
    zero: int

    def codes(self, reals: torch.Tensor) -> Any:
        """The codes of reals on the grid."""
        return np.rint(reals.numpy() / self.scale).astype(np.int64) + self.zero

    def reals(self, codes: Any) -> torch.Tensor:
        """What codes stand for."""
        return torch.from_numpy((codes.astype(np.int32) - self.zero).astype(np.float32) * self.scale)


@dataclasses.dataclass(kw_only=True)
class Found:
    """What was compared: codes of all tensors, and those that differ, by operator."""

    tensors: int = 0
    codes: int = 0
    differing: Counter[str] = dataclasses.field(default_factory=Counter)
    largest: int = 0
    outputs: int = 0

    def add(self, op: str, own: Any, theirs: Any) -> None:
        """Codes of one tensor that an operator makes."""
        off = np.abs(own - theirs.astype(np.int64))
        self.tensors += 1
        self.codes += off.size
        self.largest = max(self.largest, int(off.max(initial=0)))
        self.differing[op] += int((off > 0).sum())


def exported(network: Network, batch: Batch, path: Path) -> None:
    """The float network as torch's exporter writes it."""
    assert network.module is not None

    class Called(torch.nn.Module):
        """The network, called by position."""

        def __init__(self) -> None:
            super().__init__()
            self.module = network.module

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            """Its output."""
            return network.run(self.module, dict(zip(batch, inputs, strict=True)))

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        texts = {name: {1: "tokens"} for name, each in batch.items() if not each.is_floating_point()}
        torch.onnx.export(
            Called().eval(), tuple(batch.values()), str(path), dynamo=False, opset_version=OPSET,
            input_names=list(batch), output_names=["output"], dynamic_axes=texts,
        )  # fmt: skip


def quantized(source: Path, target: Path, batches: Sequence[Batch], form: str) -> None:
    """The file that onnxruntime's quantizer makes of a float one."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        """Batches, one after the other."""

        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> Any:
            """The next one."""
            batch = next(self.left, None)
            return None if batch is None else {name: tensor.numpy() for name, tensor in batch.items()}

    prepared = source.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(target),
        Reader(),
        quant_format=quantization.QuantFormat[form],
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType.QUInt8,
    )


def session(model: Path | bytes, level: str, write: Path | None = None) -> Any:
    """What onnxruntime runs on one thread; `write` keeps the graph that its optimizations leave."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    known = {"none": levels.ORT_DISABLE_ALL, "extended": levels.ORT_ENABLE_EXTENDED, "all": levels.ORT_ENABLE_ALL}
    options.graph_optimization_level = known[level]
    if write is not None:
        options.optimized_model_filepath = str(write)
    given = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def scales_of(path: Path) -> dict[str, Scale]:
    """Of every tensor of codes that a node makes with one scale."""
    import onnx

    graph = onnx.load(path).graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    found = {}
    for node in graph.node:
        # what rounds its output has that output's scale and zero point last, or at these places
        places = {"QuantizeLinear": (1, 2), "QLinearConv": (6, 7), "QGemm": (7, 8), "QLinearConcat": (0, 1)}
        unary = {
            "QLinearSigmoid",
            "QLinearGlobalAveragePool",
            "QLinearAveragePool",
            "QLinearSoftmax",
            "QLinearLeakyRelu",
        }
        default = (3, 4) if node.op_type in unary else (6, 7)
        at = places.get(node.op_type, default if node.op_type.startswith("QLinear") else ())
        if not at or len(node.input) <= at[1]:
            continue
        scale, zero = (constants.get(node.input[place]) for place in at)
        if scale is not None and zero is not None and scale.size == 1:
            found[node.output[0]] = Scale(scale=np.float32(scale.reshape(-1)[0]), zero=int(zero.reshape(-1)[0]))
    return found


def every_value(path: Path, folder: Path) -> Any:
    """A session of the graph that onnxruntime's optimizations leave, all of whose values come out."""
    import onnx

    kept = folder / "optimized.onnx"
    session(path, "extended", kept)
    model = onnx.load(kept)
    there = {each.name for each in model.graph.output}
    for node in model.graph.node:
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name and name not in there)
    return session(model.SerializeToString(), "none")


def node_by_node(
    executor: Executor, batch: Batch, theirs: Mapping[str, Any], scales: Mapping[str, Scale], found: Found
) -> None:
    """Run a network whose every node is given onnxruntime's values, and compare the codes that it makes."""
    module = executor.network.module
    assert isinstance(module, OnnxNetwork)
    values: dict[str, Any] = dict(batch) | module.constants
    made_by = {name: each.node.op for each in module.steps for name in each.outputs}
    with executor.executing():
        for step in module.steps:
            step.run(values)
            for name in step.outputs:
                own, other = values.get(name), theirs.get(name)
                if not isinstance(own, torch.Tensor) or other is None or own.dtype != torch.float32:
                    continue
                if name in scales:
                    kind = f"{step.node.op} of {made_by.get(step.inputs[0], 'an input')}"
                    found.add(kind, scales[name].codes(own), other)
                    values[name] = scales[name].reals(other)
                elif other.dtype == np.float32:
                    values[name] = torch.from_numpy(np.array(other))


def compared(path: Path, network: Network, batches: Sequence[Batch], folder: Path) -> Found:
    """All inputs, free and node by node."""
    executor, scales, found = Executor(network, plan_of(network)), scales_of(path), Found()
    default, whole = session(path, "all"), every_value(path, folder)
    names = [each.name for each in whole.get_outputs()]
    wanted = {each.name for each in default.get_inputs()}
    for batch in batches:
        feeds = {name: tensor.numpy() for name, tensor in batch.items() if name in wanted}
        own = executor.run(batch).numpy()
        other = default.run(None, feeds)[0]
        found.outputs += int(np.abs(own - other).max() > NEAR * np.abs(other).max())
        theirs = dict(zip(names, whole.run(names, feeds), strict=True))
        node_by_node(executor, batch, theirs, scales, found)
    return found


def costs(network: Network, batch: Batch) -> Iterator[str]:
    """Latency and energy of one inference on each machine."""
    plan = plan_of(network)
    for name in MACHINES:
        found = simulate(network, plan, build_accelerators([name], None, "common"), batch=batch)[name]
        yield f"{name} {found.latency_us * 1e-3:.4g} ms, {found.cost.total_energy_pj * 1e-6:.4g} µJ"


def shown(name: str, form: str, found: Found, inputs: int) -> str:
    """A line of the result."""
    wrong = {op: count for op, count in found.differing.items() if count}
    told = f"{sum(wrong.values())} differ, by {found.largest} at most: {wrong}" if wrong else "all equal"
    return (
        f"{name}, {form}: free, {inputs - found.outputs} of {inputs} outputs equal; node by node, {found.codes:,} "
        f"codes of {found.tensors // inputs} tensors, {told}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS, metavar="NETWORK")
    parser.add_argument("--inputs", type=int, default=64, metavar="N")
    parser.add_argument("--calibrate", type=int, default=8, metavar="N")
    parser.add_argument("--forms", default="QDQ", metavar="FORM,..")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wrong = False
    for name in arguments.networks:
        source = load(name)
        drawn = default_samples(source, count=arguments.inputs + arguments.calibrate, batch_size=1).batches
        batches, calibration = drawn[: arguments.inputs], drawn[arguments.inputs :]
        for form in arguments.forms.split(","):
            with tempfile.TemporaryDirectory() as place:
                folder, start = Path(place), time.monotonic()
                exported(source, batches[0], folder / "float.onnx")
                quantized(folder / "float.onnx", folder / "int8.onnx", calibration, form)
                network = load(str(folder / "int8.onnx"), dims={key: each.shape for key, each in batches[0].items()})
                found = compared(folder / "int8.onnx", network, batches, folder)
                print(shown(name, form, found, len(batches)), f"({time.monotonic() - start:.0f} s)", flush=True)
                print(*(f"  {line}" for line in costs(network, batches[0])), sep="\n", flush=True)
                wrong |= found.largest > 0
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
