"""ONNX files as networks, against onnxruntime: real operators, odd shapes, old opsets; damaged files are refused."""

import contextlib
import dataclasses
import random
import re

import numpy as np
import pytest
import torch

from bitwright.errors import InputError
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.load import load
from bitwright.networks.network import InputShape
from bitwright.networks.onnx.names import path_of
from bitwright.networks.onnx.network import dims_of
from bitwright.networks.smoothing import smoothing_groups
from bitwright.networks.trace import trace

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is what networks of ONNX files are compared with")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(","), outputs.split(","), **attributes)


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model_of(nodes, inputs, outputs, constants=None, opset=13, sizes=None):
    """A model of nodes; inputs are arrays, whose sizes are the file's unless `sizes` says otherwise."""
    given = [
        helper.make_tensor_value_info(name, TYPES[value.dtype], (sizes or {}).get(name, value.shape))
        for name, value in inputs.items()
    ]
    made = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(
        nodes, "graph", given, made, [numpy_helper.from_array(each, name) for name, each in (constants or {}).items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model)
    shaped = {each.name: each for each in (*inferred.graph.value_info, *inferred.graph.output)}
    del model.graph.output[:]
    for name in outputs:
        known = shaped[name].type.WhichOneof("value") is not None
        told = name in (sizes or {})  # where shapes are not inferred, and older checkers ask for some
        stated = helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes[name] if told else [None] * 4)
        model.graph.output.append(shaped[name] if known and not told else stated)
    return model


def by_runtime(model, inputs):
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def loaded(model, tmp_path, **options):
    path = tmp_path / "network.onnx"
    path.write_bytes(model.SerializeToString())
    return load(str(path), **options)


def agrees(nodes, inputs, tmp_path, constants=None, opset=13, outputs=("y",), tolerance=1e-5):
    """The network of a file, after its outputs were found equal to onnxruntime's."""
    model = model_of(nodes, inputs, outputs, constants, opset)
    network = loaded(model, tmp_path)
    with torch.no_grad():
        given = network.module(**{name: torch.from_numpy(value) for name, value in inputs.items()})
    given = list(given.values()) if isinstance(given, dict) else [given]
    for found, expected in zip(given, by_runtime(model, inputs), strict=True):
        assert found.shape == expected.shape
        scale = max(1e-6, float(np.abs(expected.astype(np.float64)).max(initial=0)))
        assert float(np.abs(found.numpy().astype(np.float64) - expected).max(initial=0)) <= tolerance * scale
    return network


def cnn(opset=13, batch="batch", alpha=0.5, beta=2.0):
    """A network with a padded convolution, a batch norm, shapes computed from the batch, and a named linear layer."""
    constants = {
        "conv1.weight": floats(8, 3, 3, 3), "conv1.bias": floats(8), "gain": floats(8) + 2, "shift": floats(8),
        "mean": floats(8), "variance": np.abs(floats(8)) + 1, "dw": floats(8, 1, 3, 3), "fc.weight": floats(10, 8),
        "fc.bias": floats(10), "zero": np.array([0]), "minus": np.array([-1]),
    }  # fmt: skip
    nodes = [
        node("Conv", "x,conv1.weight,conv1.bias", "c", name="/conv1/Conv", pads=[0, 1, 1, 0], strides=[2, 2]),
        node("BatchNormalization", "c,gain,shift,mean,variance", "n"),
        node("Relu", "n", "r"),
        node("Conv", "r,dw", "d", name="/block/depthwise/Conv", group=8, auto_pad="SAME_UPPER"),
        node("Add", "d,r", "a"),
        node("GlobalAveragePool", "a", "p"),
        node("Shape", "p", "s"),
        node("Gather", "s,zero", "n0"),
        node("Concat", "n0,minus", "sizes", axis=0),
        node("Reshape", "p,sizes", "flat"),
        node("Gemm", "flat,fc.weight,fc.bias", "y", transB=1, alpha=alpha, beta=beta),
    ]
    inputs = {"x": floats(1, 3, 16, 16)}
    return model_of(nodes, inputs, ("y",), constants, opset, {"x": [batch, 3, 16, 16], "y": [batch, 10]})


def test_a_cnn_is_an_image_network_whose_sites_have_readable_names(tmp_path):
    model = cnn()
    network = loaded(model, tmp_path)
    assert network.kind == "image"
    assert any("assumed" in note for note in network.notes)
    sites = trace(network).sites
    assert [site.name for site in sites] == ["conv1", "block.depthwise", "fc"]
    assert [site.op for site in sites] == ["conv2d", "conv2d", "linear"]
    assert sum(site.macs for site in sites) == 64 * 27 * 8 + 64 * 9 * 8 + 80
    x = floats(3, 3, 16, 16, seed=1)
    expected = by_runtime(model, {"x": x})[0]
    with torch.no_grad():
        found = network.module(torch.from_numpy(x)).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_batch_norm_of_a_file_is_folded_into_its_convolution(tmp_path):
    network = loaded(cnn(), tmp_path)
    folded = fold_batch_norm(network)
    assert folded.module is not network.module
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in folded.module.modules())
    batch = network.tools["inputs"].example
    with torch.no_grad():
        assert torch.allclose(network.forward(batch), folded.forward(batch), rtol=1e-4, atol=1e-5)


def test_a_decomposed_layer_norm_is_one_again_and_can_be_smoothed_into(tmp_path):
    constants = {
        "two": np.array(2, np.float32), "eps": np.array(1e-5, np.float32), "gain": floats(6) + 1, "bias": floats(6),
        "w": floats(6, 4), "b": floats(4),
    }  # fmt: skip
    nodes = [
        node("ReduceMean", "x", "m", axes=[-1]), node("Sub", "x,m", "d"), node("Pow", "d,two", "p"),
        node("ReduceMean", "p", "v", axes=[-1]), node("Add", "v,eps", "e"), node("Sqrt", "e", "s"),
        node("Div", "d,s", "q"), node("Mul", "q,gain", "g"), node("Add", "g,bias", "n"), node("MatMul", "n,w", "o"),
        node("Add", "b,o", "y"),
    ]  # fmt: skip
    network = agrees(nodes, {"x": floats(2, 5, 6)}, tmp_path, constants)
    kinds = [type(each) for each in network.module.modules()]
    assert torch.nn.LayerNorm in kinds
    assert torch.nn.Linear in kinds
    assert len(smoothing_groups(network, network.example(InputShape()))) == 1


CASES = {
    "clip of opset 7": (7, [node("Clip", "x", "y", min=-0.5, max=0.5)], {}),
    "slice of opset 9": (9, [node("Slice", "x", "y", starts=[1, -3], ends=[2, 9], axes=[1, 3])], {}),
    "slice backwards": (
        11,
        [node("Slice", "x,s,e,a,t", "y")],
        {"s": np.array([-1]), "e": np.array([-9]), "a": np.array([2]), "t": np.array([-2])},
    ),
    "softmax of opset 11 over several axes": (11, [node("Softmax", "x", "y", axis=1)], {}),
    "log softmax": (13, [node("LogSoftmax", "x", "y", axis=1)], {}),
    "squeeze of opset 11": (11, [node("Unsqueeze", "x", "u", axes=[0, 3]), node("Squeeze", "u", "y", axes=[3])], {}),
    "pad of opset 10": (10, [node("Pad", "x", "y", pads=[0, 0, 1, 2, 0, 0, 3, 0], mode="reflect")], {}),
    "pad at the edge": (13, [node("Pad", "x,p", "y", mode="edge")], {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0])}),
    "split of opset 11": (
        11, [node("Split", "x", "a,b", axis=1, split=[1, 2]), node("Concat", "b,a", "y", axis=1)], {},
    ),
    "upsample of opset 9": (9, [node("Upsample", "x,s", "y")], {"s": np.array([1, 1, 2, 3], np.float32)}),
    "resize of opset 10": (10, [node("Resize", "x,s", "y")], {"s": np.array([1, 1, 2, 0.5], np.float32)}),
    "resize linear": (13, [node("Resize", "x,,,s", "y", mode="linear")], {"s": np.array([1, 3, 11, 4])}),
    "resize cubic, asymmetric": (
        13,
        [node("Resize", "x,,s", "y", mode="cubic", coordinate_transformation_mode="asymmetric")],
        {"s": np.array([1, 1, 1.7, 2], np.float32)},
    ),
    "resize nearest, half pixels": (13, [node("Resize", "x,,s", "y")], {"s": np.array([1, 1, 1.4, 2], np.float32)}),
    "max pool, uneven": (
        12,
        [node("MaxPool", "x", "y", kernel_shape=[3, 2], strides=[2, 2], pads=[0, 1, 2, 0], ceil_mode=1)],
        {},
    ),
    "average pool, uneven": (
        11, [node("AveragePool", "x", "y", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])], {},
    ),
    "average pool with what is outside": (
        11, [node("AveragePool", "x", "y", kernel_shape=[3, 3], auto_pad="SAME_LOWER", count_include_pad=1)], {},
    ),
    "transposed convolution": (
        11,
        [node("ConvTranspose", "x,w,b", "y", strides=[2, 3], pads=[1, 0, 0, 2], output_padding=[1, 2], group=3)],
        {"w": floats(3, 2, 3, 3), "b": floats(6)},
    ),
    "transposed convolution, same": (
        11, [node("ConvTranspose", "x,w", "y", strides=[2, 2], auto_pad="SAME_UPPER")], {"w": floats(3, 2, 3, 3)},
    ),
    "instance norm": (9, [node("InstanceNormalization", "x,g,b", "y")], {"g": floats(3), "b": floats(3)}),
    "group norm": (21, [node("GroupNormalization", "x,g,b", "y", num_groups=3)], {"g": floats(3), "b": floats(3)}),
    "layer norm": (17, [node("LayerNormalization", "x,g,b", "y")], {"g": floats(7), "b": floats(7)}),
    "local response": (13, [node("LRN", "x", "y", size=3)], {}),
    "gelu": (20, [node("Gelu", "x", "y", approximate="tanh")], {}),
    "hard swish and sigmoid": (14, [node("HardSwish", "x", "h"), node("HardSigmoid", "h", "y", alpha=0.3)], {}),
    "slopes": (16, [node("PRelu", "x,s", "p"), node("LeakyRelu", "p", "y", alpha=0.3)], {"s": floats(3, 1, 1)}),
    "exponentials": (13, [node("Elu", "x", "e"), node("Selu", "e", "s"), node("Softplus", "s", "y")], {}),
    "reductions": (
        13,
        [
            node("ReduceSum", "x,a", "s", keepdims=0), node("ReduceL2", "s", "l", axes=[-1]),
            node("ReduceMax", "l", "y", axes=[0], keepdims=0),
        ],
        {"a": np.array([1])},
    ),
    "reduction of opset 18": (18, [node("ReduceMean", "x,a", "y", keepdims=0)], {"a": np.array([-1, 0])}),
    "log sum of exponentials": (13, [node("ReduceLogSumExp", "x", "y", axes=[2])], {}),
    "einsum": (12, [node("Einsum", "x,w", "y", equation="bchw,cd->bdhw")], {"w": floats(3, 5)}),
    "cumulative sum": (14, [node("CumSum", "x,a", "y", reverse=1, exclusive=1)], {"a": np.array(2)}),
    "gathers": (
        13,
        [node("Gather", "x,i", "g", axis=3), node("GatherElements", "g,j", "y", axis=1)],
        {"i": np.array([[-1, 0], [2, 2]]), "j": np.array([[[[[0, -1]]]]])},
    ),
    "gather of slices": (13, [node("GatherND", "x,i", "y")], {"i": np.array([[0, -1], [0, 0]])}),
    "scatter of slices": (
        16, [node("ScatterND", "x,i,u", "y")], {"i": np.array([[0, 1], [0, 0]]), "u": floats(2, 5, 7)},
    ),
    "blocks": (
        13,
        [
            node("Pad", "x,p", "e"), node("SpaceToDepth", "e", "s", blocksize=2),
            node("DepthToSpace", "s", "d", blocksize=2, mode="CRD"), node("Transpose", "d", "y"),
        ],
        {"p": np.array([0, 0, 1, 1, 0, 0, 0, 0])},
    ),
    "where and compare": (
        16, [node("Greater", "x,z", "c"), node("Not", "c", "n"), node("Where", "n,z,x", "y")],
        {"z": np.array(0.1, np.float32)},
    ),
    "integers": (
        14,
        [
            node("Cast", "x", "i", to=TensorProto.INT64), node("Div", "i,t", "d"),
            node("Mod", "i,t", "m"), node("Add", "d,m", "s"),
            node("Cast", "s", "y", to=TensorProto.FLOAT),
        ],
        {"t": np.array([3])},
    ),
    "one hot": (
        13,
        [node("ArgMax", "x", "i", axis=1, keepdims=0), node("OneHot", "i,n,v", "y", axis=1)],
        {"n": np.array(3), "v": np.array([-1, 2], np.float32)},
    ),
    "weight first": (13, [node("MatMul", "w,x", "y")], {"w": floats(2, 5)}),
    "matrices of weights": (13, [node("MatMul", "x,w", "y")], {"w": floats(3, 7, 4)}),
    "triangles": (14, [node("Trilu", "x,k", "y", upper=0)], {"k": np.array(1)}),
    "sizes from shapes": (
        13,
        [
            node("Shape", "x", "s"), node("Slice", "s,o,t", "hw"), node("Mul", "hw,t2", "big"),
            node("ConstantOfShape", "big", "zeros"), node("Shape", "zeros", "n"), node("Cast", "n", "f", to=1),
            node("ReduceSum", "f", "total", keepdims=0), node("Mul", "x,total", "y"),
        ],
        {"o": np.array([2]), "t": np.array([4]), "t2": np.array([2])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_operator_gives_what_onnxruntime_gives(case, tmp_path):
    opset, nodes, constants = CASES[case]
    agrees(nodes, {"x": floats(1, 3, 5, 7)}, tmp_path, constants, opset)


def test_top_k_gives_values_and_places(tmp_path):
    nodes = [node("TopK", "x,k", "v,i", axis=1)]
    agrees(nodes, {"x": floats(2, 9)}, tmp_path, {"k": np.array([4])}, outputs=("v", "i"))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_have_their_gates_in_order(op, direction, tmp_path):
    gates, directions = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], 2 if direction == "bidirectional" else 1
    constants = {"w": floats(directions, gates * 5, 4), "r": floats(directions, gates * 5, 5)}
    constants["b"] = floats(directions, 2 * gates * 5)
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    nodes = [node(op, "x,w,r,b", "y,h", hidden_size=5, direction=direction, **more)]
    network = agrees(nodes, {"x": floats(6, 2, 4)}, tmp_path, constants, 14, ("y", "h"))
    assert sum(site.macs for site in trace(network).sites) == 6 * 2 * directions * gates * 5 * (4 + 5)


def test_a_condition_chooses_a_graph(tmp_path):
    def branch(name, op):
        return helper.make_graph([node(op, "x,w", name)], name, [], [helper.make_empty_tensor_value_info(name)])

    nodes = [
        node("ReduceSum", "x", "s", keepdims=0),
        node("Greater", "s,zero", "c"),
        node("If", "c", "y", then_branch=branch("a", "MatMul"), else_branch=branch("b", "Add")),
    ]
    given = {"x": np.abs(floats(4, 4))}
    model = model_of(nodes[:2], given, ("c",), {"zero": np.array(0, np.float32), "w": floats(4, 4)})
    model.graph.node.append(nodes[2])
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 4]))
    network = loaded(model, tmp_path)
    for sign in (1, -1):
        x = sign * given["x"]
        assert np.allclose(network.module(torch.from_numpy(x)).detach(), by_runtime(model, {"x": x})[0], atol=1e-5)


def test_a_constant_that_two_nodes_read_is_one_parameter(tmp_path):
    nodes = [node("MatMul", "x,w", "a"), node("Relu", "a", "r"), node("MatMul", "r,w", "y")]
    network = agrees(nodes, {"x": floats(3, 6)}, tmp_path, {"w": floats(6, 6)})
    assert len(list(network.module.parameters())) == 1


def test_the_file_s_functions_are_written_out(tmp_path):
    function = helper.make_function(
        "own", "Double", ["a"], ["b"], [node("Add", "a,a", "b")], [helper.make_opsetid("", 13)]
    )
    model = model_of([node("Relu", "x", "y")], {"x": floats(2, 3)}, ("y",))
    model.graph.node.append(helper.make_node("Double", ["y"], ["z"], domain="own"))
    model.graph.output[0].name = "z"
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    x = torch.from_numpy(floats(2, 3))
    assert torch.equal(loaded(model, tmp_path).module(x), 2 * x.relu())


def test_sizes_that_are_open_are_asked_for_and_taken(tmp_path):
    inputs = {"x": floats(1, 3, 8, 8)}
    model = model_of([node("Relu", "x", "y")], inputs, ("y",), sizes={"x": ["n", 3, "h", "w"]})
    with pytest.raises(InputError, match="--shape x=1x3x224x224"):
        loaded(model, tmp_path)
    network = loaded(model, tmp_path, dims={"x": (1, 3, 10, 12)})
    assert network.example(InputShape(batch=2))["x"].shape == (2, 3, 10, 12)
    for wrong in ({"x": (1, 4, 8, 8)}, {"z": (1,)}, {"x": (1, 3)}):
        with pytest.raises(InputError, match="shape"):
            loaded(model, tmp_path, dims=wrong)


def test_external_data_are_read_from_the_folder_alone(tmp_path):
    model = model_of([node("MatMul", "x,w", "y")], {"x": floats(2, 64)}, ("y",), {"w": floats(64, 64)})
    path = tmp_path / "network.onnx"
    x = floats(2, 64)
    expected = by_runtime(model, {"x": x})[0]
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    found = load(str(path)).module(torch.from_numpy(x)).detach().numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    whole = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(whole[:-1])
    with pytest.raises(InputError, match="beyond the end"):
        load(str(path))
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match="missing"):
        load(str(path))
    secret = tmp_path.parent / "secret.bin"
    secret.write_bytes(whole)
    (tmp_path / "weights.bin").symlink_to(secret)
    with pytest.raises(InputError, match="outside the model's folder"):
        load(str(path))
    outside = onnx.load(path, load_external_data=False)
    outside.graph.initializer[0].external_data[0].value = "../secret.bin"
    path.write_bytes(outside.SerializeToString())
    with pytest.raises(InputError, match="outside the model's folder"):
        load(str(path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: setattr(m.opset_import[0], "version", 6), "opset 6"),
        (lambda m: setattr(m.opset_import[0], "version", 24), "opset 24"),
        (lambda m: setattr(m.graph.node[0], "op_type", "ImageDecoder"), "ImageDecoder"),
        (lambda m: m.graph.node[0].MergeFrom(node("Relu", "y", "y")), "valid"),
        (lambda m: m.graph.ClearField("node"), "no graph with nodes"),
    ],
)
def test_what_is_not_read_is_refused_in_a_sentence(change, sentence, tmp_path):
    model = model_of([node("Relu", "x", "y")], {"x": floats(2, 3)}, ("y",))
    change(model)
    with pytest.raises(InputError, match=sentence) as refused:
        loaded(model, tmp_path)
    assert "\n" not in str(refused.value)


def test_an_operator_of_another_domain_names_its_node(tmp_path):
    model = model_of([node("Relu", "x", "y")], {"x": floats(2, 3)}, ("y",))
    model.graph.node[0].domain, model.graph.node[0].name = "com.acme", "first"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(InputError, match=r"node 'first' \(com.acme.Relu\).*'com.acme'"):
        loaded(model, tmp_path)


def test_damaged_files_are_refused_and_nothing_else(tmp_path):
    whole, path, draw = cnn().SerializeToString(), tmp_path / "network.onnx", random.Random(0)  # noqa: S311
    for trial in range(150):
        broken = bytearray(whole)
        if trial % 3 == 0:
            broken = broken[: draw.randrange(len(broken))]
        else:
            for _ in range(draw.choice((1, 2, 8))):
                broken[draw.randrange(len(broken))] = draw.randrange(256)
        path.write_bytes(broken)
        with contextlib.suppress(InputError):
            network = load(str(path))
            network.forward(network.example(InputShape()))


def test_names_from_files_never_meet_attributes():
    assert path_of("", "Relu", "forward.weight") == "forward_"
    module = torch.nn.Module()
    for part in path_of("a/training/" + "b" * 500, "Relu").split("."):
        assert len(part) <= 61
        assert part not in dir(module)


def test_a_file_is_told_by_its_content(tmp_path):
    path = tmp_path / "network"
    path.write_bytes(cnn().SerializeToString())
    assert load(str(path)).kind == "image"
    (tmp_path / "text.onnx").write_text("no protobuf")
    with pytest.raises(InputError, match=r"text\.onnx cannot be parsed"):
        load(str(tmp_path / "text.onnx"))
    with pytest.raises(InputError, match="there is no file"):
        load(str(tmp_path / "missing.onnx"))


def test_a_network_of_a_file_can_be_copied(tmp_path):
    network = loaded(cnn(), tmp_path)
    copy = network.copy()
    batch = network.example(InputShape())
    assert torch.equal(network.forward(batch), dataclasses.replace(copy).forward(batch))


@pytest.mark.parametrize("kernel", [2, 3])
def test_output_padding_brings_back_what_pads_cut_off(kernel, tmp_path):
    inputs, weights = {"x": floats(1, 4, 5, 5)}, {"w": floats(4, 3, kernel, kernel), "b": floats(3)}
    more = {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}
    agrees([node("ConvTranspose", "x,w,b", "y", **more)], inputs, tmp_path, weights)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("pads", [[0, 0, 1, 1], [1, 1, 1, 1], [2, 0, 1, 1]])
@pytest.mark.parametrize("size", [5, 6])
def test_windows_that_hang_over(op, pads, size, tmp_path):
    """With ceil_mode, windows that begin in the pads behind the image are left out."""
    pool = node(op, "x", "y", kernel_shape=[3, 3], strides=[3, 3], pads=pads, ceil_mode=1)
    agrees([pool], {"x": floats(1, 2, size, size)}, tmp_path, opset=18 if op == "LpPool" else 19)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("outside", [0, 1])
def test_antialias(mode, outside, tmp_path):
    resize = node("Resize", "x,,,s", "y", mode=mode, antialias=1, exclude_outside=outside)
    agrees([resize], {"x": floats(1, 2, 6, 6)}, tmp_path, {"s": np.array([1, 2, 3, 4])}, opset=19)


def test_places_between_elements_are_those_of_float32(tmp_path):
    """1.5 / 0.6 - 0.5 is 2 in float32, and less than 2 in float64, since 0.6 of a file is a little more."""
    resize = node("Resize", "x,,s", "y", mode="nearest", nearest_mode="floor")
    scales = {"s": np.array([1, 1, 0.6, 0.6], np.float32)}
    agrees([resize], {"x": floats(1, 2, 6, 6)}, tmp_path, scales, opset=19)


def test_integers_are_not_resized_between_elements(tmp_path):
    graph = [
        node("Cast", "x", "i", to=TensorProto.INT32),
        node("Resize", "i,,s", "j", mode="linear"),
        node("Cast", "j", "y", to=TensorProto.FLOAT),
    ]
    model = model_of(graph, {"x": floats(1, 1, 4, 4)}, ("y",), {"s": np.array([1, 1, 2, 2], np.float32)})
    network = loaded(model, tmp_path)
    with pytest.raises(InputError, match="floats alone"):
        network.module(torch.from_numpy(floats(1, 1, 4, 4)))


def test_a_constant_mask_of_attention(tmp_path):
    inputs = {"q": floats(1, 2, 3, 4), "k": floats(1, 2, 5, 4, seed=1), "v": floats(1, 2, 5, 4, seed=2)}
    agrees([node("Attention", "q,k,v,m", "y")], inputs, tmp_path, {"m": floats(3, 5)}, opset=23)


def test_a_cell_state_without_a_hidden_one(tmp_path):
    weights = {"w": floats(1, 16, 3), "r": floats(1, 16, 4, seed=1), "b": floats(1, 32, seed=2)}
    inputs = {"x": floats(5, 2, 3), "c": floats(1, 2, 4, seed=3)}
    lstm = node("LSTM", "x,w,r,b,,,c", "y", hidden_size=4)
    agrees([lstm], inputs, tmp_path, weights, opset=14)


def test_a_function_s_tensor_does_not_lie_in_another_file(tmp_path, monkeypatch):
    """Where a function is written out its tensors are, and none is read from wherever bitwright runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(floats(4).tobytes())
    held = TensorProto(name="held", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    held.external_data.add(key="location", value="secret")
    inside = [helper.make_node("Constant", [], ["c"], value=held), node("Add", "a,c", "b")]
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    model = model_of([node("Identity", "x", "y")], {"x": floats(4)}, ("y",))
    model.graph.node[0].CopyFrom(node("Plus", "x", "y", domain="own"))
    model.functions.append(helper.make_function("own", "Plus", ["a"], ["b"], inside, opsets[:1]))
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError):
        loaded(model, tmp_path / "folder")


@pytest.mark.parametrize(
    "text",
    ["x=0x8", "x=-1x8", "x=ax8", "x=1xx8", "x=", "=1x8", "x", "x=1.5x8", "x=1x8,1x8", "x=1X8", "x=99999999999x8"],
)
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(InputError, match=r"is not understood; write --shape .* from 1 to 999,999,999"):
        dims_of([text])


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"z": (1, 8)}, "names the input 'z'; it has x"),
        ({"x": (8,)}, "gives x 8, the file has Nx8"),
        ({"x": (1, 8, 1)}, "gives x 1x8x1, the file has Nx8"),
        ({"x": (1, 9)}, "gives x 1x9, the file has Nx8"),
        ({"x": (999_999_999, 8)}, "7,999,999,992 elements; give a smaller one"),
    ],
)
def test_sizes_that_no_input_has_are_refused(sizes, sentence, tmp_path):
    made = helper.make_graph(
        [node("MatMul", "x,w", "y")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(floats(8, 3), "w")],
    )
    (tmp_path / "a.onnx").write_bytes(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )
    with pytest.raises(InputError, match=re.escape(sentence)):
        load(str(tmp_path / "a.onnx"), dims=sizes)
