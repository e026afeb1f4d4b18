"""Quantized ONNX files whose codes lie in graphs inside others, in products of two kinds, or in half precision."""

import numpy as np
import pytest
import torch

from bitwright.errors import InputError
from bitwright.methods.executor import Executor
from bitwright.networks.nodes import report_nodes
from bitwright.tasks.calibrate import calibrate_method

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime is what networks of ONNX files are compared with")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from tests.test_onnx import by_runtime, floats, loaded, node  # noqa: E402

from bitwright.exchange.quantized_plan import plan_of  # noqa: E402
from bitwright.networks.onnx.quantization.grids import QUANTIZED  # noqa: E402

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
MICROSOFT, QONNX = "com.microsoft", "qonnx.custom_op.general"
CODES = np.random.default_rng(0).integers(-127, 128, (8, 8)).astype(np.int8)
CONSTANTS = {
    "sx": np.float32(0.02), "zx": np.uint8(128), "sw": np.float32(0.01), "zw": np.int8(0), "w": CODES,
    "sy": np.float32(0.03), "zero": np.float32(0), "one": np.float32(1),
}  # fmt: skip


def value(name, kind=FLOAT, sizes=None):
    return helper.make_tensor_value_info(name, kind, sizes)


def graph(nodes, inputs, outputs, constants=None):
    held = [numpy_helper.from_array(np.asarray(each), name) for name, each in (constants or {}).items()]
    return helper.make_graph(nodes, "graph", inputs, outputs, held)


def model(nodes, given, output, constants=None, opset=18, domains=()):
    inputs = [value(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape) for name, each in given.items()]
    made = graph(nodes, inputs, [output], CONSTANTS if constants is None else constants)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(made, opset_imports=imports, ir_version=9)


def executed(made, given, tmp_path):
    """The plan of a file, and what it gives."""
    network = loaded(made, tmp_path)
    plan = plan_of(network)
    return plan, Executor(network, plan).run({name: torch.from_numpy(each) for name, each in given.items()})


def coded(x, real, product):
    """x rounded, by constant codes, rounded again."""
    return [
        node("QuantizeLinear", f"{x},sx,zx", f"{product}_q"),
        node("DequantizeLinear", f"{product}_q,sx,zx", f"{product}_d"),
        node("DequantizeLinear", "w,sw,zw", f"{product}_w"), node("MatMul", f"{product}_d,{product}_w", product),
        node("QuantizeLinear", f"{product},sy,zx", f"{product}_y"),
        node("DequantizeLinear", f"{product}_y,sy,zx", real),
    ]  # fmt: skip


def test_products_of_a_branch_are_by_its_own_codes(tmp_path):
    then, other = graph(coded("x", "a", "p"), [], [value("a")]), graph([node("Neg", "x", "b")], [], [value("b")])
    nodes = [
        node("ReduceMax", "x", "m", keepdims=0), node("Greater", "m,zero", "c"),
        node("If", "c", "y", then_branch=then, else_branch=other),
    ]  # fmt: skip
    given = {"x": floats(3, 8)}
    made = model(nodes, given, value("y", FLOAT, [3, 8]))
    plan, found = executed(made, given, tmp_path)
    assert [(site.x_type, site.w_type, site.y is not None) for site in plan.sites.values()] == [("uint8", "int8", True)]
    assert np.array_equal(found.numpy(), by_runtime(made, given)[0])


def test_a_branch_that_is_not_taken_has_no_plan_and_that_is_told(tmp_path):
    """Example inputs have a largest element above 0; where it is not above 0, the other product would run."""
    then = graph(coded("x", "a", "p"), [], [value("a")])
    other = graph(coded("x", "b", "q"), [], [value("b")])
    nodes = [
        node("ReduceMax", "x", "m", keepdims=0), node("Greater", "m,zero", "c"),
        node("If", "c", "y", then_branch=then, else_branch=other),
    ]  # fmt: skip
    given = {"x": floats(3, 8)}
    network = loaded(model(nodes, given, value("y", FLOAT, [3, 8])), tmp_path)
    plan = plan_of(network)
    assert len(plan.sites) == 1
    assert any("1 product of the file without a plan" in note and "otherwise.q" in note for note in plan.notes)
    why = {line.name: line.why for line in report_nodes(network).lines if line.operator == "MatMul"}
    assert "does not reach" in why["q"]
    assert "does not reach" not in why["p"]
    below = {"x": torch.from_numpy(-np.abs(given["x"]))}
    for each in (plan, calibrate_method(network, "int8")):
        with pytest.raises(
            InputError, match=r"otherwise\.q.* is not in the plan, since no input .* calibrate on inputs that do"
        ):
            Executor(network, each).run(below)


def test_products_of_a_loop_are_by_their_own_codes_and_others_of_their_names_stay_float(tmp_path):
    inner = coded("h", "next", "p")
    inner[3].name = "MatMul_0"
    body = graph(
        [*inner, node("Identity", "go", "again")],
        [value("i", INT, []), value("go", BOOL, []), value("h", FLOAT, [3, 8])],
        [value("again", BOOL, []), value("next", FLOAT, [3, 8])],
    )
    first = node("MatMul", "x,v", "start")
    first.name = "MatMul_0"
    nodes = [first, node("Loop", "n,t,start", "y", body=body)]
    constants = {**CONSTANTS, "v": floats(8, 8, seed=2), "n": np.array(3), "t": np.array(True)}
    given = {"x": floats(3, 8)}
    made = model(nodes, given, value("y", FLOAT, [3, 8]), constants)
    plan, found = executed(made, given, tmp_path)
    assert sorted(site.x_type for site in plan.sites.values()) == ["float32", "uint8"]
    assert plan.site("MatMul_0").x_type == "float32"
    assert np.array_equal(found.numpy(), by_runtime(made, given)[0])


def test_graphs_beside_each_other_may_call_their_values_the_same(tmp_path):
    then = graph(coded("x", "a", "p"), [], [value("a")])
    float_nodes = [
        node("Add", "x,one", "p_d"), node("DequantizeLinear", "w,sw,zw", "p_w"), node("MatMul", "p_d,p_w", "a")
    ]  # fmt: skip
    other = graph(float_nodes, [], [value("a")])
    nodes = [
        node("ReduceMax", "x", "m", keepdims=0), node("Greater", "m,zero", "c"),
        node("If", "c", "y", then_branch=then, else_branch=other),
    ]  # fmt: skip
    network = loaded(model(nodes, {"x": floats(3, 8)}, value("y", FLOAT, [3, 8])), tmp_path)
    sites = network.tools[QUANTIZED].sites
    grids = {path.split(".")[1]: each for path, each in sites.items()}
    assert grids["then"].x is not None
    assert grids["otherwise"].x is None
    assert grids["otherwise"].w is not None


def test_shares_of_an_attention_are_no_codes_of_its_queries(tmp_path):
    nodes = []
    for name in "qkv":
        nodes += [
            node("QuantizeLinear", f"{name},sx,zx", f"{name}q"), node("DequantizeLinear", f"{name}q,sx,zx", f"{name}d")
        ]  # fmt: skip
    given = {name: floats(1, 2, 3, 8, seed=seed) for seed, name in enumerate("qkv")}
    made = model([*nodes, node("Attention", "qd,kd,vd", "y")], given, value("y", FLOAT, [1, 2, 3, 8]), opset=23)
    plan, found = executed(made, given, tmp_path)
    assert {site.rsplit(":")[-1]: each.x_type for site, each in plan.sites.items()} == {"qk": "uint8", "pv": "float32"}
    assert np.allclose(found.numpy(), by_runtime(made, given)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("constant", [False, True])
def test_codes_that_are_cast_have_the_type_that_they_are_cast_to(constant, tmp_path):
    given = {"x": np.random.default_rng(1).integers(-100, 100, (3, 8)).astype(np.int32)}
    wide = {**CONSTANTS, "w32": CODES.astype(np.int32)}
    nodes = [
        node("Cast", "x", "i", to=TensorProto.INT8), node("DequantizeLinear", "i,sx", "d"),
        node("Cast", "w32", "v", to=TensorProto.INT8),
        node("DequantizeLinear", "v,sw" if constant else "w,sw,zw", "dw"), node("MatMul", "d,dw", "y"),
    ]  # fmt: skip
    made = model(nodes, given, value("y", FLOAT, [3, 8]), wide)
    plan, found = executed(made, given, tmp_path)
    assert [(site.x_type, site.w_type) for site in plan.sites.values()] == [("int8", "int8")]
    assert np.allclose(found.numpy(), by_runtime(made, given)[0], rtol=1e-6, atol=1e-5)


def test_codes_with_scales_in_half_precision_are_reals_in_half_precision(tmp_path):
    given = {"x": np.random.default_rng(1).integers(-100, 100, (3, 8)).astype(np.int8)}
    constants = {"s": np.float16(0.1), "v": floats(8, 4).astype(np.float16)}
    nodes = [node("DequantizeLinear", "x,s", "d"), node("MatMul", "d,v", "y")]
    made = model(nodes, given, value("y", TensorProto.FLOAT16, [3, 4]), constants, 21)
    _, found = executed(made, given, tmp_path)
    assert found.dtype == torch.float16
    assert np.allclose(found.numpy(), by_runtime(made, given)[0], rtol=2e-3, atol=1e-2)


def test_blocks_of_codes_multiply_half_precision(tmp_path):
    packed = np.random.default_rng(2).integers(0, 256, (8, 2, 16)).astype(np.uint8)
    scales = np.abs(floats(16)).astype(np.float16)
    given = {"x": floats(3, 64).astype(np.float16)}
    product = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain=MICROSOFT, K=64, N=8, bits=4, block_size=32
    )
    made = model(
        [product], given, value("y", TensorProto.FLOAT16, [3, 8]), {"w": packed, "s": scales}, 21, (MICROSOFT,)
    )
    _, found = executed(made, given, tmp_path)
    codes = np.stack((packed & 15, packed >> 4), -1).reshape(8, 64).astype(np.float64) - 8
    expected = given["x"].astype(np.float64) @ (codes * scales.reshape(8, 2).repeat(32, 1)).T
    assert found.dtype == torch.float16
    assert np.allclose(found.numpy(), expected, rtol=5e-3, atol=5e-2)


@pytest.mark.parametrize(
    ("x_sizes", "w_sizes", "axis", "type_of_w"),
    [
        ((2, 2, 4, 8), (2, 8, 4), 0, "float32"),  # of heads, as many as sequences: nothing tells which
        ((2, 3, 4, 8), (3, 8, 4), 0, "int8"),
        ((2, 2, 4, 8), (2, 2, 8, 4), 0, "int8"),
        ((2, 2, 4, 8), (1, 2, 8, 4), 1, "int8"),
    ],
)
def test_scales_of_heads_are_those_of_the_operand_s_own_axes(x_sizes, w_sizes, axis, type_of_w, tmp_path):
    """The second operand, computed as the network runs, may have fewer axes than the product."""
    scales = np.array([0.01, 0.04, 0.02][: w_sizes[axis]], np.float32)
    constants = {"sx": np.float32(0.02), "zx": np.uint8(128), "sw": scales, "zw": np.zeros(len(scales), np.int8)}
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "xq"), node("DequantizeLinear", "xq,sx,zx", "xd"),
        node("QuantizeLinear", "w,sw,zw", "wq", axis=axis), node("DequantizeLinear", "wq,sw,zw", "wd", axis=axis),
        node("MatMul", "xd,wd", "y"),
    ]  # fmt: skip
    given = {"x": floats(*x_sizes), "w": floats(*w_sizes)}
    plan, found = executed(model(nodes, given, value("y", FLOAT, [*x_sizes[:-1], 4]), constants), given, tmp_path)
    of_w = scales.reshape([-1 if at == axis else 1 for at in range(len(w_sizes))])
    x = np.clip(np.rint(given["x"] / np.float32(0.02)), -128, 127).astype(np.float64) * np.float32(0.02)
    w = np.clip(np.rint(given["w"] / of_w), -128, 127).astype(np.float64) * of_w
    assert [site.w_type for site in plan.sites.values()] == [type_of_w]
    assert np.allclose(found.numpy(), x @ w, rtol=0, atol=1e-5)


def test_scales_of_rows_are_not_those_of_columns(tmp_path):
    constants = {
        "sa": np.array([0.1, 0.2, 0.3, 0.4], np.float32), "za": np.array([1, 2, 3, 4], np.uint8),
        "b": np.ones((4, 4), np.uint8), "sb": np.float32(0.05), "zb": np.uint8(0), "sy": np.float32(1),
        "zy": np.uint8(0),
    }  # fmt: skip
    nodes = [node("QLinearMatMul", "a,sa,za,b,sb,zb,sy,zy", "y")]
    made = model(nodes, {"a": np.ones((4, 4), np.uint8)}, value("y", TensorProto.UINT8, [4, 4]), constants, 21)
    with pytest.raises(InputError, match="counts its axis from the end"):
        loaded(made, tmp_path)


def quant(zero):
    """A Quant of QONNX between a network's input and its output, and what is given to it: halves of its scale."""
    given = {"x": np.array([[-0.75, -0.25, 0.25, 0.75, 1.25]], np.float32)}
    constants = {"s": np.float32(0.5), "z": np.float32(zero), "bits": np.float32(4)}
    nodes = [helper.make_node("Quant", ["x", "s", "z", "bits"], ["y"], domain=QONNX, signed=1, narrow=0)]
    return model(nodes, given, value("y", FLOAT, [1, 5]), constants, 13, (QONNX,)), given


def test_a_quant_adds_its_zero_point_before_it_rounds(tmp_path):
    """-.5, .5, 1.5, 2.5, 3.5 with the zero point are the even codes 0, 0, 2, 2, 4."""
    made, given = quant(1)
    _, found = executed(made, given, tmp_path)
    assert found.tolist() == [[-0.5, -0.5, 0.5, 0.5, 1.5]]


def test_a_zero_point_between_codes_is_refused(tmp_path):
    with pytest.raises(InputError, match="zero point that is no whole number"):
        loaded(quant(0.5)[0], tmp_path)


HALVES = [-1.5, -1.25, -0.5, -0.25, 0.25, 0.5, 1.25, 1.5]
MODES = {
    "ROUND": [-2, -1, 0, 0, 0, 0, 1, 2],
    "half_even": [-2, -1, 0, 0, 0, 0, 1, 2],
    "CEIL": [-1, -1, 0, 0, 1, 1, 2, 2],
    "FLOOR": [-2, -2, -1, -1, 0, 0, 1, 1],
    "UP": [-2, -2, -1, -1, 1, 1, 2, 2],
    "DOWN": [-1, -1, 0, 0, 0, 0, 1, 1],
    "HALF_UP": [-2, -1, -1, 0, 0, 1, 1, 2],
    "HALF_DOWN": [-1, -1, 0, 0, 0, 0, 1, 1],
}


def rounded_products(op, inputs, constants, **attributes):
    """A quantizer of QONNX at both operands of a product, the second one constant; and what is given to it."""
    given = {"x": np.array([HALVES], np.float32) / 4}
    constants = {
        "w": np.array(HALVES, np.float32).reshape(-1, 1) / 2,
        "s": np.float32(0.25),
        "t": np.float32(0.5),
    } | constants
    nodes = [
        helper.make_node(op, ["x", "s", *inputs], ["q"], domain=QONNX, **attributes),
        helper.make_node(op, ["w", "t", *inputs], ["v"], domain=QONNX, **attributes),
        node("MatMul", "q,v", "y"),
    ]
    return model(nodes, given, value("y", FLOAT, [1, 1]), constants, 13, (QONNX,)), given


@pytest.mark.parametrize("mode", MODES)
def test_quantizers_round_as_their_file_says(mode, tmp_path):
    """Codes of both operands are those of the table, and so are their products."""
    few = {"z": np.float32(0), "bits": np.float32(3)}
    made, given = rounded_products("IntQuant", ["z", "bits"], few, signed=1, narrow=0, rounding_mode=mode)
    plan, found = executed(made, given, tmp_path)
    assert next(iter(plan.sites.values())).w_type == "int3"
    assert found.tolist() == [[sum(code * code for code in MODES[mode]) * 0.125]]


def test_bipolar_quantizers_have_signs(tmp_path):
    made, given = rounded_products("BipolarQuant", [], {})
    given["x"][0, 0] = 0  # which is 1, and its weight -1
    plan, found = executed(made, given, tmp_path)
    site = next(iter(plan.sites.values()))
    assert (site.x_type, site.w_type) == ("int2", "int2")
    assert found.tolist() == [[(7 - 1) * 0.125]]
    one = {"z": np.float32(0), "bits": np.float32(1)}
    made, given = rounded_products("Quant", ["z", "bits"], one, signed=1, narrow=0, rounding_mode="ROUND")
    assert executed(made, given, tmp_path)[1].tolist() == [[8 * 0.125]]


@pytest.mark.parametrize(
    ("op", "inputs", "mode", "sentence"),
    [
        (
            "Quant",
            ["z", "bits"],
            "ROUND_TO_ZERO",
            "rounds by ROUND_TO_ZERO, which is not known; ROUND, HALF_EVEN, CEIL",
        ),
        ("Quant", ["z", "bits"], "BIPOLAR", "rounds by BIPOLAR, which is not known"),
        ("Trunc", ["z", "bits", "bits"], "FLOOR", "drops bits of integers, which versions of QONNX define differently"),
        ("FloatQuant", ["z", "bits", "bits", "bits"], "ROUND", "rounds to floats of few bits"),
    ],
)
def test_quantizers_that_are_not_read_are_refused_by_name(op, inputs, mode, sentence, tmp_path):
    made, _ = rounded_products(op, inputs, {"z": np.float32(0), "bits": np.float32(4)}, rounding_mode=mode)
    with pytest.raises(InputError, match=rf"{op}.*{sentence}"):
        loaded(made, tmp_path)
