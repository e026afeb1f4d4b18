"""Quantized ONNX files as plans: the file's own integers, against onnxruntime's and a slow obvious twin."""

import itertools

import numpy as np
import pytest
import torch

from bitwright.cli.plans import find_plan
from bitwright.errors import InputError
from bitwright.formats import PerChannel, PerGroup
from bitwright.methods.executor import Executor
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose
from bitwright.networks.load import load
from bitwright.networks.nodes import Place, report_nodes
from bitwright.tasks.calibrate import calibrate_method

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is what networks of ONNX files are compared with")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from tests.test_onnx import by_runtime, cnn, floats, loaded, model_of, node  # noqa: E402

from bitwright.exchange.quantized_plan import plan_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def executed(network, plan, inputs):
    return Executor(network, plan).run({name: torch.from_numpy(value) for name, value in inputs.items()}).numpy()


def differing(model, tmp_path, inputs, plan=None):
    """The share of outputs that are not onnxruntime's, and the largest difference by the largest output."""
    network = loaded(model, tmp_path)
    found, expected = executed(network, plan or plan_of(network), inputs), by_runtime(model, inputs)[0]
    assert found.shape == expected.shape
    return float((found != expected).mean()), float(np.abs(found - expected).max() / np.abs(expected).max())


def plain_cnn():
    return cnn(batch=1, alpha=1.0, beta=1.0)


def quantized(model, tmp_path, form, **options):
    """A model that onnxruntime quantized on noise."""
    from onnxruntime import quantization

    class Noise(quantization.CalibrationDataReader):
        def __init__(self):
            self.batches = iter([{"x": floats(1, 3, 16, 16, seed=seed)} for seed in range(4)])

        def get_next(self):
            return next(self.batches, None)

    source, target = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    source.write_bytes(model.SerializeToString())
    quantization.quantize_static(
        str(source),
        str(target),
        Noise(),
        quant_format=quantization.QuantFormat[form],
        weight_type=quantization.QuantType.QInt8,
        **{"activation_type": quantization.QuantType.QUInt8} | options,
    )
    return onnx.load(target)


@pytest.mark.parametrize(("form", "per_channel"), [*itertools.product(("QDQ", "QOperator"), (False, True))])
def test_a_file_that_onnxruntime_quantized_gives_the_same_integers(form, per_channel, tmp_path):
    model = quantized(plain_cnn(), tmp_path, form, per_channel=per_channel)
    network = loaded(model, tmp_path)
    assert network.default_method == "file"
    plan = plan_of(network)
    assert [site.x_type for site in plan.sites.values()] == ["uint8"] * 3
    assert all(site.w_type == "int8" and site.y is not None for site in plan.sites.values())
    assert isinstance(plan.site("conv1").w.granularity, PerChannel) == per_channel
    for seed in range(4):
        assert differing(model, tmp_path, {"x": floats(1, 3, 16, 16, seed=10 + seed)}) == (0, 0)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_signed_activations_give_the_same_integers_too(form, tmp_path):
    from onnxruntime.quantization import QuantType

    model = quantized(plain_cnn(), tmp_path, form, activation_type=QuantType.QInt8)
    assert {site.x_type for site in plan_of(loaded(model, tmp_path)).sites.values()} == {"int8"}
    assert differing(model, tmp_path, {"x": floats(1, 3, 16, 16, seed=10)}) == (0, 0)


def test_a_factor_of_a_gemm_is_in_its_weight_s_scale(tmp_path):
    constants = {
        "sx": np.float32(0.02), "zx": np.uint8(128), "w": floats(7, 3).astype(np.int8),
        "sw": np.float32(0.1), "zw": np.int8(0),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"), node("DequantizeLinear", "q,sx,zx", "d"),
        node("DequantizeLinear", "w,sw,zw", "dw"), node("Gemm", "d,dw", "y", alpha=0.5),
    ]  # fmt: skip
    model = with_constants(nodes, {"x": floats(3, 7)}, constants, 13)
    assert differing(model, tmp_path, {"x": floats(3, 7)})[1] < 1e-6


def tensors(constants):
    return [
        each if isinstance(each, TensorProto) else numpy_helper.from_array(np.asarray(each), name)
        for name, each in constants.items()
    ]


def with_constants(nodes, inputs, constants, opset, output="y", domains=()):
    model = model_of([node("Identity", next(iter(inputs)), "same")], inputs, ("same",), {}, opset)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensors(constants))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    model.graph.output[0].type.tensor_type.shape.SetInParent()
    for domain in domains:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    shape = model.graph.output[0].type.tensor_type.shape
    for _ in next(iter(inputs.values())).shape:
        shape.dim.add()
    return model


def test_a_product_s_integers_are_those_of_a_slow_twin(tmp_path):
    """Sums of products of codes less their zero points, the bias in integers, one factor in float32, halves to even."""
    x, codes = floats(3, 7, seed=1), np.random.default_rng(0).integers(-128, 128, (5, 7)).astype(np.int8)
    scales, bias = np.array([0.01, 0.02, 0.005, 0.1, 0.03], np.float32), np.array([100, -7, 0, 3000, 9], np.int32)
    of_x, of_y = np.float32(0.021), np.float32(0.37)
    constants = {
        "sx": of_x, "zx": np.uint8(120), "w": codes, "sw": scales, "zw": np.zeros(5, np.int8), "b": bias,
        "sb": of_x * scales, "zb": np.zeros(5, np.int32), "sy": of_y, "zy": np.uint8(99),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"), node("DequantizeLinear", "q,sx,zx", "d"),
        node("DequantizeLinear", "w,sw,zw", "dw", axis=0), node("DequantizeLinear", "b,sb,zb", "db", axis=0),
        node("Gemm", "d,dw,db", "g", transB=1), node("QuantizeLinear", "g,sy,zy", "qy"),
        node("DequantizeLinear", "qy,sy,zy", "y"),
    ]  # fmt: skip
    model = with_constants(nodes, {"x": x}, constants, 13)
    network = loaded(model, tmp_path)
    plan = plan_of(network)
    found = executed(network, plan, {"x": x})
    for row, column in itertools.product(range(3), range(5)):
        total = int(bias[column])
        for k in range(7):
            code = min(255, max(0, round(float(x[row, k] / of_x)) + 120))
            total += (code - 120) * int(codes[column, k])
        scaled = np.float32(total) * (of_x * scales[column] / of_y)
        code = min(255, max(0, int(np.rint(scaled)) + 99))
        assert found[row, column] == np.float32(code - 99) * of_y
    assert differing(model, tmp_path, {"x": x}) == (0, 0)


def test_a_plan_of_a_file_is_kept_as_it_is(tmp_path):
    network = loaded(quantized(plain_cnn(), tmp_path, "QDQ", per_channel=True), tmp_path)
    plan = plan_of(network)
    plan.save(tmp_path / "plan")
    again = Plan.load(tmp_path / "plan", network)
    x = {"x": floats(1, 3, 16, 16)}
    assert np.array_equal(executed(network, plan, x), executed(network, again, x))
    assert all(again.site(name).y.zero_point == site.y.zero_point for name, site in plan.sites.items())


def test_off_a_quantized_file_is_a_float_network(tmp_path):
    """Between the ends of each grid: a quantizer leaves out activations that end where a grid does."""
    model = plain_cnn()
    network = loaded(quantized(model, tmp_path, "QDQ"), tmp_path)
    x = floats(1, 3, 16, 16, seed=2)
    with torch.no_grad():
        found = network.module(torch.from_numpy(x)).numpy()
    expected = by_runtime(model, {"x": x})[0]
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    plan = calibrate_method(network, "int8")
    assert plan.quantizes
    assert "quantization.as_written" not in plan.weights


def test_a_file_that_is_scaled_at_run_time_is_executed(tmp_path):
    from onnxruntime import quantization

    nodes = [node("MatMul", "x,w", "a"), node("Relu", "a", "r"), node("MatMul", "r,v", "y")]
    model = model_of(nodes, {"x": floats(4, 16)}, ("y",), {"w": floats(16, 8), "v": floats(8, 5)})
    source, target = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    source.write_bytes(model.SerializeToString())
    for per_channel, kind in itertools.product((False, True), ("QInt8", "QUInt8")):
        weights = quantization.QuantType[kind]
        quantization.quantize_dynamic(str(source), str(target), per_channel=per_channel, weight_type=weights)
        made = onnx.load(target)
        assert {"DynamicQuantizeLinear", "MatMulInteger"} <= {each.op_type for each in made.graph.node}
        network = loaded(made, tmp_path)
        assert {site.x_type for site in plan_of(network).sites.values()} == {"uint8"}
        assert differing(made, tmp_path, {"x": floats(4, 16, seed=3)})[1] < 1e-6


@pytest.mark.parametrize("pads", [None, [1, 1, 1, 1]])
def test_sums_beyond_float32_are_whole(pads, tmp_path):
    """2,800 products of 8 bits: int32 holds their sums, float32 rounds them before the zero point's share is taken."""
    rng, k = np.random.default_rng(0), 2800
    constants = {"w": rng.integers(90, 128, (k, 3)).astype(np.int8), "zw": np.int8(-3)}
    x = (np.abs(floats(2, k)) + 5).astype(np.float32)
    x[:, ::7] = -3
    operator = node("MatMulInteger", "q,w,z,zw", "s")
    if pads is not None:
        constants["w"] = rng.integers(90, 128, (3, 156, 3, 3)).astype(np.int8)
        x = np.abs(floats(1, 156, 4, 4)) + 5
        x[:, 3] = -3
        operator = node("ConvInteger", "q,w,z,zw", "s", pads=pads)
    nodes = [node("DynamicQuantizeLinear", "x", "q,c,z"), operator, node("Cast", "s", "y", to=TensorProto.FLOAT)]
    model = with_constants(nodes, {"x": x}, constants, 13)
    network = loaded(model, tmp_path)
    found = executed(network, plan_of(network), {"x": x})

    scale = (max(x.max(), np.float32(0)) - min(x.min(), np.float32(0))) / np.float32(255)
    zero = int(np.rint(-x.min() / scale))
    codes, weights = np.rint(x / scale).astype(np.int64), constants["w"].astype(np.int64) + 3
    assert codes.min() + zero == 0
    if pads is None:
        sums = codes @ weights
    else:
        around = np.pad(codes, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3), (2, 3))
        sums = np.einsum("ncyxij,ocij->noyx", windows, weights)
    assert (np.abs(sums) > 2**24).any()
    assert (sums % 2).any()
    assert np.array_equal(found, sums.astype(np.float32))


@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_along_the_reduction_are_groups(bits, tmp_path):
    kind = TensorProto.INT4 if bits == 4 else TensorProto.INT8
    codes = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (16, 6))
    scales = np.abs(floats(4, 6)) + 0.01
    constants = {
        "w": helper.make_tensor("w", kind, [16, 6], codes.flatten().tolist()), "sw": scales, "sx": np.float32(0.02),
        "zx": np.uint8(128),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"), node("DequantizeLinear", "q,sx,zx", "d"),
        node("DequantizeLinear", "w,sw", "dw", axis=0, block_size=4), node("MatMul", "d,dw", "y"),
    ]  # fmt: skip
    x = floats(3, 16, seed=1)
    network = loaded(with_constants(nodes, {"x": x}, constants, 21), tmp_path)
    plan = plan_of(network)
    site = next(iter(plan.sites.values()))
    assert site.w.granularity == PerGroup(4)
    assert site.w_bits == bits
    real = (np.clip(np.rint(x / np.float32(0.02)) + 128, 0, 255) - 128) * 0.02
    expected = real.astype(np.float64) @ (codes * scales.repeat(4, 0).astype(np.float64))
    assert np.allclose(executed(network, plan, {"x": x}), expected, rtol=1e-5, atol=1e-5)


def test_quant_nodes_of_qonnx_are_grids_of_any_width(tmp_path):
    domain = "qonnx.custom_op.general"
    one = {name: np.float32(value) for name, value in {"sx": 0.1, "zero": 0, "b3": 3, "b5": 5}.items()}
    constants = one | {"w": floats(6, 4), "sw": np.array([[0.1, 0.2, 0.05, 0.3]], np.float32)}
    nodes = [
        helper.make_node("Quant", ["x", "sx", "zero", "b5"], ["q"], domain=domain, signed=1, narrow=1),
        helper.make_node("Quant", ["w", "sw", "zero", "b3"], ["v"], domain=domain, signed=1, narrow=0),
        node("MatMul", "q,v", "y"),
    ]
    x = floats(2, 6, seed=1)
    network = loaded(with_constants(nodes, {"x": x}, constants, 13, domains=(domain,)), tmp_path)
    plan = plan_of(network)
    site = next(iter(plan.sites.values()))
    assert (site.x_type, site.w_type, str(site.w.granularity)) == ("int5", "int3", "channel")
    real = np.clip(np.rint(x / np.float32(0.1)), -15, 15) * 0.1
    weights = np.clip(np.rint(constants["w"] / constants["sw"]), -4, 3) * constants["sw"]
    assert np.allclose(executed(network, plan, {"x": x}), real @ weights, rtol=1e-5, atol=1e-5)


def test_zero_points_that_differ_between_channels_cost_a_bit(tmp_path):
    codes = np.random.default_rng(0).integers(0, 256, (7, 3)).astype(np.uint8)
    zeros = np.array([128, 120, 3], np.uint8)
    constants = {
        "sx": np.float32(0.02), "zx": np.uint8(128), "w": codes, "sw": np.array([0.1, 0.2, 0.3], np.float32),
        "zw": zeros,
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"), node("DequantizeLinear", "q,sx,zx", "d"),
        node("DequantizeLinear", "w,sw,zw", "dw", axis=1), node("MatMul", "d,dw", "y"),
    ]  # fmt: skip
    x = floats(3, 7, seed=1)
    model = with_constants(nodes, {"x": x}, constants, 13)
    network = loaded(model, tmp_path)
    plan = plan_of(network)
    assert next(iter(plan.sites.values())).w_type == "int9"
    assert differing(model, tmp_path, {"x": x})[1] < 1e-6


def test_what_is_float_in_the_file_stays_float(tmp_path):
    constants = {"sx": np.float32(0.02), "zx": np.uint8(128), "w": floats(7, 3)}
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"), node("DequantizeLinear", "q,sx,zx", "d"), node("MatMul", "d,w", "y"),
    ]  # fmt: skip
    network = loaded(with_constants(nodes, {"x": floats(3, 7)}, constants, 13), tmp_path)
    plan = plan_of(network)
    assert not plan.quantizes
    assert any("1 of 1 products are float" in note for note in plan.notes)


def test_a_file_s_quantization_is_the_default_and_draws_no_samples(tmp_path):
    network = loaded(quantized(plain_cnn(), tmp_path, "QDQ"), tmp_path)
    assert find_plan(None, None, None).of(network) == "file"
    assert find_plan("int8", None, None).of(network) == "int8"
    assert find_plan(None, ["x_bits=6"], None).of(network) == "int8"
    assert calibrate_method(network, "file").calibrated_on == "nothing"
    with pytest.raises(InputError, match="no quantized ONNX file"):
        compose("file").calibrate(load("gemm:8x8x8"), ())


def test_every_node_of_a_quantized_file_has_a_place(tmp_path):
    model = quantized(plain_cnn(), tmp_path, "QOperator")
    found = report_nodes(loaded(model, tmp_path))
    assert [line.operator for line in found.lines] == [each.op_type for each in model.graph.node]
    places = {line.operator: line.place for line in found.lines}
    assert places["QLinearConv"] is Place.MAPPED
    assert places["QGemm"] is Place.MAPPED
    assert places["QLinearAdd"] is Place.VECTOR
    assert found.macs == 64 * 27 * 8 + 64 * 9 * 8 + 80


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        ([node("QuantizeLinear", "x,bad", "q"), node("DequantizeLinear", "q,bad", "y")], "no number above 0"),
        ([node("QuantizeLinear", "x,s", "q"), node("QuantizeLinear", "x,t", "r"), node("Concat", "q,r", "c", axis=0),
          node("DequantizeLinear", "c,s", "y")], "several grids"),
    ],
)  # fmt: skip
def test_quantization_that_is_not_read_names_its_node(nodes, sentence, tmp_path):
    constants = {"bad": np.float32(-1), "s": np.float32(0.1), "t": np.float32(0.2)}
    with pytest.raises(InputError, match=sentence):
        loaded(with_constants(nodes, {"x": floats(3, 7)}, constants, 13), tmp_path)


def test_sums_of_codes_are_rounded_as_integer_kernels_do_it(tmp_path):
    """All pairs of 8-bit codes, by random grids: zero points are added before halves are rounded, with fused steps."""
    draw = np.random.default_rng(0)
    for _ in range(8):
        sa, sb, sc = np.exp(draw.normal(size=3) - 3).astype(np.float32)
        za, zb, zc = draw.integers(0, 256, 3).astype(np.uint8)
        a = ((np.arange(256) - int(za)) * sa).astype(np.float32).repeat(256).reshape(256, 256)
        b = np.tile(((np.arange(256) - int(zb)) * sb).astype(np.float32), (256, 1))
        constants = {"sa": sa, "za": za, "sb": sb, "zb": zb, "sc": sc, "zc": zc}
        nodes = [
            node("QuantizeLinear", "a,sa,za", "qa"), node("QuantizeLinear", "b,sb,zb", "qb"),
            helper.make_node(
                "QLinearAdd", ["qa", "sa", "za", "qb", "sb", "zb", "sc", "zc"], ["qy"], domain="com.microsoft"
            ),
            node("DequantizeLinear", "qy,sc,zc", "y"),
        ]  # fmt: skip
        inputs = {"a": a, "b": b}
        model = with_constants(nodes, inputs, constants, 13, domains=("com.microsoft",))
        network = loaded(model, tmp_path)
        network.module.quantization.as_written.data.fill_(1)
        with torch.no_grad():
            found = network.module(*map(torch.from_numpy, (a, b))).numpy()
        expected = by_runtime(model, inputs)[0]
        steps = np.abs(found - expected) / sc
        assert steps.max() < 1.5  # a host without fused steps rounds a few near halves otherwise
        assert (steps > 0.5).mean() < 1e-4


def test_codes_of_4_bits_that_a_node_holds_are_moved_and_read_as_such(tmp_path):
    """Of a Constant node and a Transpose: [N, K] codes of int4, symmetric."""
    codes = np.random.default_rng(0).integers(-8, 8, (3, 8)).astype(np.int8)
    held = helper.make_tensor("w", TensorProto.INT4, codes.shape, codes.reshape(-1))
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"), node("DequantizeLinear", "q,sx,zx", "d"),
        helper.make_node("Constant", [], ["w"], value=held), node("Transpose", "w", "t", perm=[1, 0]),
        node("DequantizeLinear", "t,sw", "dw"), node("MatMul", "d,dw", "y"),
    ]  # fmt: skip
    constants = {"sx": np.float32(0.02), "zx": np.uint8(128), "sw": np.float32(0.1)}
    model, inputs = with_constants(nodes, {"x": floats(2, 8)}, constants, 21), {"x": floats(2, 8)}
    network = loaded(model, tmp_path)
    plan = plan_of(network)
    assert [site.w_type for site in plan.sites.values()] == ["int4"]
    x = np.clip(np.rint(inputs["x"] / np.float32(0.02)) + 128, 0, 255).astype(np.int64) - 128
    expected = (x @ codes.astype(np.int64).T) * 0.02 * 0.1
    assert np.allclose(executed(network, plan, inputs), expected, rtol=1e-6, atol=1e-7)


def test_zero_points_of_16_bits_that_a_node_holds(tmp_path):
    """uint16, which torch has no type for: codes from 0 to 65535 about 32768."""
    zero = helper.make_tensor("z", TensorProto.UINT16, (), [32768])
    nodes = [
        helper.make_node("Constant", [], ["z"], value=zero),
        node("QuantizeLinear", "x,s,z", "q"), node("DequantizeLinear", "q,s,z", "y"),
    ]  # fmt: skip
    model = with_constants(nodes, {"x": floats(4)}, {"s": np.float32(1e-5)}, 21)
    network = loaded(model, tmp_path)
    network.module.quantization.as_written.fill_(1)
    x = np.array([1.0, -1.0, 0.25, 0.0], np.float32)
    found = network.module(torch.from_numpy(x)).numpy()
    assert np.allclose(found, [0.32767, -0.32768, 0.25, 0.0], rtol=1e-5)


def test_an_input_of_signed_codes_without_a_zero_point(tmp_path):
    codes = np.array([[-128, -3, 5, 127]], np.int8)
    nodes = [
        node("DequantizeLinear", "x,sx", "d"), node("DequantizeLinear", "w,sw,zw", "dw"), node("MatMul", "d,dw", "y")
    ]  # fmt: skip
    w = np.array([[1, 2], [3, -4], [5, 6], [-7, 8]], np.int8)
    constants = {"sx": np.float32(0.5), "w": w, "sw": np.float32(0.25), "zw": np.int8(0)}
    model = with_constants(nodes, {"x": floats(1, 4)}, constants, 13)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    network = loaded(model, tmp_path)
    plan = plan_of(network)
    assert [site.x_type for site in plan.sites.values()] == ["int8"]
    expected = codes.astype(np.int64) @ w.astype(np.int64) * 0.125
    assert executed(network, plan, {"x": codes}).tolist() == expected.tolist()


def test_same_padding_of_a_convolution_of_integers(tmp_path):
    """Pads by rule are of real zero, as pads by number are."""
    nodes = [
        node("DynamicQuantizeLinear", "x", "q,s,z"), node("ConvInteger", "q,w,z", "i", auto_pad="SAME_UPPER"),
        node("Cast", "i", "f", to=TensorProto.FLOAT), node("Mul", "f,s", "y"),
    ]  # fmt: skip
    w = np.random.default_rng(0).integers(0, 255, (2, 3, 3, 3)).astype(np.uint8)
    x = floats(1, 3, 5, 5)
    assert differing(with_constants(nodes, {"x": x}, {"w": w}, 13), tmp_path, {"x": x})[1] < 1e-6


def test_codes_of_several_scales_are_not_moved(tmp_path):
    constants = {"s": np.array([0.1, 0.2, 0.3], np.float32), "z": np.zeros(3, np.int8)}
    nodes = [
        node("QuantizeLinear", "x,s,z", "q", axis=1), node("Transpose", "q", "t", perm=[1, 0]),
        node("DequantizeLinear", "t,s,z", "y", axis=0),
    ]  # fmt: skip
    with pytest.raises(InputError, match="differ between channels"):
        loaded(with_constants(nodes, {"x": floats(2, 3)}, constants, 13), tmp_path)


def test_vectors_say_how_sums_become_codes(tmp_path):
    import json

    import bitwright

    network = loaded(quantized(plain_cnn(), tmp_path, "QDQ", per_channel=True), tmp_path)
    plan = plan_of(network)
    bitwright.export(network, tmp_path / "vectors", "vectors", plan, words="npy", sites="conv1")
    manifest = json.loads((tmp_path / "vectors" / "manifest.json").read_text())
    site, y = manifest["sites"][0], manifest["sites"][0]["y"]

    def array(record):
        return np.float32(record) if isinstance(record, float) else np.load(tmp_path / "vectors" / record["npy"])

    step = array(site["x"]["scale"]) * array(site["w"]["scale"])[:, None, :]
    bias = 0 if site["bias"] is None else np.rint(array(site["bias"]).reshape(1, 1, -1).astype(float) / step)
    scaled = (array(site["accumulators"]) + bias).astype(np.float32) * (step / np.float32(y["scale"]))
    ends = y["low"] - y["zero_point"], y["high"] - y["zero_point"]
    expected = np.rint(scaled.clip(*ends)) * np.float32(y["scale"])
    assert np.array_equal(array(site["output"]), expected.astype(np.float32))


def test_alpha_of_a_quantized_gemm_scales_its_bias_too(tmp_path):
    constants = {
        "sx": np.float32(0.02), "zx": np.uint8(128), "w": (20 * floats(7, 3)).astype(np.int8),
        "sw": np.float32(0.1), "zw": np.int8(0), "c": np.array([100, -2000, 3000], np.int32),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"),
        node("QGemm", "q,sx,zx,w,sw,zw,c", "y", domain="com.microsoft", alpha=0.5),
    ]
    model = with_constants(nodes, {"x": floats(3, 7)}, constants, 13, domains=("com.microsoft",))
    assert differing(model, tmp_path, {"x": floats(3, 7)})[1] < 1e-6


@pytest.mark.parametrize(("value", "floats_left"), [(0.0, 0), (1.234567, 1)])
def test_pads_that_are_not_on_the_grid_are_no_codes(value, floats_left, tmp_path):
    constants = {
        "sx": np.float32(0.02), "zx": np.uint8(128), "p": np.array([0, 1, 0, 1]), "v": np.float32(value),
        "w": (20 * floats(6, 3)).astype(np.int8), "sw": np.float32(0.1), "zw": np.int8(0),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"), node("DequantizeLinear", "q,sx,zx", "d"), node("Pad", "d,p,v", "h"),
        node("DequantizeLinear", "w,sw,zw", "dw"), node("MatMul", "h,dw", "y"),
    ]  # fmt: skip
    x = floats(2, 4)
    network = loaded(with_constants(nodes, {"x": x}, constants, 13), tmp_path)
    plan = plan_of(network)
    assert sum(not site.quantized for site in plan.sites.values()) == floats_left
    reals = (np.clip(np.rint(x / np.float32(0.02)) + 128, 0, 255) - 128) * 0.02
    expected = np.pad(reals, ((0, 0), (1, 1)), constant_values=value) @ (constants["w"] * 0.1)
    assert np.allclose(executed(network, plan, {"x": x}), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("scale", "factor"), [(1 / 255, 254), (1 / 256, 256), (0.003, 333)])
def test_softmax_of_codes_is_rounded_by_a_whole_factor(scale, factor, tmp_path):
    """code = round(share * floor(1 / scale)), but for halves that onnxruntime's table of float32 tips."""
    constants = {"sx": np.float32(0.1), "zx": np.uint8(128), "sy": np.float32(scale), "zy": np.uint8(0)}
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"), node("DequantizeLinear", "q,sx,zx", "d"),
        node("Softmax", "d", "s", axis=-1), node("QuantizeLinear", "s,sy,zy", "qy"),
        node("DequantizeLinear", "qy,sy,zy", "y"),
    ]  # fmt: skip
    x = 4 * floats(64, 90)
    model = with_constants(nodes, {"x": x}, constants, 13)
    network = loaded(model, tmp_path)
    network.module.quantization.as_written.fill_(1)
    found = network.module(torch.from_numpy(x)).numpy()
    real = (np.clip(np.rint(x / np.float32(0.1)) + 128, 0, 255) - 128) * np.float64(np.float32(0.1))
    shares = np.exp(real) / np.exp(real).sum(-1, keepdims=True)
    assert np.array_equal(found, np.rint(shares * factor).clip(0, 255).astype(np.float32) * np.float32(scale))
    steps = np.abs(found - by_runtime(model, {"x": x})[0]) / np.float32(scale)
    assert steps.max() < 1.5
    assert (steps > 0.5).mean() < 1e-3
