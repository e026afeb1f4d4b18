"""Masks of slice vectors: the kernels against the obvious way, on every layout that execution hands over."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.formats import Integer, Quantized, SlicedUnsigned
from bitwright.methods.execution import Executor
from bitwright.methods.protocol import compose
from bitwright.methods.vector_kernels import kept_in_blocks, run_entries
from bitwright.methods.vectors import reference_masks, skipped_window, vector_masks
from bitwright.networks.calls import Call
from bitwright.testing.networks import toy_networks
from toys import random_codes

seeds = st.integers(0, 2**31 - 1)


def mostly(fmt, shape, seed, zero_point=0):
    """Codes most of which can be skipped."""
    low, high = skipped_window(fmt, zero_point)
    generator = torch.Generator().manual_seed(seed)
    frequent = torch.randint(low, high + 1, shape, generator=generator)
    keep = torch.rand(shape, generator=generator) < 0.8
    codes = torch.where(keep, frequent, random_codes(fmt, shape, seed + 1))
    codes = codes >> fmt.dropped_bits << fmt.dropped_bits
    return Quantized(codes=codes, format=fmt, scale=torch.ones(()), zero_point=zero_point)


@st.composite
def formats(draw):
    """A format of x with its zero point, and one of w."""
    w = Integer(bits=draw(st.sampled_from((4, 7, 10, 13))))
    if draw(st.booleans()):
        return SlicedUnsigned(split=draw(st.sampled_from((4, 5, 6)))), draw(st.integers(0, 63)) * 4, w
    return Integer(bits=draw(st.sampled_from((4, 7, 10)))), 0, w


def check(call, x, w):
    site = call.site("site")
    found, expected = vector_masks(site, x, w), reference_masks(site, x, w)
    for mask, obvious in ((found.x, expected.x), (found.w, expected.w)):
        assert mask.dtype == torch.bool
        assert torch.equal(mask, obvious)
    assert found.x.shape == (site.groups, -(-site.m // 4), site.k)
    assert found.w.shape == (site.groups, -(-site.n // 4), site.k)


class TestMasks:
    @settings(max_examples=50, deadline=None)
    @given(st.data(), formats(), seeds)
    def test_linear(self, data, chosen, seed):
        x_format, zero_point, w_format = chosen
        b, m, k, n = (data.draw(st.integers(1, top)) for top in (2, 9, 11, 9))
        x, w = mostly(x_format, (b, m, k), seed, zero_point), mostly(w_format, (n, k), seed + 2)
        check(Call(layout="linear", op="linear", x=x.codes.float(), w=w.codes.float()), x, w)

    @settings(max_examples=50, deadline=None)
    @given(st.data(), formats(), seeds)
    def test_batched(self, data, chosen, seed):
        x_format, zero_point, w_format = chosen
        b, h, m, k, n = (data.draw(st.integers(1, top)) for top in (2, 3, 9, 7, 9))
        x, w = mostly(x_format, (b, h, m, k), seed, zero_point), mostly(w_format, (b, h, k, n), seed + 2)
        check(Call(layout="batched", op="matmul", x=x.codes.float(), w=w.codes.float()), x, w)

    @settings(max_examples=50, deadline=None)
    @given(st.data(), formats(), seeds)
    def test_convolutions(self, data, chosen, seed):
        x_format, zero_point, w_format = chosen
        groups, per_group, filters = (data.draw(st.integers(1, 3)) for _ in range(3))
        kernel, stride, padding, dilation = (
            (data.draw(st.integers(low, high)), data.draw(st.integers(low, high)))
            for low, high in ((1, 3), (1, 2), (0, 2), (1, 2))
        )
        x = mostly(x_format, (2, groups * per_group, 7, 6), seed, zero_point)
        w = mostly(w_format, (groups * filters, per_group, *kernel), seed + 2)
        call = Call(
            layout="conv2d",
            op="conv2d",
            x=x.codes.float(),
            w=w.codes.float(),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        check(call, x, w)

    @pytest.mark.parametrize("method", ["aqs", "sibia"])
    @pytest.mark.parametrize("name", ["linear", "conv", "attention"])
    def test_what_networks_hand_over(self, name, method):
        network, samples = toy_networks()[name]
        works = []
        plan = compose(method, {"smoothing": "none"}).calibrate(network, samples)
        Executor(network, plan, listeners=[works.append]).run(samples[0])
        for work in works:
            expected = reference_masks(work.site, work.x, work.w)
            assert torch.equal(work.masks.x, expected.x)
            assert torch.equal(work.masks.w, expected.w)
            assert work.masks is work.masks
            assert work.masks.x_rate == pytest.approx(expected.x.double().mean().item())


class TestCounts:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), seeds)
    def test_entries_against_a_plain_loop(self, groups, vectors, k, tile_k, run_bits, seed):
        mask = torch.rand(groups, vectors, k, generator=torch.Generator().manual_seed(seed)) < 0.8
        found = run_entries(mask, tile_k, run_bits)
        for group in range(groups):
            for vector in range(vectors):
                for tile in range(-(-k // tile_k)):
                    entries = run = 0
                    for skipped in mask[group, vector, tile * tile_k : (tile + 1) * tile_k].tolist():
                        if skipped and run < 2**run_bits - 1:
                            run += 1
                        else:
                            entries, run = entries + 1, 0
                    assert found[group, vector, tile] == entries

    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), seeds)
    def test_kept_vectors_of_blocks(self, groups, vectors, k, block, seed):
        mask = torch.rand(groups, vectors, k, generator=torch.Generator().manual_seed(seed)) < 0.5
        found = kept_in_blocks(mask, block)
        parts = [(~mask[:, i : i + block]).sum(1) for i in range(0, vectors, block)]
        assert torch.equal(found, torch.stack(parts, dim=1).float())
