"""Every operator that is known, by domain and name."""

from collections.abc import Callable
from typing import Any

from bitwright.networks.onnx.operators import (
    arithmetic,
    products,
    recurrent,
    reductions,
    resizing,
    sequences,
    shapes,
    windows,
)

STANDARD = ("", "ai.onnx")
MICROSOFT = "com.microsoft"
QONNX = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.channels_last")
OWN: dict[str, Callable[..., Any]] = {
    **arithmetic.ARITHMETIC,
    **shapes.SHAPES,
    **reductions.NORMS,
    **windows.WINDOWS,
    **resizing.RESIZING,
    **products.PRODUCTS,
    **recurrent.RECURRENT,
    **sequences.SEQUENCES,
}
OPERATORS: dict[tuple[str, str], Callable[..., Any]] = {
    **{("", name): function for name, function in OWN.items()},
    **{(MICROSOFT, name): function for name, function in (arithmetic.MICROSOFT | products.MICROSOFT).items()},
}
PRODUCT_OPERATORS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul", "FusedMatMul", "Attention"})
LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def why_unknown(domain: str, op: str, opset: int) -> str:
    """Why an operator is refused, and what to do."""
    if op in LOOPS:
        return "repeats a graph as often as its data say; unroll it when the network is exported"
    if op in RANDOM:
        return "draws random numbers, so that no two inferences are alike; export the network for inference"
    if op in ("NonMaxSuppression", "RoiAlign", "MaxRoiPool"):
        return "picks boxes, which is not supported; export the network without its post-processing"
    if op.startswith("Sequence") or op in ("SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement"):
        return "handles sequences of tensors, which are not supported; export the network with tensors alone"
    if domain in STANDARD:
        return f"is not among the operators that are known (opset {opset}); export the network with another opset"
    return f"is of the domain {domain!r}, whose operators are not known; export the network with ONNX's own operators"
