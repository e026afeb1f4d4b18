"""How a file agrees with what it was made of: onnxruntime on the same inputs, beside exact execution of the plan.

Codes are compared site by site, in a copy of the graph whose sites read the very codes of exact execution and that
gives those it makes: one that differs lies where sums in float32 round to the other side. In the whole network such a
code changes others after it, which only the output's figures say: with every node run as it stands, and as onnxruntime
runs the file by default, where it fuses nodes and multiplies integers.
"""

import dataclasses
import importlib.util
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bitwright.exchange.export.coded import Array
from bitwright.exchange.export.trace import OUTPUT, numbered
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor
from bitwright.methods.plan import Plan
from bitwright.networks.network import Batch, Network
from bitwright.networks.packages import first_line

if TYPE_CHECKING:
    import onnx

UNTOLD = "ORT_DISABLE_TELEMETRY"
"""Of the environment: onnxruntime (1.32, on Linux too) tells its maker of every session, unless it is set at import."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """A file as onnxruntime runs it, beside exact execution.

    Attributes
    ----------
    batches : int
        Inputs that were compared.
    codes : int
        Codes of activations that were compared.
    equal_codes : float
        Share of them that are equal, 0 .. 1, where all sites before had equal ones.
    off_by : int
        The largest difference of a code.
    first_site : str
        Where the first code differs; empty: nowhere.
    sqnr_db : float
        Signal to noise of the output, in dB; infinite where it is equal.
    max_difference : float
        Of the output, in its own units.
    fused_sqnr_db : float or None
        The same as onnxruntime runs the file by default; None where it fails to.
    failure : str
        What it says then.
    """

    batches: int
    codes: int
    equal_codes: float
    off_by: int
    first_site: str
    sqnr_db: float
    max_difference: float
    fused_sqnr_db: float | None
    failure: str = ""


def can_run() -> bool:
    """Whether onnxruntime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def agreement(
    content: bytes, network: Network, plan: Plan, batches: Sequence[Batch], *, threads: int | None = None
) -> Agreement:
    """Run a QDQ file and the plan on the same inputs, of the shapes that the file has."""
    import onnx

    model = onnx.load_from_string(content)
    cuts = _cuts(model)
    _cut(model, cuts)
    by_site = _session(model.SerializeToString(), fused=False, threads=threads)
    plain = _session(content, fused=False, threads=threads)
    fused = _Fused(content, threads)
    executor = Executor(network, plan, listeners=[listener := _Codes()])
    total = _Total()
    for batch in batches:
        listener.forget()
        expected = executor.run(batch).detach().numpy()
        feeds = {each.name: batch[each.name].numpy() for each in plain.get_inputs()}
        given = {cut.given: cut.padded(listener.codes[cut.name]) for cut in cuts}
        wanted = {each.name for each in by_site.get_inputs()}
        every = {name: values for name, values in (feeds | given).items() if name in wanted}
        for cut, codes in zip(cuts, by_site.run([cut.made for cut in cuts], every), strict=True):
            total.codes(cut.name, given[cut.given], np.asarray(codes))
        total.output(expected, plain.run([OUTPUT], feeds)[0], fused.output(feeds))
    return total.result(len(batches), fused.failure)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Cut:
    """Where a graph is cut: codes that it makes, and those that it is given instead.

    `kind` is their type in numpy, of which `zero_point` is the code of zero.
    """

    name: str
    made: str
    shape: tuple[int, ...]
    kind: np.dtype[Any]
    zero_point: int

    @property
    def given(self) -> str:
        """The input that takes the codes' place."""
        return f"{self.made}.given"

    def padded(self, codes: Array) -> Array:
        """Codes in the shape of the graph, whose rows may be filled up to whole blocks."""
        if codes.size != math.prod(self.shape):
            k, size = codes.shape[-1], self.shape[-1]
            codes = np.pad(codes.reshape(-1, k), ((0, 0), (0, -k % size)), constant_values=self.zero_point)
        return codes.reshape(self.shape).astype(self.kind)


def _cuts(model: "onnx.ModelProto") -> list[_Cut]:
    from onnx import numpy_helper

    typed = {each.name: each.type.tensor_type.shape.dim for each in model.graph.value_info}
    constants = {each.name: each for each in model.graph.initializer}
    shifted = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "BitShift"}
    cuts = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            zero_point = numpy_helper.to_array(constants[node.input[2]])
            made = node.output[0]
            while made in shifted:  # DequantizeLinear reads codes without their lowest bits
                made = shifted[made]
            name, zero = node.name.removesuffix(".quantize"), int(zero_point.flat[0])
            shape = tuple(each.dim_value for each in typed[node.output[0]])
            cuts.append(_Cut(name=name, made=made, shape=shape, kind=zero_point.dtype, zero_point=zero))
    return cuts


def _cut(model: "onnx.ModelProto", cuts: Sequence[_Cut]) -> None:
    """Have every DequantizeLinear read codes that are given, and those that are made come out."""
    import onnx
    from onnx import helper

    given = {cut.made: cut.given for cut in cuts}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            node.input[0] = given.get(node.input[0], node.input[0])
    for cut in cuts:
        kind = helper.np_dtype_to_tensor_dtype(cut.kind)
        model.graph.input.append(helper.make_tensor_value_info(cut.given, kind, list(cut.shape)))
    model.graph.output.extend(onnx.ValueInfoProto(name=cut.made) for cut in cuts)


def _session(content: bytes, *, fused: bool, threads: int | None) -> Any:
    os.environ.setdefault(UNTOLD, "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if fused else levels.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or torch.get_num_threads()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class _Fused:
    """onnxruntime with all its optimizations, some of which fail on files that are valid."""

    def __init__(self, content: bytes, threads: int | None) -> None:
        self.failure, self.session = "", None
        try:
            self.session = _session(content, fused=True, threads=threads)
        except Exception as error:  # its errors have no common type
            self.failure = first_line(error)

    def output(self, feeds: Mapping[str, Array]) -> Array | None:
        """Of one pass."""
        if self.session is None or self.failure:
            return None
        try:
            result: Array = self.session.run([OUTPUT], feeds)[0]
        except Exception as error:
            self.failure = first_line(error)
            return None
        return result


class _Codes:
    """A listener that keeps the codes of activations, as the graph names and lays them out."""

    def __init__(self) -> None:
        self.codes: dict[str, Array] = {}
        self.named = Counter[str]()

    def forget(self) -> None:
        """Before another pass."""
        self.codes, self.named = {}, Counter()

    def __call__(self, work: Execution) -> None:
        if work.x is None or work.w is None or work.view is None:
            return
        view, site = work.view, work.site.name
        self.named[site] += 1
        operands = [("x", work.x, view.images)] + ([] if view.weight is not None else [("w", work.w, view.filters)])
        for operand, quantized, laid_out in operands:
            codes = laid_out(quantized.codes) if view.spatial else quantized.codes
            narrow = torch.int32 if quantized.format.bits > 8 else torch.int16
            self.codes[numbered(site, self.named, operand)] = codes.detach().to(narrow).contiguous().numpy()


class _Total:
    """What was compared so far."""

    def __init__(self) -> None:
        self.compared = self.equal = self.off_by = 0
        self.first = ""
        self.signal = self.noise = self.fused_noise = self.largest = 0.0

    def codes(self, name: str, expected: Array, values: Array) -> None:
        """Codes of one operand."""
        differences = np.abs(values.astype(np.int32) - expected.astype(np.int32))
        self.compared += differences.size
        self.equal += int((differences == 0).sum())
        largest = int(differences.max(initial=0))
        self.first = self.first or (name if largest else "")
        self.off_by = max(self.off_by, largest)

    def output(self, expected: Array, plain: Array, fused: Array | None) -> None:
        """The outputs of one pass."""
        wanted = expected.astype(np.float64)
        self.signal += float((wanted**2).sum())
        self.noise += float(((plain - wanted) ** 2).sum())
        self.fused_noise += 0.0 if fused is None else float(((fused - wanted) ** 2).sum())
        self.largest = max(self.largest, float(np.abs(plain - wanted).max(initial=0.0)))

    def result(self, batches: int, failure: str) -> Agreement:
        """All of it."""
        return Agreement(
            batches=batches,
            codes=self.compared,
            equal_codes=self.equal / max(self.compared, 1),
            off_by=self.off_by,
            first_site=self.first.rpartition(".")[0],
            sqnr_db=_decibels(self.signal, self.noise),
            max_difference=self.largest,
            fused_sqnr_db=None if failure else _decibels(self.signal, self.fused_noise),
            failure=failure,
        )


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
