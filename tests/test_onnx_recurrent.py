"""LSTM, GRU and RNN nodes in all their forms, against onnxruntime; and those on codes."""

import numpy as np
import pytest
import torch

from bitwright.exchange.quantized_plan import plan_of
from bitwright.methods.executor import Executor
from bitwright.networks.nodes import Place, report_nodes
from bitwright.networks.trace import trace

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime is what networks of ONNX files are compared with")

from tests.test_onnx import by_runtime, floats, loaded, model_of, node  # noqa: E402
from tests.test_onnx_control import agrees, network_of  # noqa: E402

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OUTPUTS = {"LSTM": "y,h,c", "GRU": "y,h", "RNN": "y,h"}
AXES = {"y": 4, "h": 3, "c": 3}
T, B, K, H = 5, 3, 4, 6


def weights(op, directions=1):
    gates = GATES[op]
    return {
        "w": floats(directions, gates * H, K, seed=1),
        "r": floats(directions, gates * H, H, seed=2) / 2,
        "b": floats(directions, 2 * gates * H, seed=3),
    }


FORMS = {
    "reset before the product": ("GRU", "x,w,r,b", {}, {"linear_before_reset": 0}),
    "peepholes": ("LSTM", "x,w,r,b,,,,p", {"p": floats(1, 3 * H, seed=4)}, {}),
    "peepholes both ways": ("LSTM", "x,w,r,b,,,,p", {"p": floats(2, 3 * H, seed=4)}, {"direction": "bidirectional"}),
    "a clip": ("LSTM", "x,w,r,b", {}, {"clip": 0.5}),
    "a clip of a GRU": ("GRU", "x,w,r,b", {}, {"clip": 0.5}),
    "activations": ("LSTM", "x,w,r,b", {}, {"activations": ["HardSigmoid", "Relu", "Softsign"]}),
    "activations with numbers": (
        "RNN",
        "x,w,r,b",
        {},
        {"activations": ["LeakyRelu", "Affine"], "direction": "bidirectional",
         "activation_alpha": [0.3, 0.5], "activation_beta": [0.25]},
    ),
    "lengths": ("LSTM", "x,w,r,b,n", {"n": np.array([5, 2, 3], np.int32)}, {"direction": "bidirectional"}),
    "lengths backwards": ("GRU", "x,w,r,b,n", {"n": np.array([1, 5, 4], np.int32)}, {"direction": "reverse"}),
    "a state": (
        "GRU", "x,w,r,b,n,s", {"n": np.array([5, 5, 2], np.int32), "s": floats(1, B, H)}, {"linear_before_reset": 1},
    ),
    "no bias": ("LSTM", "x,w,r,,n", {"n": np.array([5, 1, 2], np.int32)}, {}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_recurrent_node_gives_what_onnxruntime_gives(form, tmp_path):
    op, inputs, more, attributes = FORMS[form]
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    constants = {**weights(op, directions), **more}
    used = {name: each for name, each in constants.items() if name in inputs.split(",")}
    given = {"x": floats(T, B, K), **({"s": used.pop("s")} if "s" in used else {})}
    outputs = {name: AXES[name] for name in OUTPUTS[op].split(",")}
    nodes = [node(op, inputs, OUTPUTS[op], hidden_size=H, **attributes)]
    network, model = network_of(nodes, given, outputs, tmp_path, used)
    agrees(network, model, given)
    assert sum(site.macs for site in trace(network).sites) == T * B * directions * GATES[op] * H * (K + H)
    assert report_nodes(network).share(Place.MAPPED) == 1


def test_weights_may_be_computed_and_lengths_given(tmp_path):
    constants = {**weights("LSTM"), "half": np.float32(0.5)}
    nodes = [
        node("ReduceMean", "x", "m", keepdims=0), node("Mul", "w,m", "v"),
        node("LSTM", "x,v,r,b,n", "y", hidden_size=H),
    ]  # fmt: skip
    given = {"x": floats(T, B, K), "n": np.array([5, 2, 1], np.int32)}
    del constants["half"]
    network, model = network_of(nodes, given, {"y": 4}, tmp_path, constants)
    agrees(network, model, given)


def test_an_lstm_whose_batch_is_first(tmp_path):
    """`layout` 1, which onnxruntime does not run: the same as the transposed one."""
    constants = {**weights("LSTM"), "n": np.array([5, 2, 1], np.int32)}
    given = {"x": floats(T, B, K)}
    nodes = [node("LSTM", "x,w,r,b,n", "y,h,c", hidden_size=H)]
    first, _ = network_of(nodes, given, AXES, tmp_path, constants)
    nodes = [node("LSTM", "x,w,r,b,n", "y,h,c", hidden_size=H, layout=1)]
    turned = {"x": np.ascontiguousarray(given["x"].transpose(1, 0, 2))}
    second, _ = network_of(nodes, turned, AXES, tmp_path, constants)
    with torch.no_grad():
        a = first.module(torch.from_numpy(given["x"]))
        b = second.module(torch.from_numpy(turned["x"]))
    assert torch.allclose(a["y"].permute(2, 0, 1, 3), b["y"])
    assert torch.allclose(a["h"].transpose(0, 1), b["h"])
    assert torch.allclose(a["c"].transpose(0, 1), b["c"])


def dynamic_lstm(tmp_path, directions=1, per_column=False):
    """An LSTM as onnxruntime's quantizer writes it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    constants = weights("LSTM", directions)
    way = "bidirectional" if directions == 2 else "forward"
    nodes = [node("LSTM", "x,w,r,b", "y,h", hidden_size=H, direction=way), node("Relu", "y", "z")]
    model = model_of(nodes, {"x": floats(T, 1, K)}, ("z", "h"), constants, 14)
    source, target = tmp_path / "float.onnx", tmp_path / "coded.onnx"
    source.write_bytes(model.SerializeToString())
    quantize_dynamic(str(source), str(target), weight_type=QuantType.QInt8, per_channel=per_column)
    found = onnx.load(target)
    assert [each.op_type for each in found.graph.node] == ["DynamicQuantizeLSTM", "Relu"]
    return found


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
def test_an_lstm_on_codes_is_its_file_s_method_and_gives_onnxruntime_s_outputs(directions, per_column, tmp_path):
    model = dynamic_lstm(tmp_path, directions, per_column)
    network = loaded(model, tmp_path)
    assert network.default_method == "file"
    batch = {"x": torch.from_numpy(floats(T, 1, K))}
    executor = Executor(network, plan_of(network))
    found, expected = executor.run(batch).numpy(), by_runtime(model, {"x": batch["x"].numpy()})[0]
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
    assert executor.audit(batch) == 0
    sites = trace(network).sites
    assert len(sites) == 2 * directions
    assert sum(site.macs for site in sites) == T * directions * 4 * H * (K + H)
    assert all(site.static_weight for site in sites)
    assert all(each.quantized for each in plan_of(network).sites.values())
    assert report_nodes(network).share(Place.MAPPED) == 1
