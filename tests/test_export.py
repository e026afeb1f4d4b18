"""Files for other tools: ONNX that onnxruntime runs, QONNX, integer weights, and vectors for a testbench."""

import dataclasses
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.toys import Calling, im2col, network_of, normal
from typer.testing import CliRunner

import bitwright
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.exchange.export import written
from bitwright.exchange.export.words import hex_words
from bitwright.formats import Integer, PerTensor, SlicedUnsigned
from bitwright.methods.drift.rule import Drift
from bitwright.methods.executor import Executor, composition_of, prepare
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.methods.protocol import Composition
from bitwright.networks import hadamard
from bitwright.networks.rotated_sites import Rotation, Where
from bitwright.studies.inputs import simulation_input

RUNNER = CliRunner()
PLAIN = {"smoothing": "none", "rotation": "none", "w_rounding": "nearest", "bias_correction": False}
ENDS = {**PLAIN, "ends": "same"}


def attention(module, x):
    q, k, v = (each.unflatten(-1, (3, 4)).transpose(1, 2) for each in module.qkv(x).chunk(3, -1))
    return module.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


def attentive():
    return Calling(attention, qkv=torch.nn.Linear(12, 36), out=torch.nn.Linear(12, 12))


def seeded(make):
    torch.manual_seed(0)
    return make()


LAYERS = {
    "linear": (lambda: torch.nn.Linear(20, 7), (3, 20)),
    "linear, more axes, no bias": (lambda: torch.nn.Linear(20, 7, bias=False), (2, 3, 20)),
    "conv": (lambda: torch.nn.Conv2d(6, 8, 3, stride=2, padding=1), (2, 6, 9, 8)),
    "conv with groups": (lambda: torch.nn.Conv2d(6, 8, 3, groups=2, dilation=2, padding=2), (2, 6, 9, 8)),
    "depthwise conv": (lambda: torch.nn.Conv2d(6, 6, 3, groups=6, padding=1), (1, 6, 7, 8)),
    "conv, same padding of an even kernel": (lambda: torch.nn.Conv2d(3, 4, 4, padding="same"), (1, 3, 8, 8)),
    "conv of one image": (lambda: torch.nn.Conv2d(3, 4, 3), (3, 8, 8)),
    "conv1d": (lambda: torch.nn.Conv1d(4, 6, 3), (2, 4, 11)),
    "transposed conv": (lambda: torch.nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1), (1, 4, 5, 5)),
    "matrices": (lambda: Calling(lambda m, x: torch.bmm(x, m.w), w=torch.randn(3, 8, 5)), (3, 4, 8)),
    "weight first": (lambda: Calling(lambda m, x: m.w @ x, w=torch.randn(5, 8)), (8, 6)),
    "added": (
        lambda: Calling(lambda m, x: torch.addmm(m.b, x, m.w, alpha=0.5), w=torch.randn(8, 5), b=torch.randn(5)),
        (3, 8),
    ),
    "two operands of the run time": (lambda: Calling(lambda m, x: x @ x.transpose(1, 2)), (2, 6, 5)),
}
RECIPES = {
    "int8": {},
    "int8-sym": {},
    "int8-token": {},
    "w4a8": {"w_granularity": "group:8", "wide": "none"},
    "w4 per group that does not divide": {"w_bits": 4, "w_granularity": "group:7"},
    "x in groups": {"x_granularity": "group:8", "x_symmetric": True},
    "6 bits by 5": {"x_bits": 6, "w_bits": 5, "w_granularity": "tensor"},
    "3 bits signed": {"x_bits": 3, "x_symmetric": True, "w_bits": 3},
    "12 bits": {"x_bits": 12, "w_bits": 12},
    "aqs": {},
}


def planned(network, recipe, **others):
    method = recipe if recipe in ("int8", "int8-sym", "int8-token", "w4a8", "aqs") else "int8"
    return bitwright.calibrate(network, method, options={**ENDS, **RECIPES[recipe], **others}, count=2)


def batch_of(network):
    """The one input that networks are exported on."""
    return simulation_input(network)[0]


def toy(name):
    make, shape = LAYERS[name]
    return network_of(seeded(make), normal(*shape, seed=1))


def exported(network, plan, file, form="onnx-qdq", **others):
    return bitwright.export(network, file, form, plan, **others)


class TestQdq:
    @pytest.fixture(autouse=True)
    def _needs(self):
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")

    @pytest.mark.parametrize("recipe", ["int8", "int8-token", "w4a8"])
    @pytest.mark.parametrize("layer", LAYERS)
    def test_one_product_has_equal_codes_in_onnxruntime(self, layer, recipe, tmp_path):
        network = toy(layer)
        made = exported(network, planned(network, recipe), tmp_path / "a.onnx").agreement
        assert made.codes > 0
        assert (made.equal_codes, made.off_by, made.first_site) == (1.0, 0, "")
        # sums of at most 72 products in float32, of codes that are the same
        assert made.sqnr_db > 110

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_every_encoding_is_said_as_it_is(self, recipe, tmp_path):
        network = toy("linear, more axes, no bias")
        made = exported(network, planned(network, recipe), tmp_path / "a.onnx").agreement
        assert made.off_by == 0
        assert made.sqnr_db > 110

    @pytest.mark.parametrize("recipe", ["int8", "int8-sym", "int8-token", "w4a8", "aqs"])
    def test_attention(self, recipe, tmp_path):
        network = network_of(seeded(attentive), normal(2, 5, 12, seed=1))
        made = exported(network, planned(network, recipe), tmp_path / "a.onnx")
        assert len(made.sites) == 4
        assert made.agreement.off_by <= 1  # sums in float32 between sites may round to the other side
        assert made.agreement.equal_codes > 0.99
        assert made.agreement.sqnr_db > 30
        assert made.agreement.fused_sqnr_db > 20  # onnxruntime's own kernels; that they run at all

    def test_a_network_of_convolutions_is_plain(self, tmp_path):
        """Nothing but what a reader expects, and weights are integers beside their scales."""
        import onnx

        layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()]
        layers += [torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.ReLU6(), torch.nn.AdaptiveAvgPool2d(1)]
        layers += [torch.nn.Flatten(), torch.nn.Linear(8, 5)]
        network = network_of(seeded(lambda: torch.nn.Sequential(*layers)), normal(1, 3, 8, 8))
        plan = planned(network, "int8")
        made = exported(network, plan, tmp_path / "a.onnx")
        graph = onnx.load(tmp_path / "a.onnx").graph
        quantized = ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear"]
        assert [node.op_type for node in graph.node] == [
            *(*quantized, "Conv", "Clip"),
            *(*quantized, "Conv", "Clip", "GlobalAveragePool", "Flatten"),
            *(*quantized, "MatMul", "Add"),
        ] or {node.op_type for node in graph.node} <= {
            *quantized,
            "Conv",
            "Clip",
            "GlobalAveragePool",
            "Flatten",
            "MatMul",
            "Add",
            "Reshape",
        }
        assert made.sites == ("0", "3", "7")
        stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        weight = prepare(network, plan).module.get_parameter("0.weight").detach()
        scale = plan.site("0").w.scale.reshape(8, 1, 1, 1)
        codes = (weight / scale).round().clamp(-127, 127)
        assert stored["0.w.codes"].dtype == np.int8
        assert np.array_equal(stored["0.w.codes"], codes.numpy())
        assert np.array_equal(stored["0.w.scale"], scale.flatten().numpy())
        assert float(stored["0.x.scale"]) == float(plan.site("0").x.scale)
        assert int(stored["0.x.zero_point"]) == plan.site("0").x.zero_point

    def test_four_bits_are_four_bits(self, tmp_path):
        import onnx

        network = network_of(seeded(lambda: torch.nn.Linear(64, 32)), normal(2, 64))
        exported(network, planned(network, "w4a8"), tmp_path / "a.onnx")
        (codes,) = [each for each in onnx.load(tmp_path / "a.onnx").graph.initializer if each.name.endswith(".w.codes")]
        assert codes.data_type == onnx.TensorProto.INT4
        assert len(codes.raw_data) == 64 * 32 // 2

    def test_first_rows_have_their_scale(self, tmp_path):
        from bitwright.formats import PerPosition

        network = network_of(seeded(lambda: torch.nn.Linear(4, 3)), normal(2, 5, 4))
        plan = planned(network, "int8")
        (name,) = plan.sites
        x = dataclasses.replace(plan.site(name).x, granularity=PerPosition(2), scale=torch.tensor([0.5, 0.02]))
        plan = dataclasses.replace(plan, sites={name: dataclasses.replace(plan.site(name), x=x)})
        assert exported(network, plan, tmp_path / "a.onnx").agreement.off_by == 0

    @pytest.mark.parametrize("split", [5, 6])
    def test_bits_that_panacea_drops_are_shifted_out(self, split, tmp_path):
        network = network_of(seeded(lambda: torch.nn.Linear(16, 3)), normal(4, 16))
        plan = planned(network, "aqs")
        (name,) = plan.sites
        x = dataclasses.replace(plan.site(name).x, format=SlicedUnsigned(split=split), dropped_mean=0.7)
        plan = dataclasses.replace(plan, sites={name: dataclasses.replace(plan.site(name), x=x)})
        made = exported(network, plan, tmp_path / "a.onnx").agreement
        assert made.off_by == 0
        assert made.sqnr_db > 110
        with pytest.raises(InputError, match="qonnx cannot say uint8 without its"):
            exported(network, plan, tmp_path / "b.onnx", "qonnx")

    @pytest.mark.parametrize("bits", [0, 12, 24])
    @pytest.mark.parametrize(("block", "signs"), [(0, False), (12, True), (24, True)])
    def test_a_rotation_at_run_time_is_a_product(self, bits, block, signs, tmp_path):
        network = network_of(seeded(lambda: torch.nn.Linear(24, 5)), normal(4, 24))
        plan = planned(network, "int8")
        (name,) = plan.sites
        step = 2.0**-8 if bits else 0.0
        rotation = Rotation(where=Where.RUN_TIME, bits=bits, step=step, block=block, signs=signs)
        plan = dataclasses.replace(plan, rotations={name: rotation})
        made = exported(network, plan, tmp_path / "a.onnx").agreement
        assert made.off_by <= (0 if bits else 1)  # sums of fixed point are exact, those of floats in another order
        assert made.equal_codes > 0.95

    def test_sites_that_run_again_and_float_sites(self, tmp_path):
        shared = Calling(lambda m, x: m.b(m.a(m.a(x))), a=torch.nn.Linear(6, 6), b=torch.nn.Linear(6, 2))
        network = network_of(shared, normal(3, 6))
        plan = bitwright.calibrate(network, "int8", options={**PLAIN, "ends": "float"}, count=2)
        if not plan.quantizes:
            pytest.skip("all sites are ends")
        made = exported(network, plan, tmp_path / "a.onnx")
        assert made.agreement.off_by <= 1
        assert set(made.sites) | set(made.left_out) == set(plan.sites)

    def test_what_nobody_reads_is_left_out(self, tmp_path):
        module = Calling(lambda m, x: (m.a(x), m.b(x))[0], a=torch.nn.Linear(6, 4), b=torch.nn.Linear(6, 2))
        network = network_of(module, normal(3, 6))
        made = exported(network, planned(network, "int8"), tmp_path / "a.onnx")
        assert (made.sites, made.left_out) == (("a",), ("b",))

    @pytest.mark.parametrize(
        ("method", "message"),
        [
            ("lpq", "onnx-qdq cannot say codes of lp8?"),
            ("ant", "onnx-qdq cannot say codes of"),
            ("int8+apsq", r"partial sums stored by apsq \(at 1 of 1 sites, first"),
        ],
    )
    def test_what_onnx_cannot_say_is_refused_by_name(self, method, message, tmp_path):
        network = network_of(seeded(lambda: torch.nn.Linear(64, 8)), normal(4, 64))
        plan = bitwright.calibrate(network, method, count=2)
        with pytest.raises(InputError, match=message) as refusal:
            exported(network, plan, tmp_path / "a.onnx")
        assert "use --format vectors or safetensors" in str(refusal.value)
        assert not (tmp_path / "a.onnx").exists()

    def test_precision_of_the_run_time_is_refused(self, tmp_path):
        network = toy("linear")
        plan = planned(network, "int8")
        sites = {name: dataclasses.replace(site, precision=Drift(x_delta=1.0)) for name, site in plan.sites.items()}
        with pytest.raises(InputError, match="the run-time precision of drift"):
            exported(network, dataclasses.replace(plan, sites=sites), tmp_path / "a.onnx")

    def test_sums_that_a_file_rounds_at_once_are_refused(self, tmp_path):
        network = toy("linear")
        plan = planned(network, "int8")
        sites = {name: dataclasses.replace(site, y=site.x) for name, site in plan.sites.items()}
        with pytest.raises(InputError, match="sums rounded at once to codes of uint8"):
            exported(network, dataclasses.replace(plan, sites=sites), tmp_path / "a.onnx")

    def test_roundings_that_onnx_has_not(self, tmp_path):
        network = toy("linear")
        plan = planned(network, "int8", rounding="half_up")
        for form in ("onnx-qdq", "qonnx"):
            with pytest.raises(InputError, match=f"{form} cannot say codes rounded by half_up"):
                exported(network, plan, tmp_path / "a.onnx", form)

    def test_products_inside_torch_are_refused(self, tmp_path):
        class Last(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.cells = torch.nn.GRU(4, 6, batch_first=True)

            def forward(self, x):
                return self.cells(x)[0]

        network = network_of(Last(), normal(1, 3, 4))
        with pytest.raises(InputError, match="inside a function of its own"):
            exported(network, planned(network, "int8"), tmp_path / "a.onnx")


# ---------------- QONNX, by its documentation


def quant_reference():
    """An operator of onnx's reference implementation: `Quant` as the qonnx repository documents it."""
    from onnx.reference.op_run import OpRun

    class Quant(OpRun):
        op_domain = "qonnx.custom_op.general"

        def _run(self, x, scale, zero_point, bits, signed=1, narrow=0, rounding_mode="ROUND"):
            low = -(2.0 ** (bits - 1)) + narrow if signed else 0.0
            high = 2.0 ** (bits - signed) - 1
            assert rounding_mode == "ROUND"
            codes = np.round(np.clip(x / scale + zero_point, low, high))
            return (((codes - zero_point) * scale).astype(np.float32),)

    return Quant


class TestQonnx:
    @pytest.mark.parametrize("recipe", RECIPES)
    def test_it_computes_what_the_plan_does(self, recipe, tmp_path):
        pytest.importorskip("onnx")
        from onnx.reference import ReferenceEvaluator

        network = toy("linear, more axes, no bias")
        plan = planned(network, recipe, **({"dbs": False} if recipe == "aqs" else {}))
        exported(network, plan, tmp_path / "a.onnx", "qonnx")
        batch = batch_of(network)
        expected = Executor(network, plan).run(batch)
        evaluator = ReferenceEvaluator(str(tmp_path / "a.onnx"), new_ops=[quant_reference()])
        (output,) = evaluator.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
        torch.testing.assert_close(torch.from_numpy(output), expected, rtol=1e-5, atol=1e-5)

    def test_its_own_executor_agrees(self, tmp_path):
        pytest.importorskip("qonnx.core.onnx_exec", exc_type=ImportError)
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx

        network = toy("conv with groups")
        plan = planned(network, "int8-sym", w_bits=5, x_bits=6)
        exported(network, plan, tmp_path / "a.onnx", "qonnx")
        batch = batch_of(network)
        model = ModelWrapper(str(tmp_path / "a.onnx"))
        found = execute_onnx(model, {name: tensor.numpy() for name, tensor in batch.items()})["output"]
        torch.testing.assert_close(torch.from_numpy(found), Executor(network, plan).run(batch), rtol=1e-5, atol=1e-5)


# ---------------- integer weights


def test_weights_are_the_plans(tmp_path):
    from safetensors import safe_open

    network = network_of(seeded(attentive), normal(2, 5, 12, seed=1))
    plan = bitwright.calibrate(network, "w4a8", options={**ENDS, "wide": "none", "w_granularity": "group:8"}, count=2)
    made = exported(network, plan, tmp_path / "a.safetensors", "safetensors")
    assert made.sites == ("qkv", "out")
    with safe_open(str(tmp_path / "a.safetensors"), framework="np") as file:
        record = json.loads(file.metadata()["bitwright_weights"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert record["sites"]["qkv"]["w"]["format"]["bits"] == 4
    assert record["sites"]["qkv"]["w"]["granularity"] == "group:8"
    assert record["sites"]["qkv"]["codes"]["shape"] == [36, 12]
    assert record["sites"][next(name for name in plan.sites if name not in made.sites)]["codes"] is None
    assert {"parameters/qkv.bias", "parameters/out.bias", "sites/qkv/w", "sites/qkv/x"} <= tensors.keys()
    assert "parameters/qkv.weight" not in tensors
    module = prepare(network, plan).module
    scale = tensors["sites/qkv/w"].repeat(8, axis=1)[:, :12]
    codes = (module.qkv.weight.detach().numpy() / scale).round().clip(-7, 7)
    assert tensors["sites/qkv/w/codes"].dtype == np.int8
    assert np.array_equal(tensors["sites/qkv/w/codes"], codes)
    assert np.array_equal(tensors["sites/qkv/x"], plan.site("qkv").x.scale.numpy())


def test_a_file_of_weights_says_how_x_is_rotated(tmp_path):
    """Weights are rotated as x is, so that what a rotation is belongs to what they mean."""
    from safetensors import safe_open

    layer = seeded(lambda: torch.nn.Linear(24, 5, bias=False))
    network = network_of(layer, normal(4, 24))
    plan = planned(network, "int8")
    (name,) = plan.sites
    rotation = Rotation(where=Where.RUN_TIME, block=12, signs=True)
    exported(network, dataclasses.replace(plan, rotations={name: rotation}), tmp_path / "a.safetensors", "safetensors")
    with safe_open(str(tmp_path / "a.safetensors"), framework="pt") as file:
        record = json.loads(file.metadata()["bitwright_weights"])
        codes, scale = (file.get_tensor(f"sites/{name}/w{part}") for part in ("/codes", ""))
    assert record["rotated_at_run_time"] == [name]
    said = record["rotations"][name]
    assert said == {"block": 12, "signs": True, "bits": 0, "step": 0.0}
    turned = layer.weight.detach().double() @ hadamard.matrix(24, said["block"], signs=said["signs"])
    assert torch.equal(codes, (turned.float() / scale).round().clamp(-127, 127).to(torch.int8))


def test_other_formats_keep_what_codes_stand_for(tmp_path):
    from safetensors.torch import load_file

    network = network_of(seeded(lambda: torch.nn.Linear(16, 8)), normal(4, 16))
    plan = bitwright.calibrate(network, "lpq", count=2)
    (name,) = plan.sites
    exported(network, plan, tmp_path / "a.safetensors", "safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    reals = tensors[f"sites/{name}/w/table"][tensors[f"sites/{name}/w/codes"].long()]
    expected = []
    listener = lambda work: expected.append(work.w.dequantize())  # noqa: E731
    Executor(network, plan, listeners=[listener]).run(batch_of(network))
    torch.testing.assert_close((reals * tensors[f"sites/{name}/w"]).float(), expected[0])


# ---------------- vectors for a testbench


def words_of(path, signed, bits):
    """Integers of hexadecimal text in two's complement."""
    values = [int(line, 16) for line in path.read_text().splitlines()]
    return np.array([value - (1 << bits) if signed and value >> (bits - 1) else value for value in values])


def sums_of(x, w, x_zero_point, w_zero_point):
    """The slow twin: products one by one, in Python's integers."""
    g, m, _ = x.shape
    n = w.shape[2]
    sums = np.zeros((g, m, n), dtype=object)
    for i in range(g):
        for r in range(m):
            for c in range(n):
                pairs = zip(x[i, r].tolist(), w[i, :, c].tolist(), strict=True)
                sums[i, r, c] = sum((a - x_zero_point) * (b - w_zero_point) for a, b in pairs)
    return sums.astype(np.int64)


@pytest.mark.parametrize("layer", [name for name in LAYERS if name != "conv, same padding of an even kernel"])
def test_vectors_are_what_was_multiplied(layer, tmp_path):
    network = toy(layer)
    plan = planned(network, "int8")
    made = exported(network, plan, tmp_path / "v", "vectors")
    manifest = json.loads((tmp_path / "v" / "manifest.json").read_text())
    assert {"manifest.json", *(made.files)} == {file.name for file in (tmp_path / "v").iterdir()}
    executions = []
    output = Executor(network, plan, listeners=[executions.append]).run(batch_of(network))
    methods = composition_of(plan)
    for site, work in zip(manifest["sites"], executions, strict=True):
        folder = tmp_path / "v"
        x, w, sums = (np.load(folder / site[part]["npy"]) for part in ("x", "w", "accumulators"))
        assert x.shape == (site["groups"], site["m"], site["k"])
        assert w.shape == (site["groups"], site["k"], site["n"])
        twin = sums_of(x.astype(np.int64), w.astype(np.int64), site["x"]["zero_point"], site["w"]["zero_point"])
        assert np.array_equal(sums, twin)
        for part, values in (("x", x), ("w", w), ("accumulators", sums)):
            entry = site[part]
            assert np.array_equal(words_of(folder / entry["hex"], entry["signed"], entry["bits"]), values.reshape(-1))
        y = methods.gemm(work.view, work.x, work.w, work.plan)
        assert np.array_equal(np.load(folder / site["output"]["npy"]).reshape(-1), y.detach().reshape(-1).numpy())
        x_scale, w_scale = (scale_of(folder, site[part]["scale"]) for part in ("x", "w"))
        bias = 0.0 if site["bias"] is None else np.load(folder / site["bias"]["npy"])
        bias = bias[:, None, :] if np.ndim(bias) == 2 else bias
        whole = twin * np.float64(x_scale) * np.float64(w_scale) * site["alpha"] + bias
        np.testing.assert_allclose(np.load(folder / site["output"]["npy"]), whole, rtol=1e-5, atol=1e-5)
    assert output.isfinite().all()


def scale_of(folder, scale):
    """One scale, or one per column, broadcastable to [G, M, N]."""
    return scale if isinstance(scale, float) else np.load(folder / scale["npy"])[:, None, :]


def test_rows_of_a_convolution_are_its_windows(tmp_path):
    network = toy("conv with groups")
    plan = planned(network, "int8")
    exported(network, plan, tmp_path / "v", "vectors", words="npy")
    (site,) = json.loads((tmp_path / "v" / "manifest.json").read_text())["sites"]
    assert "hex" not in site["x"]
    x = plan.site(site["site"]).x
    codes = ((batch_of(network)["input_0"] / x.scale).round() + x.zero_point).clamp(0, 255)
    geometry = {"stride": (1, 1), "padding": (2, 2), "dilation": (2, 2), "groups": 2}
    expected = im2col(codes, (3, 3), **geometry, value=x.zero_point)
    assert np.array_equal(np.load(tmp_path / "v" / site["x"]["npy"]), expected.numpy())


def test_sums_in_groups_are_apart(tmp_path):
    network = network_of(seeded(lambda: torch.nn.Linear(20, 4)), normal(3, 20))
    plan = planned(network, "w4a8")
    exported(network, plan, tmp_path / "v", "vectors")
    (site,) = json.loads((tmp_path / "v" / "manifest.json").read_text())["sites"]
    x, w, sums, scale = (
        np.load(tmp_path / "v" / entry["npy"])
        for entry in (site["x"], site["w"], site["accumulators"], site["w"]["scale"])
    )
    assert sums.shape == (1, 3, 3, 4)  # blocks of 8, 8 and 4
    for block in range(3):
        part = slice(8 * block, 8 * block + 8)
        twin = sums_of(x[..., part].astype(int), w[:, part].astype(int), site["x"]["zero_point"], 0)
        assert np.array_equal(sums[:, block], twin)
    assert scale.shape == (1, 4, 3)


@pytest.mark.parametrize("rule", ["apsq", "psq"])
def test_stored_partial_sums_are_expected_too(rule, tmp_path):
    from bitwright.methods.apsq.reference import reference_sums

    network = network_of(seeded(lambda: torch.nn.Linear(64, 4)), normal(3, 64))
    options = {**ENDS, "psum_tile": 16, "psum_centre": "zero"}
    plan = bitwright.calibrate(network, f"int8+{rule}", options=options, count=2)
    exported(network, plan, tmp_path / "v", "vectors")
    (site,) = json.loads((tmp_path / "v" / "manifest.json").read_text())["sites"]
    assert (site["accumulation"], site["partial_sum_bits"]) == (rule, 8)
    x, w, sums = (np.load(tmp_path / "v" / site[part]["npy"]).astype(int)[0] for part in ("x", "w", "sums"))
    centred = (x - site["x"]["zero_point"]).tolist()
    assert sums.tolist() == reference_sums(centred, w.T.tolist(), plan.site(site["site"]).accumulation)
    assert not np.array_equal(
        np.load(tmp_path / "v" / site["sums"]["npy"]), np.load(tmp_path / "v" / site["accumulators"]["npy"])
    )


def test_words_of_every_width():
    for bits in (3, 4, 7, 8, 16, 32):
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        values = np.array([low, -1, 0, 1, high])
        lines = hex_words(values, bits).decode().splitlines()
        assert {len(line) for line in lines} == {math.ceil(bits / 4)}
        assert [(int(line, 16) ^ (1 << (bits - 1))) - (1 << (bits - 1)) for line in lines] == values.tolist()


# ---------------- what is refused


def test_places_that_are_taken(tmp_path):
    network = toy("linear")
    plan = planned(network, "int8")
    file = tmp_path / "a.safetensors"
    file.write_text("mine")
    with pytest.raises(InputError, match=r"exists; --overwrite replaces it"):
        exported(network, plan, file, "safetensors")
    assert file.read_text() == "mine"
    assert exported(network, plan, file, "safetensors", overwrite=True).written_bytes == file.stat().st_size
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="no folder that was written so"):
        exported(network, plan, own, "vectors", overwrite=True)
    assert (own / "thesis.tex").read_text() == "mine"
    exported(network, plan, tmp_path / "v", "vectors")
    assert exported(network, plan, tmp_path / "v", "vectors", words="npy", overwrite=True).files
    assert not list((tmp_path / "v").glob("*.hex"))
    with pytest.raises(InputError, match=r"the folder .* does not exist; make it first"):
        exported(network, plan, tmp_path / "none" / "v", "vectors")
    assert {each.name for each in tmp_path.iterdir()} == {"a.safetensors", "own", "v"}


def test_tensors_of_large_graphs_lie_beside_them(tmp_path, monkeypatch):
    """As if a file of ONNX held 2,000 bytes: what is read back, and run elsewhere, is the same."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 96), torch.nn.ReLU(), torch.nn.Linear(96, 33))
    net.example_inputs = torch.randn(4, 64)
    plain = bitwright.export(net, tmp_path / "plain.onnx", "onnx-qdq", "int8")
    stale = tmp_path / f"net.onnx.{'0' * 16}.data"
    stale.write_bytes(b"of a writer that was killed")
    other = tmp_path / "net.onnx.data"
    other.write_bytes(b"somebody's")
    monkeypatch.setattr(written, "LARGEST_BYTES", 4_000)
    apart = bitwright.export(net, tmp_path / "net.onnx", "onnx-qdq", "int8")
    assert apart.agreement is None
    assert any("not compared" in note for note in apart.notes)
    graph, data = apart.files
    assert {each.name for each in tmp_path.iterdir()} == {"plain.onnx", graph, data, other.name}
    assert (tmp_path / graph).stat().st_size < 4_000 < (tmp_path / data).stat().st_size
    assert apart.written_bytes == sum((tmp_path / each).stat().st_size for each in apart.files)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for each in apart.files:
        (tmp_path / each).rename(moved / each)
    x = net.example_inputs
    whole, parts = (bitwright.load(str(each)) for each in (plain.path, moved / graph))
    run = [bitwright.quantize(each, "file")(x) for each in (whole, parts)]
    assert torch.equal(*run)
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime runs the file")
    sessions = [runtime.InferenceSession(str(each)) for each in (plain.path, moved / graph)]
    results = [each.run(None, {each.get_inputs()[0].name: x.numpy()})[0] for each in sessions]
    assert np.array_equal(*results)

    again = bitwright.export(
        net, moved / graph, "onnx-qdq", "int8", overwrite=True, options={"w_granularity": "tensor"}
    )
    assert {each.name for each in moved.iterdir()} == set(again.files)
    assert again.files[1] != data
    monkeypatch.setattr(written, "LARGEST_BYTES", 10)
    with pytest.raises(InputError, match="without its tensors"):
        bitwright.export(net, moved / "tiny.onnx", "onnx-qdq", "int8")
    assert {each.name for each in moved.iterdir()} == set(again.files)


def test_what_is_chosen(tmp_path):
    network = network_of(seeded(attentive), normal(2, 5, 12, seed=1))
    plan = planned(network, "int8")
    made = exported(network, plan, tmp_path / "v", "vectors", sites="*out*")
    assert made.sites == ("out",)
    with pytest.raises(InputError, match="unknown site 'oit'"):
        exported(network, plan, tmp_path / "w", "vectors", sites="oit")
    with pytest.raises(InputError, match=r"unknown format 'onnx-qqd'. Did you mean 'onnx-qdq'"):
        exported(network, plan, tmp_path / "w", "onnx-qqd")
    with pytest.raises(InputError, match="words are 'bin'"):
        exported(network, plan, tmp_path / "w", "vectors", words="bin")
    pytest.importorskip("onnx")
    with pytest.raises(InputError, match="of a whole network, and sites are chosen"):
        exported(network, plan, tmp_path / "w", "onnx-qdq", sites="out")


def test_vectors_hold_integers(tmp_path):
    network = network_of(seeded(lambda: torch.nn.Linear(16, 8)), normal(4, 16))
    plan = bitwright.calibrate(network, "lpq", count=2)
    with pytest.raises(InputError, match=r"vectors hold integers, and codes of .* are lp8"):
        exported(network, plan, tmp_path / "v", "vectors")
    assert not list(tmp_path.iterdir())


def test_shapes_have_no_numbers(tmp_path):
    with pytest.raises(InputError, match="shapes but no numbers"):
        bitwright.export("gemm:4x4x4", tmp_path / "a.safetensors", "safetensors")


def test_sites_are_looked_for_before_calibration(tmp_path, monkeypatch):
    monkeypatch.setattr(Composition, "calibrate", lambda *_: pytest.fail("calibrated for a site that is not there"))
    network = network_of(torch.nn.Linear(4, 4), normal(2, 4))
    with pytest.raises(InputError, match="unknown site 'linaer'"):
        bitwright.export(network, tmp_path / "vectors", "vectors", "int8", sites="linaer")
    with pytest.raises(InputError, match="unknown site 'linaer'"):
        bitwright.explain(network, "int8", "systolic-ws", "linaer")


def test_names_of_sites_make_no_paths(tmp_path):
    fmt = OperandPlan(format=Integer(bits=8), granularity=PerTensor(), scale=torch.tensor(0.1))
    network = network_of(torch.nn.ModuleDict({"/etc/a b": torch.nn.Linear(4, 2)}), normal(1, 4))
    network = dataclasses.replace(network, run=lambda module, batch: module["/etc/a b"](batch["input_0"]))
    plan = Plan(method="int8", sites={"/etc/a b": SitePlan(x=fmt, w=fmt)})
    made = exported(network, plan, tmp_path / "v", "vectors")
    assert all("/" not in name for name in made.files)
    assert {file.name for file in tmp_path.iterdir()} == {"v"}


# ---------------- the command line

MODEL = """
import torch

def layer():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)), torch.randn(4, 8)
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command line in a folder with a network: arguments -> the result."""
    (tmp_path / "toy_export.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield lambda *arguments: RUNNER.invoke(app, ["export", "toy_export:layer", *arguments])
    sys.modules.pop("toy_export", None)


def test_the_command(command, tmp_path):
    result = command("--format", "vectors", "--out", "v", "--site", "0", "--save-plan", "plan", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["format"], record["sites"], record["agreement"]) == ("vectors", ["0"], None)
    assert set(record["files"]) == {file.name for file in (tmp_path / "v").iterdir()}
    assert record["bytes"] == sum(file.stat().st_size for file in (tmp_path / "v").iterdir())
    result = command("-f", "safetensors", "-o", "w.safetensors", "--plan", "plan")
    assert result.exit_code == 0, result.stderr
    assert "2 sites" in result.stdout
    assert str(tmp_path / "w.safetensors") in result.stderr
    assert Plan.load(tmp_path / "plan").method == "int8"


def test_the_command_runs_onnxruntime(command):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    result = command("-o", "a.onnx", "-m", "int8-token", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["agreement"]["off_by"] <= 1
    result = command("-o", "b.onnx", "--no-check")
    assert "onnxruntime" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-f", "vectors", "-o", "there"], "there exists; --overwrite replaces it"),
        (["-f", "vectors", "-o", "there", "--overwrite"], "no folder that was written so"),
        (["-f", "onnx", "-o", "a"], "unknown format 'onnx'"),
        (["-f", "safetensors", "-o", "no/a"], "the folder no of a does not exist"),
        (["-f", "vectors", "-o", "v", "--site", "1"], "unknown site '1'"),
        (["-f", "vectors", "-o", "v", "--words", "oct"], "words are 'oct'"),
        (["-f", "vectors", "-o", "v", "-m", "float"], "float quantizes none of the sites of toy_export:layer"),
        (["-f", "vectors", "-o", "v", "--plan", "none"], "there is no plan none"),
    ],
)
def test_the_command_refuses(arguments, message, command, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_text("mine")
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert {each.name for each in tmp_path.iterdir()} <= {"there", "toy_export.py", "__pycache__"}


# ---------------- shapes for other simulators


@pytest.mark.parametrize("form", ["zigzag", "timeloop", "scalesim", "scalesim-gemm"])
def test_shapes_are_read_back(form, tmp_path):
    exported = bitwright.export("gemm:841x576x128", tmp_path / "shapes.yaml", form)
    place = tmp_path / "shapes.yaml"
    (site,) = bitwright.load(str(place / exported.files[0] if form == "timeloop" else place)).sites
    assert site.macs == 841 * 576 * 128
    assert (exported.method, exported.sites) == ("", ("gemm",))


def test_widths_of_shapes_are_the_plans(tmp_path):
    bitwright.export("gemm:841x576x128", tmp_path / "w.yaml", "zigzag", "w4a8")
    assert "W: 4" in (tmp_path / "w.yaml").read_text()
    with pytest.raises(InputError, match="scalesim has no widths of operands"):
        bitwright.export("gemm:841x576x128", tmp_path / "w.csv", "scalesim", "w4a8")
    with pytest.raises(InputError, match=r"exists; --overwrite replaces it"):
        bitwright.export("gemm:841x576x128", tmp_path / "w.yaml", "zigzag")


def test_the_command_writes_shapes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = RUNNER.invoke(app, ["export", "gemm:8x16x4", "-f", "scalesim-gemm", "-o", "a.csv", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["method"] is None
    result = RUNNER.invoke(app, ["export", "gemm:8x16x4", "-f", "timeloop", "-o", "folder"])
    assert result.exit_code == 0, result.stderr
    assert "512 multiply-accumulates" in result.stdout
    again = ["export", "gemm:8x16x4", "-f", "timeloop", "-o"]
    assert RUNNER.invoke(app, [*again, "folder"]).exit_code == 2
    assert RUNNER.invoke(app, [*again, "folder", "--overwrite"]).exit_code == 0
    other = tmp_path / "other" / "letter.txt"
    other.parent.mkdir()
    other.write_text("not ours")
    assert RUNNER.invoke(app, [*again, "other", "--overwrite"]).exit_code == 2
    assert other.read_text() == "not ours"


SESSION = """
import onnx
from onnx import TensorProto, helper
from bitwright.exchange.export.agreement import _session
value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
_session(model.SerializeToString(), fused=True, threads=1).run(None, {"x": [1.0]})
"""


def test_nobody_is_told_of_a_session(tmp_path):
    """Nor is an identity of this computer made up, which onnxruntime keeps in the user's cache to tell with."""
    pytest.importorskip("onnxruntime")
    own = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    own |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SESSION], env=own, check=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
