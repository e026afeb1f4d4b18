"""GGUF files as plans: their blocks' own codes, scales and minima, held to what the package gguf makes of them."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import bitwright
from bitwright.accelerators.precision_scalable import BitFusion, Eyeriss
from bitwright.accelerators.systolic import WeightStationary
from bitwright.errors import InputError
from bitwright.exchange.blocks import site_plan
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor
from bitwright.methods.integer.gemm import encode_w
from bitwright.methods.plan import Plan
from bitwright.networks.gguf_blocks import TYPES, scales_of
from bitwright.networks.sites import Site
from gguf_files import blocks, gguf, llama
from toys import linear_view


@pytest.mark.parametrize("name", TYPES)
def test_blocks_are_what_the_package_reads(name):
    kind, raw = TYPES[name], blocks(name, 5, 512)
    assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]] == (kind.block, kind.stored)
    plan = site_plan(scales_of(kind, raw))
    assert plan.w.encoding.stored_bits(rows=1, k=kind.block) == 8 * kind.stored
    weight = torch.from_numpy(gguf.dequantize(raw, gguf.GGMLQuantizationType[name]))
    view = linear_view(torch.randn(3, 512), weight)
    codes = encode_w(view, plan)
    assert torch.equal(codes.dequantize(), weight)
    centred = codes.centred()
    assert centred.unique().numel() > 2 ** (kind.bits - 1)
    assert (centred.min() >= 0) == kind.unsigned
    assert centred.max() < 2 ** (kind.bits - int(not kind.unsigned))


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q6_K"])
def test_products_by_blocks_are_those_of_a_loop(name):
    kind, raw, k = TYPES[name], blocks(name, 4, 512), 512
    weight = torch.from_numpy(gguf.dequantize(raw, gguf.GGMLQuantizationType[name]))
    layer = torch.nn.Linear(k, 4, bias=False)
    layer.weight.data = weight
    net = torch.nn.Sequential(layer)
    net.example_inputs = x = torch.randn(3, k, generator=torch.Generator().manual_seed(0))
    plan = Plan(method="file", sites={"0": site_plan(scales_of(kind, raw))})
    found = Executor(bitwright.load(net), plan).run({"input": x}).numpy()

    scales = scales_of(kind, raw)
    expected = np.zeros((3, 4), np.float32)
    for m in range(3):
        for n in range(4):
            for b in range(k // kind.size):
                part, outer = slice(b * kind.size, (b + 1) * kind.size), b * kind.size // kind.block * kind.block
                own, around = x[m].numpy()[part], x[m].numpy()[outer : outer + kind.block]
                of_x = np.abs(around).max() / np.float32(127)
                codes = np.rint(own / of_x)
                scale, least = scales.scale[n, b], np.float32(0)
                if scales.minimum is not None:
                    least = scales.minimum[n, b]
                of_w = np.rint((weight[n].numpy()[part].astype(np.float64) - least) / scale)
                inner = np.float32(int((codes * of_w).sum())) * scale + np.float32(int(codes.sum())) * least
                expected[m, n] += inner * of_x
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-5)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    pytest.importorskip("transformers", reason="transformers make networks of GGUF files")
    pytest.importorskip("accelerate", reason="transformers read GGUF files with accelerate")
    folder = tmp_path_factory.mktemp("gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITWRIGHT_CACHE", str(folder / "cache"))
        path = llama(folder / "small.gguf", ["Q8_0", "Q4_1", "Q4_0", "Q6_K", "F32", "IQ4_NL", "Q4_K"])
        yield bitwright.load(str(path))


def test_a_file_of_blocks_is_a_plan(network, tmp_path):
    assert network.default_method == "file"
    plan = bitwright.calibrate(network, "file")
    frame = plan.frame().set_index("site")
    weights = dict(network.module.named_parameters())
    found = {name: each for name, each in plan.sites.items() if each.quantized}
    assert len(found) >= 5
    for name, site in found.items():
        weight = weights[f"{name}.weight"].detach()
        assert torch.equal(encode_w(linear_view(torch.zeros(1, weight.shape[1]), weight), site).dequantize(), weight)
    assert {"int4", "int6"} <= set(frame["w_type"])
    notes = " ".join(plan.notes)
    assert "codes of IQ4_NL are no integers" in notes
    assert "no blocks in the file" in notes
    plan.save(tmp_path / "plan")
    again = bitwright.Plan.load(tmp_path / "plan", network)
    for name, site in found.items():
        minima = (site.w.minimum, again.sites[name].w.minimum)
        assert all(each is None for each in minima) or torch.equal(*minima)
        assert again.sites[name].w.scale_bits == site.w.scale_bits


@pytest.mark.parametrize(
    "machine", [WeightStationary(rows=32, cols=32), BitFusion(rescaling=True), Eyeriss(rescaling=True)]
)
def test_minima_take_one_more_operation_for_each_sum_of_a_block(machine):
    own = site_plan(scales_of(TYPES["Q4_1"], blocks("Q4_1", 64, 256)))
    symmetric = dataclasses.replace(own, w=dataclasses.replace(own.w, minimum=None, zero_point=0))
    m, k, n, size = 48, 256, 64, 32
    site = Site(name="layer", op="linear", m=m, k=k, n=n, groups=1, x_elements=m * k, w_elements=k * n)

    def counts(plan):
        cost = machine.run(Execution(site=site, plan=plan))
        return {(each.component, each.name): each.count for each in cost.events}

    with_minima, without = counts(own), counts(symmetric)
    least = m * n * (k // size)
    assert without["rescalers", "rescale"] in ([least] if machine.rows == size else range(least, 4 * least + 1, least))
    assert with_minima["rescalers", "rescale"] == 2 * without["rescalers", "rescale"]
    assert with_minima["operands", "add to meet a zero point"] == m * k
    assert ("operands", "add to meet a zero point") not in without
    assert "rescales its sums" in WeightStationary(rescaling=False).supports(own)


def test_a_minimum_of_a_whole_reduction_takes_its_operations_too():
    """One block is all of k: what is added is still a minimum by a sum of x, for each output."""
    m, k, n = 48, 32, 64
    own = site_plan(scales_of(TYPES["Q4_1"], blocks("Q4_1", n, k)))
    none = dataclasses.replace(own, w=dataclasses.replace(own.w, minimum=None))
    site = Site(name="layer", op="linear", m=m, k=k, n=n, groups=1, x_elements=m * k, w_elements=k * n)

    def rescaled(plan):
        cost = WeightStationary(rows=32, cols=32).run(Execution(site=site, plan=plan))
        return sum(each.count for each in cost.events if (each.component, each.name) == ("rescalers", "rescale"))

    assert rescaled(own) == 2 * m * n
    assert rescaled(none) == 0


def test_exports_say_or_refuse_minima(network, tmp_path):
    plan = bitwright.calibrate(network, "file")
    with pytest.raises(InputError, match=r"onnx-qdq cannot say .*minima of groups"):
        bitwright.export(network, tmp_path / "a.onnx", "onnx-qdq", plan)
    site = next(name for name, each in plan.sites.items() if each.w is not None and each.w.minimum is not None)
    bitwright.export(network, tmp_path / "v", "vectors", plan, sites=[site])
    about = json.loads((tmp_path / "v" / "manifest.json").read_text())["sites"][0]

    def array(record):
        return np.load(tmp_path / "v" / record["npy"])

    x, minimum = array(about["x"])[0].astype(np.int64), array(about["w"]["minimum"])[0]
    sums = array(about["accumulators"])[0]
    blocks_of_x = x.reshape(len(x), len(sums), -1).sum(-1).T[..., None]
    inner = sums * array(about["w"]["scale"])[0].T[:, None] + blocks_of_x * minimum.T[:, None]
    of_x = array(about["x"]["scale"])[0].T
    of_x = np.repeat(of_x, len(sums) // len(of_x), axis=0)
    expected = (inner.astype(np.float32) * of_x[..., None]).sum(0)
    assert np.allclose(array(about["output"])[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("blocks", "tensors"), [(0, 1), (2, 1), (10**6, 1)])
def test_a_header_of_other_blocks_is_refused_before_they_are_made(blocks, tensors, tmp_path):
    """Blocks that the file does not have would be random, or take all memory."""
    pytest.importorskip("transformers", reason="transformers make networks of GGUF files")
    pytest.importorskip("accelerate", reason="transformers read GGUF files with accelerate")
    path = llama(tmp_path / "a.gguf", ["Q8_0"], layers=tensors)
    content, key = path.read_bytes(), b"llama.block_count"
    at = content.index(key) + len(key) + 4
    assert int.from_bytes(content[at : at + 4], "little") == tensors
    path.write_bytes(content[:at] + blocks.to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(InputError, match=f"header says {blocks:,} blocks, and it has tensors of {tensors}"):
        bitwright.load(str(path))


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path, monkeypatch):
    """transformers would make its numbers up."""
    pytest.importorskip("transformers", reason="transformers make networks of GGUF files")
    pytest.importorskip("accelerate", reason="transformers read GGUF files with accelerate")
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path / "cache"))
    path = llama(tmp_path / "a.gguf", ["Q8_0"])
    content = path.read_bytes()
    assert content.count(b"blk.0.ffn_up.weight") == 1
    path.write_bytes(content.replace(b"blk.0.ffn_up.weight", b"blk.0.ffn_us.weight"))
    with pytest.raises(InputError, match=r"lack or misshape 1 tensor, first 'model\.layers\.0\.mlp\.up_proj\.weight'"):
        bitwright.load(str(path))
