"""Operators that onnxruntime's optimizer writes, against onnxruntime; and what they are as sites."""

import numpy as np
import pytest
import torch

from bitwright.errors import InputError
from bitwright.exchange.quantized_plan import plan_of
from bitwright.methods.executor import Executor
from bitwright.networks.nodes import Place, report_nodes
from bitwright.networks.trace import trace

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime is what networks of ONNX files are compared with")

from onnx import helper, numpy_helper  # noqa: E402
from tests.test_onnx import by_runtime, floats, loaded  # noqa: E402
from tests.test_onnx_control import value  # noqa: E402

B, T, D, HEADS = 2, 5, 8, 2
HIDDEN = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)


def node(op, inputs, outputs="y", domain="com.microsoft", **attributes):
    return helper.make_node(op, inputs.split(","), outputs.split(","), domain=domain, **attributes)


def model_of(nodes, given, outputs, constants):
    inputs = [value(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape) for name, each in given.items()]
    held = [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()]
    made = helper.make_graph(
        nodes, "graph", inputs, [value(name, kind, [None] * axes) for name, (kind, axes) in outputs.items()], held
    )
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=versions, ir_version=8)


def agrees(nodes, given, tmp_path, constants=None, outputs=None, tolerance=1e-5):
    """The network of a file, after its outputs were found equal to onnxruntime's."""
    model = model_of(nodes, given, outputs or {"y": (1, 3)}, constants or {})
    network = loaded(model, tmp_path)
    with torch.no_grad():
        found = network.module(**{name: torch.from_numpy(each) for name, each in given.items()})
    found = list(found.values()) if isinstance(found, dict) else [found]
    for own, expected in zip(found, by_runtime(model, given), strict=True):
        assert own.shape == expected.shape
        assert np.abs(own.numpy() - expected).max() <= tolerance * max(1e-6, np.abs(expected).max())
    assert report_nodes(network).count(Place.REFUSED) == 0
    return network


X = {"x": floats(B, T, D)}
NORM = {"g": floats(D, seed=1), "b": floats(D, seed=2), "d": floats(D, seed=3), "s": floats(B, T, D, seed=4)}
CASES = {
    "the norm of a sum": ([node("SkipLayerNormalization", "x,s,g,b,d", "y,,,z", epsilon=1e-6)], NORM),
    "the norm of a sum without a bias": ([node("SkipLayerNormalization", "x,s,g")], NORM),
    "the root norm of a sum": ([node("SkipSimplifiedLayerNormalization", "x,s,g,d", epsilon=1e-6)], NORM),
    "the root norm": ([node("SimplifiedLayerNormalization", "x,g", domain="", axis=-1, epsilon=1e-6)], NORM),
    "gelus": ([node("FastGelu", "x,b", "a"), node("QuickGelu", "a", "c"), node("BiasGelu", "c,d")], NORM),
    "attention": (
        [node("Attention", "x,w,v", num_heads=HEADS)], {"w": floats(D, 3 * D), "v": floats(3 * D)},
    ),
    "attention with padding": (
        [node("Attention", "x,w,v,m", num_heads=HEADS)], {"w": floats(D, 3 * D), "v": floats(3 * D), "m": HIDDEN},
    ),
    "attention with lengths": (
        [node("Attention", "x,w,v,m", num_heads=HEADS)],
        {"w": floats(D, 3 * D), "v": floats(3 * D), "m": np.array([3, 5], np.int32)},
    ),
    "attention that looks back": (
        [node("Attention", "x,w,v", num_heads=HEADS, unidirectional=1, scale=0.3)],
        {"w": floats(D, 3 * D), "v": floats(3 * D)},
    ),
    "attention of several heads": (
        [node("MultiHeadAttention", "x,s,s,v,m", num_heads=HEADS)],
        {"s": floats(B, T, D, seed=5), "v": floats(3 * D), "m": HIDDEN},
    ),
    "attention with a bias": (
        [node("MultiHeadAttention", "x,s,s,,,a", num_heads=HEADS)],
        {"s": floats(B, T, D, seed=5), "a": floats(B, HEADS, T, T, seed=6)},
    ),
    "a product and an activation": (
        [node("FusedMatMul", "x,w", transB=1, alpha=0.5)], {"w": floats(B, 6, D)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_fused_operator_gives_what_onnxruntime_gives(case, tmp_path):
    nodes, constants = CASES[case]
    used = {name: each for name, each in constants.items() if any(name in each.input for each in nodes)}
    outputs = {"y": (1, 3), **({"z": (1, 3)} if any("z" in each.output for each in nodes) else {})}
    agrees(nodes, X, tmp_path, {k: v for k, v in constants.items() if k in used}, outputs)


def test_attention_s_projection_is_a_linear_layer(tmp_path):
    nodes, constants = CASES["attention"]
    network = agrees(nodes, X, tmp_path, constants)
    macs = {site.op: site.macs for site in trace(network).sites}
    assert macs == {"linear": B * T * D * 3 * D, "attention_qk": B * T * T * D, "attention_pv": B * T * T * D}


@pytest.mark.parametrize("added", [False, True])
def test_a_convolution_with_its_activation(added, tmp_path):
    given = {"x": floats(1, 3, 6, 6)}
    constants = {"w": floats(4, 3, 3, 3), "b": floats(4), **({"z": floats(1, 4, 4, 4, seed=9)} if added else {})}
    name = {"activation": "Relu"} if added else {"activation": "LeakyRelu", "activation_params": [0.3]}
    nodes = [node("FusedConv", "x,w,b,z" if added else "x,w,b", **name)]
    network = agrees(nodes, given, tmp_path, constants, {"y": (1, 4)})
    assert [site.op for site in trace(network).sites] == ["conv2d"]


def test_a_gemm_with_its_activation(tmp_path):
    constants = {"w": floats(D, 6), "b": floats(6)}
    network = agrees(
        [node("FusedGemm", "x,w,b", activation="Relu", alpha=0.5)], {"x": floats(3, D)}, tmp_path, constants,
        {"y": (1, 2)},
    )  # fmt: skip
    assert [site.op for site in trace(network).sites] == ["linear"]


def test_embeddings_and_their_norm(tmp_path):
    given = {"i": np.array([[3, 0, 7, 2, 9]] * B, np.int32), "t": np.array([[0, 0, 1, 1, 1]] * B, np.int32)}
    constants = {
        "words": floats(10, D, seed=1), "places": floats(12, D, seed=2), "segments": floats(2, D, seed=3),
        "g": floats(D, seed=4), "b": floats(D, seed=5), "m": HIDDEN,
    }  # fmt: skip
    nodes = [node("EmbedLayerNormalization", "i,t,words,places,segments,g,b,m", "y,n", epsilon=1e-6)]
    agrees(nodes, given, tmp_path, constants, {"y": (1, 3), "n": (6, 1)})


def coded(scale_shape=()):
    w = np.random.default_rng(0).integers(-127, 128, (D, 3 * D)).astype(np.int8)
    scale = np.abs(floats(*scale_shape, seed=7)).astype(np.float32) / 50 + np.float32(0.01)
    return {"w": w, "ws": np.asarray(scale, np.float32), "wz": np.zeros(scale_shape, np.int8), "v": floats(3 * D)}


QUANTIZED = {
    "a product rounded by its range": ([node("DynamicQuantizeMatMul", "x,w,ws,wz,v")], coded()),
    "a product and its scales": (
        [
            node("DynamicQuantizeLinear", "x", "q,qs,qz", domain=""),
            node("MatMulIntegerToFloat", "q,w,qs,ws,qz,wz,v"),
        ],
        coded(),
    ),
    "attention": (
        [
            node("DynamicQuantizeLinear", "x", "q,qs,qz", domain=""),
            node("QAttention", "q,w,v,qs,ws,,qz,wz", num_heads=HEADS),
        ],
        coded(),
    ),
}


@pytest.mark.parametrize("case", QUANTIZED)
def test_codes_are_the_file_s_method(case, tmp_path):
    nodes, constants = QUANTIZED[case]
    model = model_of(nodes, X, {"y": (1, 3)}, constants)
    network = loaded(model, tmp_path)
    plan = plan_of(network)
    found = Executor(network, plan).run({"x": torch.from_numpy(X["x"])}).numpy()
    expected = by_runtime(model, X)[0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert any(each.quantized for each in plan.sites.values())
    assert report_nodes(network).count(Place.REFUSED) == 0


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("stated", [False, True])
def test_weights_in_blocks_are_real_numbers_on_their_grid(bits, stated, tmp_path):
    n, k, block = 6, 64, 16
    draw = np.random.default_rng(0)
    constants = {
        "w": draw.integers(0, 256, (n, k // block, block * bits // 8)).astype(np.uint8),
        "s": np.abs(floats(n * k // block, seed=1)) + np.float32(0.1),
        "z": draw.integers(0, 256, n * k // block * bits // 8).astype(np.uint8),
    }
    used = constants if stated else {name: constants[name] for name in "ws"}
    nodes = [node("MatMulNBits", "x,w,s,z" if stated else "x,w,s", N=n, K=k, bits=bits, block_size=block)]
    network = agrees(nodes, {"x": floats(3, k)}, tmp_path, used, {"y": (1, 2)}, tolerance=1e-4)
    low = [constants["w"][0, 0, 0] & 15, constants["w"][0, 0, 0] >> 4] if bits == 4 else list(constants["w"][0, 0, :2])
    zero = 2 ** (bits - 1) if not stated else constants["z"][0] & 15 if bits == 4 else constants["z"][0]
    weight = next(network.module.parameters())[0, :2]
    expected = (np.array(low, np.float32) - np.float32(zero)) * constants["s"][0]
    assert np.array_equal(weight.detach().numpy(), expected)


def test_what_is_packed_is_refused_by_name(tmp_path):
    nodes = [node("MultiHeadAttention", "x", num_heads=HEADS)]
    model = model_of(nodes, {"x": floats(B, T, HEADS, 3, D)}, {"y": (1, 3)}, {})
    with pytest.raises(InputError, match=r"MultiHeadAttention\).*packed"):
        loaded(model, tmp_path).module(torch.ones(B, T, HEADS, 3, D))
