"""Masks of slice vectors: the kernels against the obvious way, on every layout that execution hands over."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.formats import Integer, Quantized, SlicedUnsigned
from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.methods.vector_kernels import run_entries
from bitwright.methods.vectors import reference_masks, skipped_window, vector_masks
from bitwright.testing.networks import toy_networks
from toys import batched_product, columns_of, convolution_forms, im2col, linear_view, random_codes

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


def check(view, x, w):
    site = view.site("site")
    found, expected = vector_masks(site, x, w), reference_masks(site, x, w)
    for mask, obvious in ((found.x, expected.x), (found.w, expected.w)):
        assert mask.dtype == torch.bool
        assert torch.equal(mask, obvious)
    assert found.x.shape == (site.groups, -(-site.m // 4), site.k)
    assert found.w.shape == (site.groups, -(-site.n // 4), site.k)
    return found


class TestMasks:
    @settings(max_examples=50, deadline=None)
    @given(st.data(), formats(), seeds)
    def test_linear(self, data, chosen, seed):
        x_format, zero_point, w_format = chosen
        b, m, k, n = (data.draw(st.integers(1, top)) for top in (2, 9, 11, 9))
        x, w = mostly(x_format, (b, m, k), seed, zero_point), mostly(w_format, (n, k), seed + 2)
        check(linear_view(x.codes.float(), w.codes.float()), x, w)

    @settings(max_examples=50, deadline=None)
    @given(st.data(), formats(), seeds)
    def test_batched(self, data, chosen, seed):
        x_format, zero_point, w_format = chosen
        b, h, m, k, n = (data.draw(st.integers(1, top)) for top in (2, 3, 9, 7, 9))
        x, w = mostly(x_format, (b, h, m, k), seed, zero_point), mostly(w_format, (b, h, k, n), seed + 2)
        check(*batched_product(x, w))

    @pytest.mark.parametrize("spatial", [1, 2, 3])
    @settings(max_examples=50, deadline=None)
    @given(st.data(), formats(), seeds)
    def test_convolutions(self, spatial, data, chosen, seed):
        """Of one to three axes; and rows as torch unfolds them have the same masks."""
        x_format, zero_point, w_format = chosen
        form = data.draw(convolution_forms((spatial,)))
        x, w = mostly(x_format, form.x, seed, zero_point), mostly(w_format, form.w, seed + 2)
        found = check(*form.view(x, w))
        x = dataclasses.replace(x, codes=im2col(x.codes, form.w[2:], **form.others, value=zero_point))
        w = dataclasses.replace(w, codes=columns_of(w.codes, form.others["groups"]))
        unfolded = check(*batched_product(x, dataclasses.replace(w, codes=w.codes.transpose(1, 2))))
        assert torch.equal(found.x, unfolded.x)
        assert torch.equal(found.w, unfolded.w)

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
    @given(
        st.integers(1, 3), st.integers(1, 5), st.integers(1, 40), st.sets(st.integers(1, 39)), st.integers(1, 5), seeds
    )
    def test_entries_against_a_plain_loop(self, groups, vectors, k, cuts, run_bits, seed):
        mask = torch.rand(groups, vectors, k, generator=torch.Generator().manual_seed(seed)) < 0.8
        starts = sorted({0, *(cut for cut in cuts if cut < k)})
        found = run_entries(mask, np.array(starts), run_bits)
        for group in range(groups):
            for vector in range(vectors):
                for piece, (start, stop) in enumerate(itertools.pairwise([*starts, k])):
                    entries = run = 0
                    for skipped in mask[group, vector, start:stop].tolist():
                        if skipped and run < 2**run_bits - 1:
                            run += 1
                        else:
                            entries, run = entries + 1, 0
                    assert found[group, vector, piece] == entries
