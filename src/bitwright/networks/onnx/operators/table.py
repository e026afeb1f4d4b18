"""Every operator that is known, by domain and name."""

from collections.abc import Callable, Mapping
from typing import Any

from bitwright.networks.onnx.file import MICROSOFT
from bitwright.networks.onnx.operators import (
    arithmetic,
    attention,
    boxes,
    gathering,
    losses,
    products,
    recurrent,
    reductions,
    resizing,
    sampling,
    sequences,
    shapes,
    signals,
    windows,
)
from bitwright.networks.onnx.operators.unsigned import carried

STANDARD = ("", "ai.onnx")
QONNX = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.channels_last")
NOT_OF_QONNX = {
    "Trunc": "drops bits of integers, which versions of QONNX define differently (some with a scale of its output)",
    "FloatQuant": "rounds to floats of few bits, and the method file has integers",
}
"""What is not read of QONNX, and why."""
ROOMS: tuple[Mapping[str, Callable[..., Any]], ...] = (
    arithmetic.ARITHMETIC,
    attention.ATTENTION,
    boxes.BOXES,
    gathering.GATHERING,
    losses.LOSSES,
    products.PRODUCTS,
    recurrent.RECURRENT,
    reductions.NORMS,
    resizing.RESIZING,
    sampling.SAMPLING,
    sequences.SEQUENCES,
    shapes.SHAPES,
    signals.SIGNALS,
    windows.WINDOWS,
)
OPERATORS: dict[tuple[str, str], Callable[..., Any]] = {
    **{("", name): carried(name, function) for room in ROOMS for name, function in room.items()},
    **{
        (MICROSOFT, name): function
        for room in (arithmetic.MICROSOFT, attention.MICROSOFT, products.MICROSOFT)
        for name, function in room.items()
    },
}
PRODUCT_OPERATORS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul", "FusedMatMul", "Attention"})
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)

TEXTS = frozenset(
    {
        *("StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer", "LabelEncoder"),
        *("CategoryMapper", "DictVectorizer", "Tokenizer"),
    }
)
CLASSICAL = "ai.onnx.ml"


def why_unknown(domain: str, op: str, opset: int) -> str:
    """Why an operator is refused, and what to do."""
    if op in RANDOM:
        return "draws random numbers, so that no two inferences are alike; export the network for inference"
    if op in TEXTS:
        return "handles texts, which no network computes with; export the network behind its preparation of texts"
    if domain == CLASSICAL:
        return "is no network's (trees, scalers, vector machines); export the network alone"
    if domain in QONNX and op in NOT_OF_QONNX:
        return f"{NOT_OF_QONNX[op]}; export the network with IntQuant or BipolarQuant in its place"
    if "training" in domain:
        return "trains; export the network for inference"
    if domain in STANDARD:
        return f"is not among the operators that are known (opset {opset}); export the network with another opset"
    return f"is of the domain {domain!r}, whose operators are not known; export the network with ONNX's own operators"
