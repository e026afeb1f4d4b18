"""Loops, scans and sequences of ONNX files, against onnxruntime, and what they are as sites."""

import numpy as np
import pytest
import torch

from bitwright.errors import InputError
from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.networks.nodes import Place, report_nodes
from bitwright.networks.onnx import control
from bitwright.networks.trace import trace

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime is what networks of ONNX files are compared with")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from tests.test_onnx import by_runtime, floats, loaded, node  # noqa: E402

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, kind=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes, inputs, outputs, constants=None):
    held = [numpy_helper.from_array(np.asarray(each), name) for name, each in (constants or {}).items()]
    return helper.make_graph(nodes, "graph", inputs, outputs, held)


def network_of(nodes, given, outputs, tmp_path, constants=None, opset=16):
    """The network of a file, and its model, whose outputs (name -> axes) are of no stated sizes."""
    inputs = [value(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape) for name, each in given.items()]
    made = graph(nodes, inputs, [value(name, FLOAT, [None] * axes) for name, axes in outputs.items()], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return loaded(model, tmp_path), model


def agrees(network, model, given):
    with torch.no_grad():
        found = network.module(**{name: torch.from_numpy(each) for name, each in given.items()})
    found = list(found.values()) if isinstance(found, dict) else [found]
    for own, expected in zip(found, by_runtime(model, given), strict=True):
        assert own.shape == expected.shape
        assert np.allclose(own.numpy(), expected, rtol=1e-5, atol=1e-6)


def loop(condition="c"):
    """A step of h = tanh(h w + x), handed on, and h itself of each step; it ends when the sum of h falls below 0."""
    nodes = [
        node("MatMul", "h,w", "p"), node("Add", "p,x", "s"), node("Tanh", "s", "next"),
        node("Identity", "next", "each"),
        node("ReduceSum", "next", "sum", keepdims=0), node("Greater", "sum,zero", "more"),
        node("Identity", "go" if condition == "c" else "more", "again"),
    ]  # fmt: skip
    inputs = [value("i", INT, []), value("go", BOOL, []), value("h")]
    return graph(nodes, inputs, [value("again", BOOL, []), value("next"), value("each")])


@pytest.mark.parametrize("condition", ["c", "sum"])
def test_a_loop_runs_as_often_as_it_says_and_its_products_are_one_site(condition, tmp_path):
    constants = {"w": floats(6, 6), "zero": np.float32(0), "n": np.array(5), "t": np.array(True), "start": floats(2, 6)}
    nodes = [node("Loop", "n,t,start", "last,all", body=loop(condition)), node("Relu", "last", "y")]
    given = {"x": floats(2, 6, seed=1) + (2 if condition == "c" else -0.2)}
    network, model = network_of(nodes, given, {"y": 2, "all": 3}, tmp_path, constants)
    agrees(network, model, given)
    with torch.no_grad():
        steps = len(network.module(x=torch.from_numpy(given["x"]))["all"])
    assert 0 < steps <= 5
    assert (steps < 5) == (condition == "sum")
    sites = {site.name: site for site in trace(network, {"x": torch.from_numpy(given["x"])}).sites}
    assert sum(site.macs for site in sites.values()) == steps * 2 * 6 * 6
    assert len(sites) == 1


def test_the_nodes_of_a_loop_are_accounted_for_and_int8_runs_it_exactly(tmp_path):
    constants = {"w": floats(6, 6), "zero": np.float32(0), "n": np.array(3), "t": np.array(True), "start": floats(2, 6)}
    nodes = [node("Loop", "n,t,start", "last,all", body=loop())]
    network, _ = network_of(nodes, {"x": floats(2, 6)}, {"last": 2, "all": 3}, tmp_path, constants)
    report = report_nodes(network)
    assert report.count(Place.REFUSED) == 0
    assert report.share(Place.MAPPED) == 1
    assert report.macs == 3 * 2 * 6 * 6
    assert [line.operator for line in report.lines].count("MatMul") == 1
    batch = {"x": torch.from_numpy(floats(2, 6))}
    plan = compose("int8", {"smoothing": "none"}).calibrate(network, [batch])
    assert Executor(network, plan).audit(batch) == 0


def test_a_loop_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "MOST_STEPS", 1024)
    body = graph(
        [node("Add", "h,x", "next"), node("Identity", "go", "again")],
        [value("i", INT, []), value("go", BOOL, []), value("h")],
        [value("again", BOOL, []), value("next")],
    )
    nodes = [node("Loop", ",t,start", "y", body=body)]
    constants = {"t": np.array(True), "start": floats(2)}
    network, _ = network_of(nodes, {"x": floats(2)}, {"y": 1}, tmp_path, constants)
    with pytest.raises(InputError, match=r"\(Loop\).*1,024 steps"):
        network.module(torch.ones(2))


@pytest.mark.parametrize("backward", [0, 1])
def test_a_scan_goes_along_any_axis_either_way(backward, tmp_path):
    body = graph(
        [node("Add", "h,row", "next"), node("Mul", "next,row", "each")],
        [value("h", FLOAT, [3]), value("row", FLOAT, [3])],
        [value("next", FLOAT, [3]), value("each", FLOAT, [3])],
    )
    more = {"scan_input_axes": [1], "scan_output_axes": [1]}
    more |= {"scan_input_directions": [1], "scan_output_directions": [1]} if backward else {}
    nodes = [node("Scan", "start,x", "last,all", body=body, num_scan_inputs=1, **more)]
    given = {"x": floats(3, 4)}
    network, model = network_of(nodes, given, {"last": 1, "all": 2}, tmp_path, {"start": floats(3)})
    agrees(network, model, given)


def test_a_sequence_is_split_changed_and_joined(tmp_path):
    nodes = [
        node("SplitToSequence", "x", "parts", axis=0, keepdims=0),
        node("SequenceAt", "parts,minus", "last"),
        node("SequenceErase", "parts,zero", "fewer"),
        node("SequenceInsert", "fewer,last,zero", "more"),
        node("ConcatFromSequence", "more", "y", axis=0, new_axis=1),
    ]
    given = {"x": floats(4, 3)}
    network, model = network_of(nodes, given, {"y": 2}, tmp_path, {"minus": np.array(-1), "zero": np.array(0)})
    agrees(network, model, given)
    with torch.no_grad():
        assert torch.equal(network.module(torch.arange(4.0)[:, None]).flatten(), torch.tensor([3.0, 1, 2, 3]))


def test_a_loop_fills_a_sequence(tmp_path):
    body = graph(
        [node("Mul", "x,scale", "s"), node("SequenceInsert", "parts,s", "more"), node("Identity", "go", "again")],
        [value("i", INT, []), value("go", BOOL, []), helper.make_tensor_sequence_value_info("parts", FLOAT, None)],
        [value("again", BOOL, []), helper.make_tensor_sequence_value_info("more", FLOAT, None)],
    )
    nodes = [
        node("SequenceEmpty", "", "none"),
        node("Loop", "n,t,none", "parts", body=body),
        node("ConcatFromSequence", "parts", "y", axis=0),
    ]
    nodes[0].ClearField("input")
    given = {"x": floats(2, 3)}
    constants = {"n": np.array(3), "t": np.array(True), "scale": np.float32(2)}
    network, model = network_of(nodes, given, {"y": 2}, tmp_path, constants)
    agrees(network, model, given)


def test_a_body_s_own_inputs_hide_what_is_called_so_around_it(tmp_path):
    body = graph(
        [node("Add", "w,x", "next"), node("Identity", "go", "again")],
        [value("i", INT, []), value("go", BOOL, []), value("w")],
        [value("again", BOOL, []), value("next")],
    )
    nodes = [node("Loop", "n,t,w", "y", body=body)]
    network, _ = network_of(
        nodes,
        {"x": floats(2)},
        {"y": 1},
        tmp_path,
        {"n": np.array(2), "t": np.array(True), "w": np.ones(2, np.float32)},
    )
    assert torch.equal(network.module(torch.ones(2)), torch.full((2,), 3.0))
