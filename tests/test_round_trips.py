"""bitwright -> ONNX -> bitwright: the plan of a file is the plan that it was written from, and so are its outputs."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tests.test_export import ENDS, attentive, batch_of, planned, seeded, toy
from tests.toys import network_of, normal
from typer.testing import CliRunner

import bitwright
from bitwright.cli.main import app
from bitwright.formats import PerPosition, SlicedUnsigned
from bitwright.methods.executor import Executor
from bitwright.networks.load import load

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from tests.test_onnx import floats, loaded, node  # noqa: E402
from tests.test_onnx_quantized import executed, with_constants  # noqa: E402

from bitwright.exchange.quantized_plan import plan_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def small_cnn():
    layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()]
    layers += [torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.ReLU6(), torch.nn.AdaptiveAvgPool2d(1)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(8, 5))


NETWORKS = {
    "attention": lambda: network_of(seeded(attentive), normal(2, 5, 12, seed=1)),
    "attention of one sequence": lambda: network_of(seeded(attentive), normal(1, 5, 12, seed=1)),
    "cnn": lambda: network_of(seeded(small_cnn), normal(2, 3, 8, 8)),
}


def said(operand):
    """What a plan says of an operand."""
    fmt, scale = operand.format, operand.scale
    scales = None if scale is None else (scale.flatten().tolist(), [size for size in scale.shape if size > 1])
    granularity = str(operand.granularity)
    return (fmt.name, fmt.narrow, fmt.dropped_bits, granularity, operand.zero_point, scales)


def there_and_back(network, plan, tmp_path, form="onnx-qdq"):
    """A file's network and its plan, of which everything is as it was."""
    bitwright.export(network, tmp_path / "a.onnx", form, plan, check=False)
    back = load(str(tmp_path / "a.onnx"))
    found = plan_of(back)
    before = [(said(site.x), said(site.w)) for site in plan.sites.values() if site.quantized]
    assert [(said(site.x), said(site.w)) for site in found.sites.values()] == before
    assert all(site.y is None for site in found.sites.values())
    batch = batch_of(network)
    assert torch.equal(Executor(back, found).run(batch), Executor(network, plan).run(batch))
    return back, found


QONNX = (
    ("attention", "int8"),
    ("attention", "int8-token"),
    ("attention", "w4a8"),
    ("cnn", "6 bits by 5"),
)


@pytest.mark.parametrize(("network", "recipe"), QONNX)
def test_a_network_comes_back_from_qonnx_as_it_was(network, recipe, tmp_path):
    net = NETWORKS[network]()
    there_and_back(net, planned(net, recipe), tmp_path, "qonnx")


@pytest.mark.parametrize("recipe", ["w4 per group that does not divide", "x in groups"])
def test_groups_come_back_from_qonnx_as_they_were(recipe, tmp_path):
    net = toy("linear")
    there_and_back(net, planned(net, recipe), tmp_path, "qonnx")


ATTENTION = ("int8", "int8-token", "w4a8", "3 bits signed", "12 bits", "aqs")


@pytest.mark.parametrize(
    ("network", "recipe"),
    [
        *(("attention", each) for each in ATTENTION),
        ("attention of one sequence", "int8"),
        *(("cnn", each) for each in ("int8-sym", "int8-token", "6 bits by 5")),
    ],
)
def test_a_network_comes_back_as_it_was(network, recipe, tmp_path):
    net = NETWORKS[network]()
    there_and_back(net, planned(net, recipe), tmp_path)


@pytest.mark.parametrize(
    ("layer", "recipe"),
    [
        ("linear", "x in groups"),
        ("linear", "w4 per group that does not divide"),
        ("conv with groups", "int8-token"),
        ("transposed conv", "w4a8"),
        ("matrices", "w4a8"),
        ("weight first", "int8-token"),
        ("two operands of the run time", "int8-token"),
    ],
)
def test_one_product_comes_back_as_it_was(layer, recipe, tmp_path):
    net = toy(layer)
    there_and_back(net, planned(net, recipe), tmp_path)


@pytest.mark.parametrize("split", [5, 6])
def test_dropped_bits_are_read_from_shifts(split, tmp_path):
    net = network_of(seeded(lambda: torch.nn.Linear(16, 3)), normal(4, 16))
    plan = planned(net, "aqs")
    (name,) = plan.sites
    x = dataclasses.replace(plan.site(name).x, format=SlicedUnsigned(split=split), dropped_mean=0.0)
    there_and_back(net, dataclasses.replace(plan, sites={name: dataclasses.replace(plan.site(name), x=x)}), tmp_path)


def test_first_rows_have_their_scale_again(tmp_path):
    net = network_of(seeded(lambda: torch.nn.Linear(4, 3)), normal(2, 5, 4))
    plan = planned(net, "int8")
    (name,) = plan.sites
    x = dataclasses.replace(plan.site(name).x, granularity=PerPosition(2), scale=torch.tensor([0.5, 0.02]))
    there_and_back(net, dataclasses.replace(plan, sites={name: dataclasses.replace(plan.site(name), x=x)}), tmp_path)


# ---------------- what a file may say otherwise


def by_rows(largest=127.0, more=(), output="y"):
    """Rows of x [3, 7], scaled by max |x| / `largest` as the network runs, by a matrix of codes."""
    nodes = [
        node("Abs", "x", "a"), node("ReduceMax", "a", "m", axes=[1], keepdims=0), node("Div", "m,largest", "s"),
        node("QuantizeLinear", "x,s,z", "q", axis=0), node("DequantizeLinear", "q,s,z", "d", axis=0),
        node("DequantizeLinear", "w,sw", "dw"), node("MatMul", "d,dw", "y"), *more,
    ]  # fmt: skip
    constants = {
        "largest": np.float32(largest), "z": np.zeros(3, np.int8), "w": (20 * floats(7, 2)).astype(np.int8),
        "sw": np.float32(0.1),
    }  # fmt: skip
    model = with_constants(nodes, {"x": floats(3, 7)}, constants, 13, output)
    model.graph.value_info.append(helper.make_tensor_value_info("q", TensorProto.INT8, [3, 7]))
    return model


def guarded(model):
    """The same with a scale of 1 where a row is all zeros, as this project computes it."""
    nodes = list(model.graph.node)
    nodes[2].output[0] = "t"
    after = [
        node("Clip", "t,tiny", "c"), node("Greater", "m,nothing", "g"), node("Where", "g,c,one", "s"),
    ]  # fmt: skip
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:3], *after, *nodes[3:]])
    constants = {"tiny": torch.finfo(torch.float32).tiny, "nothing": 0.0, "one": 1.0}
    model.graph.initializer.extend(numpy_helper.from_array(np.float32(each), name) for name, each in constants.items())
    return model


def types_of(model, tmp_path):
    (site,) = plan_of(loaded(model, tmp_path)).sites.values()
    return site.x_type, None if site.x is None else str(site.x.granularity)


def test_rows_are_told_by_what_the_graph_computes(tmp_path):
    assert types_of(guarded(by_rows()), tmp_path) == ("int8", "token")
    assert types_of(guarded(by_rows(7.0)), tmp_path) == ("int4", "token")
    assert types_of(guarded(by_rows(100.0)), tmp_path) == ("float32", None)  # no format's largest code
    assert types_of(by_rows(), tmp_path) == ("float32", None)  # which divides by 0 where a row is all zeros


def test_what_else_reads_rows_is_rounded_too(tmp_path):
    """y = rounded rows by a matrix, plus the first two of each row's rounded elements."""
    more = [node("Slice", "d,from,to,axis", "part"), node("Add", "y,part", "z2")]
    model = guarded(by_rows(more=more, output="z2"))
    for name, value in {"from": 0, "to": 2, "axis": 1}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    network, x = loaded(model, tmp_path), floats(3, 7, seed=5)
    found = executed(network, plan_of(network), {"x": x})
    scale = (np.abs(x).max(1) / np.float32(127))[:, None]
    real = np.rint(x / scale) * scale
    weights = next(numpy_helper.to_array(each) for each in model.graph.initializer if each.name == "w")
    assert np.allclose(found, real @ (weights * 0.1) + real[:, :2], rtol=1e-5, atol=1e-5)
    assert not np.allclose(found, real @ (weights * 0.1) + x[:, :2], rtol=1e-4, atol=1e-4)


def test_codes_that_go_out_are_codes(tmp_path):
    constants = {"s": np.float32(0.05), "z": np.uint8(7)}
    model = with_constants([node("QuantizeLinear", "x,s,z", "y")], {"x": floats(3, 7)}, constants, 13)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = floats(3, 7, seed=2)
    found = loaded(model, tmp_path).module(torch.from_numpy(x))
    assert found.dtype == torch.uint8
    assert found.tolist() == np.clip(np.rint(x / np.float32(0.05)) + 7, 0, 255).tolist()


@pytest.mark.parametrize(
    ("text", "bits"),
    [('{"w": 7}', 7), ('{"w": 5}', 8), ('{"w": 99}', 8), ('{"w": "7"}', 8), ("[7]", 8), ("{", 8), ("[" * 9999, 8)],
)  # fmt: skip
def test_bits_that_a_file_states_hold_its_codes(text, bits, tmp_path):
    """-64 .. 63 are codes of 7 bits; what says something else, or nothing that is understood, is not believed."""
    codes = np.array([[-64, 63], [1, 2], [0, -9]], np.int8)
    constants = {"sx": np.float32(0.02), "zx": np.uint8(128), "w": codes, "sw": np.float32(0.1)}
    nodes = [
        node("QuantizeLinear", "x,sx,zx", "q"), node("DequantizeLinear", "q,sx,zx", "d"),
        node("DequantizeLinear", "w,sw", "dw"), node("MatMul", "d,dw", "y"),
    ]  # fmt: skip
    model = with_constants(nodes, {"x": floats(2, 3)}, constants, 13)
    helper.set_model_props(model, {"bitwright.bits": text})
    (site,) = plan_of(loaded(model, tmp_path)).sites.values()
    assert site.w_bits == bits


def test_stored_bits_are_stated(tmp_path):
    net = toy("linear")
    plan = bitwright.calibrate(net, "int8", options={**ENDS, "w_bits": 6}, count=2)
    bitwright.export(net, tmp_path / "a.onnx", "onnx-qdq", plan, check=False)
    properties = {each.key: each.value for each in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert list(json.loads(properties["bitwright.bits"]).values()) == [6]


def test_sizes_that_a_file_leaves_open_are_given_to_training_and_to_searches_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nodes = [node("MatMul", "x,w", "h"), node("Relu", "h", "r"), node("MatMul", "r,v", "y")]
    constants = {"w": floats(8, 8), "v": floats(8, 4)}
    model = with_constants(nodes, {"x": floats(2, 5, 8)}, constants, 17)
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    sizes[1].Clear()
    onnx.save(model, "open.onnx")
    runner = CliRunner()
    assert runner.invoke(app, ["train", "open.onnx", "--save-plan", "p"]).exit_code == 2
    shape = ["--shape", "x=2x5x8", "--save-plan", "p"]
    trained = runner.invoke(app, ["train", "open.onnx", *shape, "--steps", "1", "-m", "int8"])
    assert trained.exit_code == 0, trained.output
    refused = runner.invoke(app, ["search", "open.onnx", "--shape", "x=2x5x9", "--save-plan", "q"])
    assert refused.exit_code == 2
    assert "--shape gives x 2x5x9" in refused.stderr
