"""Operators of signals, boxes, samples, windows and unsigned numbers in ONNX files, against onnxruntime."""

import numpy as np
import pytest
import torch

from bitwright.errors import InputError
from bitwright.networks.nodes import Place, report_nodes
from bitwright.networks.onnx.build import network_of
from bitwright.networks.onnx.file import opsets
from bitwright.networks.trace import trace

onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime is what networks of ONNX files are compared with")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from tests.test_onnx import by_runtime, floats, loaded, model_of, node  # noqa: E402

INT, FLOAT = TensorProto.INT64, TensorProto.FLOAT


def value(name, kind, axes):
    return helper.make_tensor_value_info(name, kind, [None] * axes)


def model(nodes, given, outputs, constants=None, opset=18):
    """A model whose outputs are name -> (type, axes)."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape)
        for name, each in given.items()
    ]
    held = [numpy_helper.from_array(np.asarray(each), name) for name, each in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, [value(name, *each) for name, each in outputs.items()], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def computed(made, given):
    """What the interpreter makes of a model, by name."""
    network, _, _ = network_of(made, opsets(made), None, list(given))
    with torch.no_grad():
        found = network(**{name: torch.from_numpy(each) for name, each in given.items()})
    return found if isinstance(found, dict) else {made.graph.output[0].name: found}


def agrees(nodes, given, outputs, constants=None, opset=18, tolerance=1e-5):
    made = model(nodes, given, outputs, constants, opset)
    found = list(computed(made, given).values())
    for own, expected in zip(found, by_runtime(made, given), strict=True):
        assert own.shape == expected.shape
        assert own.numpy().dtype == expected.dtype
        difference = np.abs(own.numpy().astype(np.float64) - expected.astype(np.float64)).max(initial=0)
        assert difference <= tolerance * max(1e-6, np.abs(expected.astype(np.float64)).max(initial=0))


IMAGE = {"x": floats(1, 2, 6, 7)}
Y = {"y": (FLOAT, 4)}
WINDOWS = {
    "largest elements and where they are": (
        [node("MaxPool", "x", "y,i", kernel_shape=[2, 3], strides=[2, 2], pads=[0, 1, 1, 1])],
        {**Y, "i": (INT, 4)}, {}, 12,
    ),
    "where they are, pads on one side": (
        [node("MaxPool", "x", "y,i", kernel_shape=[3, 3], pads=[2, 0, 0, 1])], {**Y, "i": (INT, 4)}, {}, 12,
    ),
    "where they are, columns first": (
        [node("MaxPool", "x", "y,i", kernel_shape=[2, 2], storage_order=1)], {**Y, "i": (INT, 4)}, {}, 12,
    ),
    "elements put back": (
        [node("MaxPool", "x", "p,i", kernel_shape=[3, 1], strides=[3, 1]),
         node("MaxUnpool", "p,i", "y", kernel_shape=[3, 1], strides=[3, 1])],
        Y, {}, 12,
    ),
    "means of windows with gaps, the last hanging over": (
        [node("AveragePool", "x", "y", kernel_shape=[2, 2], dilations=[2, 3], strides=[3, 2], ceil_mode=1)],
        Y, {}, 19,
    ),
    "the same with pads that count": (
        [node("AveragePool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2], strides=[3, 2], pads=[1, 1, 1, 1],
              ceil_mode=1, count_include_pad=1)],
        Y, {}, 19,
    ),
    "norms of windows with gaps": (
        [node("LpPool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2], p=3)], Y, {}, 18,
    ),
    "a part, resized": (
        [node("Resize", "x,roi,,s", "y", mode="linear", coordinate_transformation_mode="tf_crop_and_resize",
              extrapolation_value=7.0)],
        Y, {"roi": np.array([0, 0, 0.2, -0.3, 1, 1, 0.8, 0.6], np.float32), "s": np.array([1, 2, 4, 9])}, 13,
    ),
    "a part, by its nearest": (
        [node("Resize", "x,roi,,s", "y", mode="nearest", coordinate_transformation_mode="tf_crop_and_resize")],
        Y, {"roi": np.array([0, 0, 0.2, 0.1, 1, 1, 0.8, 1.6], np.float32), "s": np.array([1, 2, 5, 3])}, 13,
    ),
    "cut and padded": ([node("CenterCropPad", "x,s", "y", axes=[2, 3])], Y, {"s": np.array([3, 10])}, 18),
    "moved by a grid": (
        [node("AffineGrid", "m,s", "g"), node("GridSample", "x,g", "y", mode="linear")],
        Y, {"m": floats(1, 2, 3), "s": np.array([1, 2, 4, 5])}, 20,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WINDOWS)
def test_a_window_gives_what_onnxruntime_gives(case):
    nodes, outputs, constants, opset = WINDOWS[case]
    agrees(nodes, IMAGE, outputs, constants, opset)


SIGNAL = {"x": floats(2, 16, 1)}
SIGNALS = {
    "a transform": ([node("DFT", "x", "y", axis=1)], 17, {}),
    "half a transform, longer": ([node("DFT", "x,n", "y", axis=1, onesided=1)], 17, {"n": np.array(20)}),
    "back again": ([node("DFT", "x", "f", axis=1), node("DFT", "f", "y", axis=1, inverse=1)], 17, {}),
    "an axis that is an input": ([node("DFT", "x,,a", "y", onesided=1)], 20, {"a": np.array(1)}),
    "frames": (
        [node("HannWindow", "n", "w"), node("STFT", "x,s,w,n", "y")], 17, {"n": np.array(8), "s": np.array(3)},
    ),
    "frames without a window": ([node("STFT", "x,s,,n", "y", onesided=0)], 17, {"n": np.array(8), "s": np.array(4)}),
    "windows": (
        [node("HammingWindow", "n", "h"), node("BlackmanWindow", "n", "b", periodic=0), node("Add", "h,b", "s"),
         node("Mul", "x,s", "y")],
        17, {"n": np.array(16)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SIGNALS)
def test_a_signal_gives_what_onnxruntime_gives(case):
    nodes, opset, constants = SIGNALS[case]
    agrees(nodes, SIGNAL, {"y": (FLOAT, 4 if "STFT" in nodes[-1].op_type else 3)}, constants, opset)


def test_mel_filters_are_triangles():
    """Against the definition, filter by filter: it rises to 1 at its centre and falls to 0 at the next."""
    numbers = {"bins": 6, "length": 64, "rate": 8000}
    constants = {name: np.array(each) for name, each in numbers.items()}
    constants |= {"low": np.array(100, np.float32), "high": np.array(3600, np.float32), "one": np.float32(1)}
    nodes = [node("MelWeightMatrix", "bins,length,rate,low,high", "m"), node("Mul", "m,x", "y")]
    found = computed(
        model(nodes, {"x": np.ones(1, np.float32)}, {"y": (FLOAT, 2)}, constants, 17), {"x": np.ones(1, np.float32)}
    )["y"]
    mel = [2595 * np.log10(1 + hertz / 700) for hertz in (100, 3600)]
    edges = [mel[0] + i * (mel[1] - mel[0]) / 8 for i in range(8)]
    edges = [int(65 * (700 * (10 ** (each / 2595) - 1)) // 8000) for each in edges]
    assert found.shape == (33, 6)
    for i in range(6):
        first, top, last = edges[i : i + 3]
        assert float(found[top, i]) == 1
        for at in range(33):
            rises, falls = first <= at < top, top <= at < last
            wanted = (at - first) / (top - first) if rises else (last - at) / (last - top) if falls else at == top
            assert float(found[at, i]) == pytest.approx(float(wanted), abs=1e-6)


def boxes(centred):
    draw = np.random.default_rng(0)
    low = draw.uniform(0, 8, (2, 30, 2)).astype(np.float32)
    size = draw.uniform(1, 5, (2, 30, 2)).astype(np.float32)
    return np.concatenate((low, size) if centred else (low + size, low), -1)  # corners in either order


@pytest.mark.parametrize("centred", [0, 1])
@pytest.mark.parametrize("most", [0, 4, 100])
def test_the_boxes_that_no_better_one_covers_are_kept(centred, most):
    given = {"x": boxes(centred), "s": np.random.default_rng(1).uniform(0, 1, (2, 3, 30)).astype(np.float32)}
    constants = {"m": np.array([most]), "o": np.array([0.3], np.float32), "t": np.array([0.2], np.float32)}
    nodes = [node("NonMaxSuppression", "x,s,m,o,t", "y", center_point_box=centred)]
    agrees(nodes, given, {"y": (INT, 2)}, constants, 11)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("opset", [10, 16])
def test_regions_are_sampled_as_onnxruntime_samples_them(mode, samples, opset):
    given = {
        "x": floats(2, 3, 9, 11),
        "r": np.array([[0, 0, 5, 5], [1.5, 2.5, 9.7, 8.2], [-3, -2, 2, 20], [3, 3, 3.1, 3.1]], np.float32),
    }
    nodes = [
        node("RoiAlign", "x,r,b", "y", output_height=3, output_width=4, sampling_ratio=samples, spatial_scale=0.8,
             mode=mode)
    ]  # fmt: skip
    agrees(nodes, given, {"y": (FLOAT, 4)}, {"b": np.array([0, 1, 1, 0])}, opset)


@pytest.mark.parametrize("masked", [False, True])
def test_a_deformed_convolution_is_a_product(masked, tmp_path):
    constants = {"w": floats(4, 2, 3, 3), "b": floats(4)}
    given = {"x": floats(2, 4, 7, 8), "o": floats(2, 2 * 18, 4, 4), "m": np.abs(floats(2, 18, 4, 4))}
    given = given if masked else {name: given[name] for name in "xo"}
    nodes = [
        node("DeformConv", "x,w,o,b,m" if masked else "x,w,o,b", "y", group=2, offset_group=2, strides=[2, 2],
             pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    ]  # fmt: skip
    agrees(nodes, given, Y, constants, 19)
    network = loaded(model(nodes, given, Y, constants, 19), tmp_path)
    assert sum(site.macs for site in trace(network).sites) == 2 * 4 * 4 * 4 * 2 * 9
    assert report_nodes(network).share(Place.MAPPED) == 1


def test_a_deformed_convolution_with_no_offset_is_a_convolution():
    given = {"x": floats(1, 4, 7, 8), "o": np.zeros((1, 18, 7, 8), np.float32)}
    nodes = [
        node("DeformConv", "x,w,o", "a", pads=[1, 1, 1, 1]), node("Conv", "x,w", "b", pads=[1, 1, 1, 1]),
        node("Sub", "a,b", "y"),
    ]  # fmt: skip
    found = computed(model(nodes, given, Y, {"w": floats(4, 4, 3, 3)}, 19), given)["y"]
    assert float(found.abs().max()) < 1e-5


def test_blocks_are_added_up_where_they_overlap():
    constants = {"s": np.array([5, 6]), "k": np.array([2, 3])}
    for count, attributes in ((8, {"strides": [1, 2]}), (6, {"pads": [1, 1, 0, 1], "strides": [2, 3]})):
        agrees([node("Col2Im", "x,s,k", "y", **attributes)], {"x": floats(1, 12, count)}, Y, constants, 18)


def test_distinct_elements():
    given = {"x": np.array([[3, 1, 3], [2, 2, 1], [3, 1, 3]], np.float32)}
    outputs = {"y": (FLOAT, 1), "i": (INT, 1), "b": (INT, 1), "n": (INT, 1)}
    agrees([node("Unique", "x", "y,i,b,n")], given, outputs, {}, 11)
    agrees([node("Unique", "x", "y,i,b,n", sorted=0)], given, outputs, {}, 11)
    agrees([node("Unique", "x", "y,i,b,n", axis=0)], given, {**outputs, "y": (FLOAT, 2)}, {}, 11)


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64])
def test_unsigned_numbers_wrap_around_in_their_own_width(kind):
    """Against NumPy's: what onnxruntime computes of these types is little."""
    a = np.array([0, 1, 5, 40000], kind)
    b = np.array([1, 7, 5, 60000], kind)
    nodes = [
        node("BitwiseNot", "a", "not"), node("Sub", "a,b", "sub"), node("Mul", "a,b", "mul"),
        node("Max", "a,b", "max"), node("Less", "a,b", "less"),
        node("Cast", "f", "cast", to=helper.np_dtype_to_tensor_dtype(np.dtype(kind))),
        node("BitShift", "a,b5", "shift", direction="LEFT"), node("Gather", "a,i", "gather"),
        node("ArgMax", "a", "arg"),
    ]  # fmt: skip
    constants = {"f": np.array([3.7, 9.0], np.float32), "b5": np.array([3, 3, 3, 3], kind), "i": np.array([3, 0])}
    own = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    outputs = dict.fromkeys(("not", "sub", "mul", "max", "cast", "shift", "gather"), (own, 1))
    outputs |= {"less": (TensorProto.BOOL, 1), "arg": (INT, 1)}
    given = {"a": a, "b": b}
    found = {name: each.numpy() for name, each in computed(model(nodes, given, outputs, constants, 18), given).items()}
    with np.errstate(over="ignore"):
        wanted = {
            "not": ~a, "sub": a - b, "mul": a * b, "max": np.maximum(a, b), "less": a < b,
            "cast": np.array([3, 9], kind), "shift": a << kind(3), "gather": a[[3, 0]], "arg": np.array([3]),
        }  # fmt: skip
    for name, each in wanted.items():
        assert found[name].dtype == each.dtype, name
        assert np.array_equal(found[name], each), name


def test_numbers_that_do_not_fit_a_signed_type_are_refused():
    given = {"a": np.array([2**63 + 1], np.uint64)}
    made = model([node("Add", "a,a", "y")], given, {"y": (TensorProto.UINT64, 1)})
    with pytest.raises(InputError, match=r"\(Add\).*2\*\*63"):
        computed(made, given)


ATTENTION = {
    "earlier tokens": ("q,k,v,,pk,pv", {}, True),
    "earlier tokens, looking back": ("q,k,v,,pk,pv", {"is_causal": 1}, True),
    "a mask and looking back": ("q,k,v,m", {"is_causal": 1}, False),
    "a cap": ("q,k,v,m", {"softcap": 2.0}, False),
    "scores": ("q,k,v,m", {"qk_matmul_output_mode": 3, "scale": 0.4}, False),
}


@pytest.mark.parametrize("case", ATTENTION)
def test_attention_in_all_its_forms(case):
    """Against NumPy, from the definition."""
    inputs, attributes, past = ATTENTION[case]
    given = {"q": floats(2, 4, 3, 6, seed=1), "k": floats(2, 2, 5, 6, seed=2), "v": floats(2, 2, 5, 6, seed=3)}
    given |= {"m": floats(3, 5, seed=4)} if "m" in inputs.split(",") else {}
    given |= {"pk": floats(2, 2, 4, 6, seed=5), "pv": floats(2, 2, 4, 6, seed=6)} if past else {}
    outputs = dict.fromkeys(("y", "k2", "v2", "s"), (FLOAT, 4))
    made = model([node("Attention", inputs, ",".join(outputs), **attributes)], given, outputs, {}, 23)
    found = {name: each.numpy() for name, each in computed(made, given).items()}
    k, v = (np.concatenate((given[f"p{n}"], given[n]), 2) if past else given[n] for n in "kv")
    wide_k, wide_v = (each.repeat(2, axis=1) for each in (k, v))
    scores = given["q"] @ wide_k.transpose(0, 1, 3, 2) * attributes.get("scale", 6**-0.5)
    raw = scores
    if "softcap" in attributes:
        scores = 2.0 * np.tanh(scores / 2.0)
    scores = scores + given.get("m", 0)
    if "is_causal" in attributes:
        places = np.arange(k.shape[2])[None] > np.arange(3)[:, None] + (4 if past else 0)
        scores = np.where(places, -np.inf, scores)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    assert np.allclose(found["y"], shares @ wide_v, atol=1e-5)
    assert np.array_equal(found["k2"], k)
    assert np.array_equal(found["v2"], v)
    assert np.allclose(found["s"], shares if "qk_matmul_output_mode" in attributes else raw, atol=1e-5)


def test_codes_by_computed_scales_are_numbers():
    given = {"x": floats(3, 8)}
    nodes = [
        node("ReduceMax", "x", "m", keepdims=0), node("Mul", "m,tenth", "s"), node("QuantizeLinear", "x,s,z", "q"),
        node("DequantizeLinear", "q,s,z", "r"), node("Cast", "q", "f", to=FLOAT), node("Add", "r,f", "y"),
    ]  # fmt: skip
    constants = {"tenth": np.float32(0.1), "z": np.array(100, np.uint8)}
    agrees(nodes, given, {"y": (FLOAT, 2)}, constants, 13)


def test_codes_that_something_counts_with_are_numbers():
    given = {"x": floats(3, 8)}
    nodes = [
        node("DynamicQuantizeLinear", "x", "q,s,z"), node("Cast", "q", "f", to=FLOAT), node("Cast", "z", "g", to=FLOAT),
        node("Sub", "f,g", "d"), node("Mul", "d,s", "y"),
    ]  # fmt: skip
    agrees(nodes, given, {"y": (FLOAT, 2)}, {}, 13)


@pytest.mark.parametrize("first", ["MatMulInteger", "ConvInteger"])
def test_a_product_of_codes_that_are_both_given(first):
    shapes = [(2, 3, 5), (2, 5, 4)] if first == "MatMulInteger" else [(1, 2, 5, 5), (3, 2, 3, 3)]
    draw = np.random.default_rng(0)
    given = {
        "a": draw.integers(0, 256, shapes[0]).astype(np.uint8),
        "b": draw.integers(0, 256, shapes[1]).astype(np.uint8),
    }
    constants = {"u": np.array(120, np.uint8), "v": np.array(7, np.uint8)}
    agrees([node(first, "a,b,u,v", "y")], given, {"y": (TensorProto.INT32, len(shapes[0]))}, constants, 10)


def test_a_table_with_infinities_is_a_mask_by_index(tmp_path):
    """Rows of -inf hide what they are added to; they are no weight that was lost."""
    table = floats(4, 3)
    table[0] = -np.inf
    given = {"i": np.array([[1, 0], [2, 3]])}
    nodes = [node("Gather", "t,i", "g"), node("Softmax", "g", "y", axis=1)]
    made = model_of(nodes, given, ("y",), {"t": table}, 13)
    network = loaded(made, tmp_path)
    found = network.module(torch.from_numpy(given["i"])).detach().numpy()
    assert np.allclose(found, by_runtime(made, given)[0], atol=1e-6)


def test_a_product_with_nothing_to_reduce_is_on_the_vector_unit(tmp_path):
    given = {"x": floats(5, 1)}
    nodes = [node("Gemm", "x,w,b", "a", transB=1), node("MatMul", "a,v", "c"), node("MatMul", "c,o", "y")]
    constants = {"w": floats(6, 1), "b": floats(6), "v": floats(6, 1), "o": floats(1, 3)}
    made = model_of(nodes, given, ("y",), constants, 13)
    network = loaded(made, tmp_path)
    assert np.allclose(network.module(torch.from_numpy(given["x"])).detach(), by_runtime(made, given)[0], atol=1e-5)
    places = [line.place for line in report_nodes(network).lines]
    assert places == [Place.VECTOR, Place.MAPPED, Place.VECTOR]


@pytest.mark.parametrize(
    ("op", "domain", "sentence"),
    [
        ("TreeEnsemble", "ai.onnx.ml", "no network's"),
        ("StringNormalizer", "", "handles texts"),
        ("RandomNormalLike", "", "draws random numbers"),
        ("Momentum", "ai.onnx.preview.training", "trains"),
        ("ImageDecoder", "", "not among the operators"),
    ],
)
def test_what_no_network_computes_is_refused_by_name(op, domain, sentence):
    made = model([node("Relu", "x", "y")], {"x": floats(2)}, {"y": (FLOAT, 1)}, {}, 20)
    made.graph.node[0].op_type, made.graph.node[0].domain = op, domain
    with pytest.raises(InputError, match=rf"{op}\).*{sentence}"):
        network_of(made, {"": 20, domain: 1}, None, ["x"])


NUMBERS = np.array([[-1, 2], [3, 0.5]], np.float32)
ROWS = {"x": np.array([[1, 2], [3, 4]], np.int32)}
EDGES = {
    "sums so far without their own element": (
        [node("CumSum", "x,a", "y", exclusive=1)], {"x": np.array([1, 1e8, 1, -1e8, 2], np.float32)},
        (FLOAT, 1), {"a": np.array(0)}, 18,
    ),
    "no axis is reduced, and elements are squared": (
        [node("ReduceSumSquare", "x", "y", noop_with_empty_axes=1)], {"x": NUMBERS}, (FLOAT, 2), {}, 18,
    ),
    "no axis is reduced, and elements lose their signs": (
        [node("ReduceL1", "x", "y", noop_with_empty_axes=1)], {"x": NUMBERS}, (FLOAT, 2), {}, 18,
    ),
    "lengths of integers are integers": (
        [node("ReduceL2", "x,a", "y")], ROWS, (TensorProto.INT32, 2), {"a": np.array([1])}, 18,
    ),
    "logarithms of integers are integers": (
        [node("ReduceLogSumExp", "x,a", "y")], ROWS, (TensorProto.INT32, 2), {"a": np.array([1])}, 18,
    ),
    "an instance of one pixel is its bias": (
        [node("InstanceNormalization", "x,s,b", "y")], {"x": np.ones((2, 3, 1, 1), np.float32)}, (FLOAT, 4),
        {"s": floats(3), "b": floats(3, seed=1)}, 18,
    ),
    "a deformed convolution of an image of one row": (
        [node("DeformConv", "x,w,o", "y", pads=[1, 1, 1, 1])],
        {"x": floats(1, 1, 1, 5), "o": floats(1, 18, 1, 5, seed=2)}, (FLOAT, 4), {"w": floats(1, 1, 3, 3)}, 19,
    ),
    "a region without extent": (
        [node("RoiAlign", "x,r,i", "y", output_height=2, output_width=2)],
        {"x": floats(1, 1, 4, 4), "r": np.array([[1, 1, 1, 1], [0, 0, 3, 3]], np.float32)}, (FLOAT, 4),
        {"i": np.array([0, 0])}, 16,
    ),
    "another tensor's unsigned type": (
        [node("CastLike", "x,l", "y")], {"x": np.array([1, 2.5], np.float32), "l": np.array([1], np.uint16)},
        (TensorProto.UINT16, 1), {}, 18,
    ),
    "a vector by a matrix, and a row that is added": (
        [node("MatMul", "x,w", "m"), node("Add", "m,b", "y")], {"x": floats(4)}, (FLOAT, 2),
        {"w": floats(4, 3), "b": floats(1, 3, seed=2)}, 18,
    ),
    "a norm with one gain for all": (
        [node("LayerNormalization", "x,g,b", "y")], {"x": floats(2, 4)}, (FLOAT, 2),
        {"g": np.array([2], np.float32), "b": np.array([1], np.float32)}, 17,
    ),
    "zero points of each column of each matrix": (
        [node("MatMulInteger", "a,b,z,of_b", "y")],
        {"a": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "b": np.arange(16, dtype=np.uint8).reshape(2, 4, 2)},
        (TensorProto.INT32, 3), {"z": np.array(2, np.uint8), "of_b": np.arange(4, dtype=np.uint8).reshape(2, 1, 2)}, 18,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EDGES)
def test_an_edge_of_an_operator_gives_what_onnxruntime_gives(case):
    nodes, given, output, constants, opset = EDGES[case]
    agrees(nodes, given, {"y": output}, constants, opset)


def test_what_is_no_number_stays_none_between_bounds_that_cross():
    made = model(
        [node("Clip", "x,a,b", "y")],
        {"x": np.array([np.nan, 1], np.float32)},
        {"y": (FLOAT, 1)},
        {"a": np.float32(3), "b": np.float32(2)},
    )
    found = computed(made, {"x": np.array([np.nan, 1], np.float32)})["y"]
    assert torch.isnan(found[0])
    assert found[1] == 2


@pytest.mark.parametrize(
    ("nodes", "given", "kind"),
    [
        ([node("Pow", "x,e", "y")], {"x": np.array([2, 3]), "e": np.array([40, 2], np.uint32)}, torch.int64),
        (
            [node("OneHot", "x,d,v", "y")],
            {"x": np.array([0, 1]), "d": np.array(2), "v": np.array([0, 5], np.uint32)},
            torch.uint32,
        ),
    ],
)
def test_results_have_the_type_of_the_operand_that_says_it(nodes, given, kind):
    found = computed(model(nodes, given, {"y": (INT, 1)}), given)["y"]
    assert found.dtype == kind
    expected = given["x"] ** given["e"].astype(int) if "e" in given else np.eye(2) * 5
    assert np.array_equal(found.numpy(), expected)


def test_a_sigmoid_is_the_nearest_float32():
    """Onnxruntime's own is an approximation: 0 below about -18, where the real one is 1e-8."""
    x = np.linspace(-87, 20, 20_001).astype(np.float32)
    made = helper.make_model(
        helper.make_graph([node("Sigmoid", "x", "y")], "g", [value("x", FLOAT, 1)], [value("y", FLOAT, 1)]),
        opset_imports=[helper.make_opsetid("", 13)],
    )
    network = network_of(made, opsets(made), None, ["x"])[0]
    found = network(torch.from_numpy(x)).numpy()
    expected = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert (np.abs(found - expected) / expected).max() < 1.5 * 2**-23
