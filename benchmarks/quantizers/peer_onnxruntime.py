"""ONNX Runtime's own quantization, static (QDQ) and dynamic, of a network that torch exports; see `handed`.

Weights are signed and have a scale per channel, activations are of a tensor. Unless products alone are asked for, every
operator that it knows is quantized at its inputs and outputs, sums and normalisations too.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from handed import Batch, Handed, Runs
from onnxruntime import InferenceSession
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

PRODUCTS = ["Conv", "Gemm", "MatMul"]
ALL = "weights, all operators"
ATTENTION = "weights, inputs of products, attention"
INPUTS = "weights, inputs of products"
SYMMETRIC = {"ActivationSymmetric": True}
INPUTS_ALONE = {"OpTypesToExcludeOutputQuantization": PRODUCTS}
STATIC: list[tuple[str, str, dict[str, Any]]] = [
    ("MinMax", ALL, {}),
    ("MinMax, symmetric activations", ALL, {"extra_options": SYMMETRIC}),
    ("Entropy", ALL, {"calibrate_method": CalibrationMethod.Entropy}),
    ("Percentile", ALL, {"calibrate_method": CalibrationMethod.Percentile}),
    ("MinMax", ATTENTION, {"op_types_to_quantize": PRODUCTS, "extra_options": INPUTS_ALONE}),
    ("MinMax", INPUTS, {"op_types_to_quantize": PRODUCTS, "extra_options": INPUTS_ALONE}),
    (
        "Percentile",
        INPUTS,
        {
            "op_types_to_quantize": PRODUCTS,
            "extra_options": INPUTS_ALONE,
            "calibrate_method": CalibrationMethod.Percentile,
        },
    ),
]
"""Options, what is quantized, and arguments. Entropy is MinMax by histograms: its 128 bins are cut to no fewer."""
HISTOGRAMS = (CalibrationMethod.Entropy, CalibrationMethod.Percentile)


class Exported(torch.nn.Module):
    """A network of positional inputs and one output."""

    def __init__(self, handed: Handed, names: list[str]) -> None:
        super().__init__()
        self.network, self.names, self.handed = handed.module(), names, handed

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The output."""
        return self.handed.output(self.network, dict(zip(self.names, inputs, strict=True)))


class Reader(CalibrationDataReader):
    """Calibration samples, one batch after the other."""

    def __init__(self, batches: list[Batch]) -> None:
        self.left: Iterator[Batch] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch; None after the last."""
        batch = next(self.left, None)
        return None if batch is None else {name: tensor.numpy() for name, tensor in batch.items()}


def export(handed: Handed, to: Path) -> Path:
    """The float network, with batches and lengths that may vary."""
    batch = handed.tests[0]
    varying = {0: torch.export.Dim.DYNAMIC} | ({} if handed.kind == "image" else {1: torch.export.Dim.DYNAMIC})
    torch.onnx.export(
        Exported(handed, [*batch]).eval(),
        tuple(batch.values()),
        to,
        input_names=[*batch],
        output_names=["output"],
        dynamic_shapes=(tuple(varying for _ in batch),),
        dynamo=True,
        external_data=False,
    )
    return to


def session(path: Path) -> Runs:
    """What runs a batch by ONNX Runtime."""
    loaded = InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(batch: Batch) -> torch.Tensor:
        given = {each.name: batch[each.name].numpy() for each in loaded.get_inputs()}
        return torch.from_numpy(loaded.run(["output"], given)[0])

    return run


def static(handed: Handed, source: Path, quantized: str, options: dict[str, Any]) -> Runs:
    """Quantized with calibration; histograms are of one length."""
    to = source.with_name("static.onnx")
    histograms = options.get("calibrate_method") in HISTOGRAMS
    quantize_static(
        source,
        to,
        Reader([handed.together()] if histograms and handed.kind != "image" else handed.calibration),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=products_of_activations(source) if quantized == INPUTS else [],
        **options,
    )
    return session(to)


def products_of_activations(source: Path) -> list[str]:
    """Names of matrix products without a weight: static quantization ignores MatMulConstBOnly."""
    graph = onnx.load(source).graph
    weights = {each.name for each in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "MatMul" and not weights & set(node.input)]


def dynamic(source: Path, extra: dict[str, Any]) -> Runs:
    """Quantized at run time."""
    to = source.with_name("dynamic.onnx")
    quantize_dynamic(
        source,
        to,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options=extra,
    )
    return session(to)


def main() -> None:
    """All rows of one network."""
    handed = Handed()
    plain, ready = (handed.back / f"{name}.onnx" for name in ("plain", "ready"))
    handed.attempt("float, exported", "nothing", lambda: session(export(handed, plain)))
    handed.attempt("float, pre-processed", "nothing", lambda: prepared(plain, ready))
    source = ready if ready.exists() else plain
    if handed.kind != "language":
        unprepared = "static, MinMax, without pre-processing"
        handed.attempt(unprepared, ALL, lambda: static(handed, plain, ALL, {}))
    for options, quantized, given in STATIC:
        if handed.kind == "language" and (given.get("calibrate_method") in HISTOGRAMS or quantized == ALL):
            continue  # histograms keep all activations of all windows; all operators leave 0.6 dB, after minutes
        if handed.kind != "image" or quantized != ATTENTION:
            attempt = partial(static, handed, source, quantized, given)
            handed.attempt(f"static, {options}", quantized, attempt)
    if handed.kind != "image":
        handed.attempt("dynamic", INPUTS, lambda: dynamic(source, {"MatMulConstBOnly": True}))
        handed.attempt("dynamic", ATTENTION, lambda: dynamic(source, {"MatMulConstBOnly": False}))


def prepared(plain: Path, ready: Path) -> Runs:
    """Pre-processed as its documentation asks: shapes inferred, operators fused."""
    quant_pre_process(plain, ready, skip_symbolic_shape=True)
    return session(ready)


if __name__ == "__main__":
    main()
