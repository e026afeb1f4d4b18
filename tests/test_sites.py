"""Sites: every product that the mode intercepts, what it is called, its shape, and what is left over in a trace."""

import dataclasses
import gc
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bitwright.errors import InputError
from bitwright.networks.mode import SiteMode
from bitwright.networks.sites import ConvGeometry
from bitwright.networks.trace import observe, trace
from toys import Calling, linear_view, network_of, normal, sites_of


def describe(found):
    return [(s.name, s.op, s.groups, s.m, s.k, s.n) for s, _ in found]


def check_unchanged(module, *inputs, tolerance=1e-5):
    """The mode gives what torch gives, by torch's own functions and by the views' operands; the sites.

    Operands laid out as the view says, multiplied, scaled, added to and laid out as the network expects it.
    """
    expected = module(*inputs)
    output, found = sites_of(module, *inputs)
    by_operands, again = sites_of(module, *inputs, handler=from_operands)
    assert [site for site, _ in again] == [site for site, _ in found]
    for each in (output, by_operands):
        assert each.shape == expected.shape
        assert each.dtype == expected.dtype
        torch.testing.assert_close(each, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    return found


def from_operands(site, view):
    """The result of nothing but a view's own operands, which have the shapes that the site says."""
    result = dataclasses.replace(view, compute=None).float_result()
    assert view.x.shape[: view.lead] == view.w.shape[: view.lead]
    assert math.prod(view.x.shape[: view.lead]) == site.groups
    assert view.w.shape[view.lead] == site.n
    assert view.w.shape[view.lead + 1 :].numel() == site.k
    assert view.output_shape == (*view.x.shape[: view.lead], *view.rows, *view.output_size, site.n)
    assert math.prod(view.output_shape) == site.y_elements
    y = view.output(result)
    assert y.shape == view.output_shape
    assert torch.equal(view.result(y).nan_to_num(), result.nan_to_num())
    return result


A, B3, C3 = normal(5, 7), normal(3, 5, 7, seed=1), normal(3, 7, 4, seed=2)
W = normal(7, 4, seed=3)
PRODUCTS = {
    "linear": (lambda m, x: F.linear(x, m.w.t()), (B3,), (1, 15, 7, 4)),
    "linear by name": (lambda m, x: F.linear(input=x, weight=m.w.t()), (B3,), (1, 15, 7, 4)),
    "linear of one vector": (lambda m, x: F.linear(x, m.w.t()), (A[0],), (1, 1, 7, 4)),
    "mm": (lambda m, x: torch.mm(x, m.w), (A,), (1, 5, 7, 4)),
    "mm by name": (lambda m, x: torch.mm(x, mat2=m.w), (A,), (1, 5, 7, 4)),
    "Tensor.mm": (lambda m, x: x.mm(m.w), (A,), (1, 5, 7, 4)),
    "matmul": (lambda m, x: torch.matmul(x, m.w), (B3,), (1, 15, 7, 4)),
    "matmul by name": (lambda m, x: torch.matmul(input=x, other=m.w), (B3,), (1, 15, 7, 4)),
    "matmul by name, the second first": (lambda m, x: torch.matmul(other=m.w, input=x), (B3,), (1, 15, 7, 4)),
    "Tensor.matmul": (lambda m, x: x.matmul(m.w), (A,), (1, 5, 7, 4)),
    "@": (lambda m, x: x @ m.w, (B3,), (1, 15, 7, 4)),
    "__rmatmul__": (lambda m, x: m.w.__rmatmul__(x), (A,), (1, 5, 7, 4)),
    "addmm": (lambda m, x: torch.addmm(m.b, x, m.w), (A,), (1, 5, 7, 4)),
    "addmm by name": (lambda m, x: torch.addmm(m.b, mat1=x, mat2=m.w), (A,), (1, 5, 7, 4)),
    "addmm by name, the second first": (lambda m, x: torch.addmm(m.b, mat2=m.w, mat1=x), (A,), (1, 5, 7, 4)),
    "addmm of a half": (lambda m, x: torch.addmm(m.b, x, m.w, beta=0.5), (A,), (1, 5, 7, 4)),
    "addmm of nothing": (lambda m, x: torch.addmm(m.b * math.nan, x, m.w, beta=0), (A,), (1, 5, 7, 4)),
    "Tensor.addmm": (lambda m, x: m.b.addmm(x, m.w), (A,), (1, 5, 7, 4)),
}
BATCHED = {
    "bmm": (torch.bmm, (B3, C3), (3, 5, 7, 4)),
    "bmm by name": (lambda x, w: torch.bmm(x, mat2=w), (B3, C3), (3, 5, 7, 4)),
    "Tensor.bmm": (lambda x, w: x.bmm(w), (B3, C3), (3, 5, 7, 4)),
    "matmul": (torch.matmul, (B3, C3), (3, 5, 7, 4)),
    "x broadcast": (torch.matmul, (A, C3), (3, 5, 7, 4)),
    "both broadcast": (torch.matmul, (normal(2, 1, 5, 7), C3), (6, 5, 7, 4)),
    "baddbmm": (lambda x, w: torch.baddbmm(x[..., :4], x, w), (B3, C3), (3, 5, 7, 4)),
    "baddbmm by name": (lambda x, w: torch.baddbmm(x[..., :4], batch1=x, batch2=w), (B3, C3), (3, 5, 7, 4)),
    "baddbmm of a third": (lambda x, w: torch.baddbmm(x[:, :1, :4], x, w, beta=1 / 3), (B3, C3), (3, 5, 7, 4)),
    "Tensor.baddbmm": (lambda x, w: x[..., :4].baddbmm(x, w), (B3, C3), (3, 5, 7, 4)),
}
FORMS = {  # function, inputs, (groups, m, k, n) of every product
    "mv": (lambda a, b: torch.mv(a, b[:, 0]), (A, W), (1, 5, 7, 1)),
    "mv by name": (lambda a, b: torch.mv(a, vec=b[:, 0]), (A, W), (1, 5, 7, 1)),
    "rows by a vector": (lambda a, b: a @ b[:, 0], (B3, W), (1, 15, 7, 1)),
    "a vector by columns": (lambda a, b: a[0] @ b, (A, W), (1, 1, 7, 4)),
    "a vector by matrices": (lambda a, b: a[0] @ b, (A, C3), (3, 1, 7, 4)),
    "dot": (lambda a, b: torch.dot(a[0], b[:, 0]), (A, W), (1, 1, 7, 1)),
    "vectors": (lambda a, b: a[0] @ b[:, 0], (A, W), (1, 1, 7, 1)),
    "vdot": (lambda a, b: torch.vdot(a[0], b[:, 0]), (A, W), (1, 1, 7, 1)),
    "linear of two vectors": (lambda a, b: F.linear(a[0], b[:, 0]), (A, W), (1, 1, 7, 1)),
    "addmv": (lambda a, b: torch.addmv(a[:, 0], a, b[:, 0], alpha=-2), (A, W), (1, 5, 7, 1)),
    "addmv by name": (lambda a, b: torch.addmv(a[:, 0], mat=a, vec=b[:, 0], beta=3), (A, W), (1, 5, 7, 1)),
    "addmm, scaled": (lambda a, b: torch.addmm(b[0], a, b, alpha=2, beta=0.5), (A, W), (1, 5, 7, 4)),
    "baddbmm, scaled": (lambda a, b: torch.baddbmm(b[:, :5], a, b, alpha=0.3), (B3, C3), (3, 5, 7, 4)),
    "addbmm": (lambda a, b: torch.addbmm(b[0, :5], a, b, beta=2, alpha=3), (B3, C3), (1, 5, 21, 4)),
    "linalg.matmul": (torch.linalg.matmul, (B3, W), (1, 15, 7, 4)),
    "multi_dot": (lambda a, b: torch.linalg.multi_dot([a, b, b.t()]), (A, W), (1, 5, 7, 4), (1, 5, 4, 7)),
    "inner": (torch.inner, (B3, A), (1, 15, 7, 5)),
    "inner by name": (lambda a, b: torch.inner(a, other=b), (B3, A), (1, 15, 7, 5)),
    "tensordot": (lambda a, b: torch.tensordot(a, b, 1), (B3, W), (1, 15, 7, 4)),
    "tensordot of two axes": (
        lambda a, b: torch.tensordot(a, b, ([0, 2], [1, 2])),
        (B3, normal(2, 3, 7)),
        (1, 5, 21, 2),
    ),
    "einsum": (lambda a, b: torch.einsum("mk,kn->mn", a, b), (A, W), (1, 5, 7, 4)),
    "einsum of a list": (lambda a, b: torch.einsum("mk,kn->mn", [a, b]), (A, W), (1, 5, 7, 4)),
    "einsum without an arrow": (lambda a, b: torch.einsum("zk,ka", a, b), (A, W), (1, 5, 7, 4)),
    "einsum, batched and turned": (lambda a, b: torch.einsum("bmk,bkn->nbm", a, b), (B3, C3), (3, 5, 7, 4)),
    "einsum of an ellipsis": (lambda a, b: torch.einsum("...k,kn->n...", a, b), (B3, W), (1, 15, 7, 4)),
    "einsum, broadcast": (lambda a, b: torch.einsum("...mk,...kn->...mn", a, b), (A[None], C3), (3, 5, 7, 4)),
    "einsum of one batch": (lambda a, b: torch.einsum("...mk,...kn->...mn", a, b), (A, C3), (1, 5, 7, 12)),
    "einsum of heads": (
        lambda a, b: torch.einsum("bqhd,bkhd->bhqk", a, b),
        (normal(2, 5, 3, 7), normal(2, 6, 3, 7)),
        (6, 5, 7, 6),
    ),
    "einsum over two axes": (lambda a, b: torch.einsum("bmk,bnk->mn", a, b), (B3, normal(3, 4, 7)), (1, 5, 21, 4)),
    "einsum of everything": (lambda a, b: torch.einsum("mk,mk->", a, b), (A, A + 1), (1, 1, 35, 1)),
    "einsum of rows": (lambda a, b: torch.einsum("mk,mk->m", a, b), (A, A + 1), (5, 1, 7, 1)),
    "einsum of one column": (lambda a, b: torch.einsum("mk,nk->mn", a, b), (A, A[:1]), (1, 5, 7, 1)),
    "einsum of three": (  # the path that torch takes: from the left
        lambda a, b, c: torch.einsum("mk,kn,np->mp", a, b, c),
        (A, W, normal(4, 6)),
        (1, 5, 7, 4),
        (1, 5, 4, 6),
    ),
    "distances": (lambda a: torch.cdist(a, a), (normal(30, 6),), (1, 30, 8, 30)),  # |a|^2 - 2 a b + |b|^2
}
V, KERNELS = normal(3, 5, seed=4), normal(2, 5, 4, 3)
WEIGHTED = {  # function, parameters, inputs, (groups, m, k, n)
    "first": (lambda m, x: m.w @ x, {"w": V}, (normal(5, 7),), (1, 7, 5, 3)),
    "first, of batches": (lambda m, x: m.w @ x, {"w": V}, (normal(2, 5, 7),), (1, 14, 5, 3)),
    "first, of a vector": (lambda m, x: m.w @ x, {"w": V}, (normal(5),), (1, 1, 5, 3)),
    "first, with a bias": (
        lambda m, x: torch.addmm(m.b, m.w, x, beta=0.5, alpha=3),
        {"w": V, "b": normal(3, 1)},
        (normal(5, 7),),
        (1, 7, 5, 3),
    ),
    "first by einsum": (lambda m, x: torch.einsum("ok,bkt->bot", m.w, x), {"w": V}, (normal(2, 5, 7),), (1, 14, 5, 3)),
    "second by einsum": (lambda m, x: torch.einsum("bkt,ok->bot", x, m.w), {"w": V}, (normal(2, 5, 7),), (1, 14, 5, 3)),
    "of heads": (
        lambda m, x: torch.einsum("bhk,hko->bho", x, m.w),
        {"w": normal(3, 4, 6)},
        (normal(2, 3, 4),),
        (3, 2, 4, 6),
    ),
    "a vector": (
        lambda m, x: F.linear(x, m.w, m.b),
        {"w": normal(5), "b": normal(1)[0]},
        (normal(2, 6, 5),),
        (1, 12, 5, 1),
    ),
    "addbmm": (lambda m, x: torch.addbmm(m.b, x, m.w), {"w": C3, "b": normal(4)}, (B3,), (1, 5, 21, 4)),
    "tensordot": (lambda m, x: torch.tensordot(x, m.w, ([1], [0])), {"w": W}, (normal(2, 7, 3),), (1, 6, 7, 4)),
}


class TestProducts:
    @pytest.mark.parametrize("case", PRODUCTS)
    def test_with_a_weight(self, case):
        function, inputs, shape = PRODUCTS[case]
        module = Calling(function, w=W, b=normal(4))
        ((site, view),) = check_unchanged(module, *inputs)
        assert (site.groups, site.m, site.k, site.n) == shape
        assert (site.name, site.op, site.static_weight) == ("w", "linear", True)
        assert (site.x_elements, site.w_elements) == (shape[1] * 7, 28)
        assert view.plain
        assert torch.equal(view.w, W.t())
        assert view.weight is module.w

    @pytest.mark.parametrize("case", BATCHED)
    def test_of_activations(self, case):
        function, inputs, (groups, m, k, n) = BATCHED[case]
        ((site, view),) = check_unchanged(Calling(lambda _, *given: function(*given)), *inputs)
        assert (site.name, site.op, site.static_weight) == ("matmul", "matmul", False)
        assert (site.groups, site.m, site.k, site.n) == (groups, m, k, n)
        assert site.macs == groups * m * k * n
        assert site.y_elements == groups * m * n
        assert (view.lead > 0, view.spatial, view.weight) == (True, 0, None)
        assert (view.x.shape[view.lead :], view.w.shape[view.lead :]) == ((m, k), (n, k))

    def test_what_broadcasting_repeats_is_stored_once(self):
        ((site, _),) = check_unchanged(Calling(lambda m, x: x @ m.experts, experts=C3), normal(6, 1, 5, 7))
        assert (site.groups, site.m, site.k, site.n) == (18, 5, 7, 4)
        assert (site.x_elements, site.w_elements) == (6 * 5 * 7, 3 * 7 * 4)
        assert (site.name, site.static_weight) == ("experts", True)

    def test_activations_as_a_matrix(self):
        ((site, view),) = check_unchanged(Calling(lambda _, x, w: x @ w), B3, W)
        assert (site.op, site.static_weight, view.plain) == ("matmul", False, True)

    @pytest.mark.parametrize("case", FORMS)
    def test_other_forms(self, case):
        function, inputs, *shapes = FORMS[case]
        found = check_unchanged(Calling(lambda _, *given: function(*given)), *inputs)
        assert [(s.groups, s.m, s.k, s.n) for s, _ in found] == shapes
        op = "linear" if case.startswith("linear") else "matmul"
        assert [s.name for s, _ in found] == [op, f"{op}#2"][: len(shapes)]
        assert not any(s.static_weight for s, _ in found)

    @pytest.mark.parametrize("case", WEIGHTED)
    def test_other_forms_with_a_weight(self, case):
        """The parameter is w, wherever it stands."""
        function, parameters, inputs, shape = WEIGHTED[case]
        module = Calling(function, **parameters)
        ((site, view),) = check_unchanged(module, *inputs)
        assert (site.name, site.static_weight) == ("w", True)
        assert (site.groups, site.m, site.k, site.n) == shape
        assert view.weight is module.w
        assert site.w_elements == module.w.numel()

    def test_what_is_written_into(self):
        """`out` and functions that write what they add to give that very tensor."""
        kept = torch.zeros(5, 4), torch.empty(0), torch.ones(5, 4)

        def function(_, a, b):
            found = torch.mm(a, b, out=kept[0]), torch.matmul(a, b, out=kept[1]), kept[2].addmm_(a, b, beta=0.5)
            assert all(one is other for one, other in zip(found, kept, strict=True))
            return found[2]

        _, found = sites_of(Calling(function), A, W, handler=from_operands)
        assert [(s.m, s.k, s.n) for s, _ in found] == [(5, 7, 4)] * 3
        for result, expected in zip(kept, (A @ W, A @ W, A @ W + 0.5), strict=True):
            torch.testing.assert_close(result, expected)

    @pytest.mark.parametrize(
        "function",
        [
            lambda a, b: a[:, :1] @ b[:1],  # nothing to reduce, as in rotary position tables
            lambda a, b: torch.einsum("m,n->mn", a[:, 0], b[0]),
            lambda a, b: torch.einsum("mk,kn->mkn", a, b),
            lambda a, b: torch.outer(a[:, 0], b[0]),
            lambda a, b: torch.linalg.vecdot(a, a + 1),  # which multiplies elements and adds them up
            lambda a, b: (a * 10).long() @ (b * 10).long(),
            lambda a, b: torch.view_as_real(torch.complex(a, a) @ torch.complex(b, b)),
            lambda a, b: torch.fft.rfft(a).abs(),
        ],
        ids=["outer", "outer by einsum", "elements", "torch.outer", "vecdot", "integers", "complex", "fourier"],
    )
    def test_no_sites(self, function):
        assert check_unchanged(Calling(lambda _, a, b: function(a, b)), A, W) == []


class TestConvolution:
    @pytest.mark.parametrize("spatial", [1, 2, 3])
    @settings(max_examples=60)
    @given(
        data=st.data(),
        images=st.sampled_from([(), (1,), (2,)]),
        groups=st.integers(1, 3),
        per_group=st.tuples(st.integers(1, 2), st.integers(1, 2)),
        bias=st.booleans(),
    )
    def test_any_geometry(self, *, spatial, data, images, groups, per_group, bias):
        def extents(low, high):
            return st.tuples(*[st.integers(low, high)] * spatial)

        def either(low, high):
            return st.integers(low, high) | extents(low, high)

        size, kernel = data.draw(extents(5, 9 if spatial < 3 else 6)), data.draw(extents(1, 3))
        stride, dilation = data.draw(either(1, 3)), data.draw(either(1, 2))
        padding = data.draw(either(0, 2) | st.just("valid"))
        channels, filters = groups * per_group[0], groups * per_group[1]
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[spatial - 1]
        module = kind(channels, filters, kernel, stride, padding, dilation, groups, bias)
        ((site, _),) = check_unchanged(module, normal(*images, channels, *size))
        pixels = module(torch.zeros(1, channels, *size)).shape[2:]
        assert (site.op, site.groups, site.static_weight) == (f"conv{spatial}d", groups, True)
        assert (site.m, site.k) == (math.prod(images) * pixels.numel(), per_group[0] * math.prod(kernel))
        assert (site.n, site.w_elements) == (per_group[1], module.weight.numel())
        assert site.conv.output_size == tuple(pixels)
        assert (site.conv.input_size, site.conv.kernel, site.conv.channels) == (size, kernel, channels)
        given = [(each,) * spatial if isinstance(each, int) else each for each in (stride, dilation)]
        assert (site.conv.stride, site.conv.dilation) == tuple(given)

    @pytest.mark.parametrize("spatial", [1, 2, 3])
    @settings(max_examples=30)
    @given(
        data=st.data(),
        images=st.sampled_from([(), (1,), (2,)]),
        groups=st.integers(1, 2),
        per_group=st.tuples(st.integers(1, 3), st.integers(1, 2)),
        bias=st.booleans(),
    )
    def test_transposed(self, *, spatial, data, images, groups, per_group, bias):
        """Every pixel by all filters: m pixels, k channels, n filters times taps of each group."""

        def extents(low, high):
            return data.draw(st.tuples(*[st.integers(low, high)] * spatial))

        size, kernel, stride, dilation = extents(1, 4), extents(1, 3), extents(1, 3), extents(1, 2)
        extra = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
        padding = [d * (taps - 1) // 2 for d, taps in zip(dilation, kernel, strict=True)]
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[spatial - 1]
        channels, filters = groups * per_group[0], groups * per_group[1]
        module = kind(channels, filters, kernel, stride, padding, extra, groups, bias, dilation)
        ((site, _),) = check_unchanged(module, normal(*images, channels, *size))
        assert (site.op, site.static_weight, site.conv) == (f"conv{spatial}d_transpose", True, None)
        assert (site.groups, site.m) == (groups, math.prod(images) * math.prod(size))
        assert (site.k, site.n) == (per_group[0], per_group[1] * math.prod(kernel))
        assert (site.x_elements, site.w_elements) == (site.m * channels, module.weight.numel())

    def test_filters_computed_at_run_time(self):
        """A convolution of activations by activations."""
        ((site, view),) = check_unchanged(Calling(lambda _, x, w: F.conv1d(x, w)), normal(2, 3, 8), normal(4, 3, 3))
        assert (site.name, site.op, site.static_weight) == ("conv1d", "conv1d", False)
        assert (site.m, site.k, site.n, view.weight) == (12, 9, 4, None)

    @settings(max_examples=40)
    @given(
        size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
        kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        dilation=st.integers(1, 3),
    )
    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
    def test_same_padding(self, size, kernel, dilation):
        ((site, _),) = check_unchanged(nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation), normal(1, 2, *size))
        assert site.m == size[0] * size[1]
        assert site.conv.output_size == size

    def test_by_hand(self):
        module = nn.Sequential(nn.Conv2d(6, 4, (3, 5), (2, 1), (1, 2), groups=2))
        ((site, _),) = check_unchanged(module, normal(2, 6, 9, 11))
        assert (site.name, site.op, site.groups, site.m, site.k, site.n) == ("0", "conv2d", 2, 2 * 5 * 11, 45, 2)
        assert (site.x_elements, site.w_elements, site.macs) == (2 * 6 * 9 * 11, 180, 2 * 110 * 45 * 2)
        assert site.conv == ConvGeometry(
            kernel=(3, 5),
            stride=(2, 1),
            padding=(1, 2),
            dilation=(1, 1),
            channels=6,
            input_size=(9, 11),
            output_size=(5, 11),
        )

    @pytest.mark.parametrize(
        ("module", "size", "shape", "elements"),
        [
            (nn.Conv1d(4, 6, 3, stride=2, groups=2), (2, 4, 9), (2, 8, 6, 3), (72, 36)),
            (nn.Conv1d(4, 4, 3, padding=1, groups=4), (4, 9), (4, 9, 3, 1), (36, 12)),
            (nn.Conv3d(2, 3, 2), (1, 2, 4, 5, 6), (1, 60, 16, 3), (240, 48)),
            (nn.Conv3d(4, 8, (1, 3, 2), groups=4, padding=(0, 1, 0)), (2, 4, 2, 3, 3), (4, 24, 6, 2), (144, 48)),
            (nn.Conv2d(2, 3, 3), (2, 5, 5), (1, 9, 18, 3), (50, 54)),
        ],
        ids=["grouped 1-D", "depthwise 1-D", "3-D", "grouped 3-D", "one image"],
    )
    def test_more_by_hand(self, module, size, shape, elements):
        ((site, _),) = check_unchanged(module, normal(*size))
        assert (site.groups, site.m, site.k, site.n) == shape
        assert (site.x_elements, site.w_elements) == elements

    def test_pixels_that_a_long_stride_leaves_out_need_no_traffic(self):
        ((site, _),) = check_unchanged(nn.Conv2d(1, 1, 1, stride=4), normal(1, 1, 8, 8))
        assert (site.m, site.x_elements) == (4, 4)


def sdpa(**options):
    return Calling(lambda _, q, k, v, *mask: F.scaled_dot_product_attention(q, k, v, *mask, **options))


Q, K, V = normal(2, 4, 5, 8), normal(2, 4, 6, 8, seed=1), normal(2, 4, 6, 3, seed=2)


class TestAttention:
    @pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}, {"scale": 2.0, "is_causal": True}])
    def test_options(self, options):
        found = check_unchanged(sdpa(**options), Q, K, V)
        assert describe(found) == [("qk", "attention_qk", 8, 5, 8, 6), ("pv", "attention_pv", 8, 5, 6, 3)]
        assert [s.static_weight for s, _ in found] == [False, False]
        assert [(s.x_elements, s.w_elements) for s, _ in found] == [(320, 384), (240, 144)]

    @pytest.mark.parametrize("tokens", [(5, 6), (6, 5), (1, 6), (5, 5)])
    def test_causal(self, tokens):
        m, t = tokens
        check_unchanged(
            sdpa(is_causal=True), normal(1, 2, m, 4), normal(1, 2, t, 4, seed=1), normal(1, 2, t, 4, seed=2)
        )

    @pytest.mark.parametrize("shape", [(5, 6), (2, 1, 5, 6), (2, 4, 5, 6), (1, 1, 1, 6)])
    def test_masks(self, shape):
        floating = normal(*shape, seed=7)
        check_unchanged(sdpa(), Q, K, V, floating)
        check_unchanged(sdpa(), Q, K, V, floating > 0.5)
        check_unchanged(sdpa(), Q, K, V, floating.masked_fill(floating > 0.5, -math.inf))
        check_unchanged(sdpa(), Q, K, V, floating.masked_fill(floating > 0.5, torch.finfo(torch.float32).min))

    @pytest.mark.parametrize("mask", [torch.zeros(5, 6).bool(), torch.full((5, 6), -math.inf)], ids=["bool", "float"])
    def test_a_row_that_sees_nothing_is_zero(self, mask):
        mask = mask.clone()
        mask[1:] = True if mask.dtype == torch.bool else 0.0
        check_unchanged(sdpa(), Q, K, V, mask)
        output, _ = sites_of(sdpa(), Q, K, V, mask)
        assert not output[:, :, 0].any()

    def test_nan_is_not_hidden_by_a_mask(self):
        broken = Q.clone()
        broken[0, 0, 2, 0] = math.nan
        output, _ = sites_of(sdpa(), broken, K, V, torch.ones(5, 6).bool())
        assert output[0, 0, 2].isnan().all()
        assert output.isnan().sum() == 3

    @pytest.mark.parametrize("offset", [1e5, -1e5])
    def test_large_scores_do_not_overflow(self, offset):
        check_unchanged(sdpa(), Q * 1e4, K, V)
        check_unchanged(sdpa(), Q.double(), K.double(), V.double(), torch.full((5, 6), offset).double())

    @pytest.mark.parametrize(("heads", "shared"), [((4, 2), 2), ((6, 1), 6), ((3, 3), 1)])
    def test_grouped_queries(self, heads, shared):
        inputs = normal(2, heads[0], 5, 8), normal(2, heads[1], 6, 8, seed=1), normal(2, heads[1], 6, 8, seed=2)
        found = check_unchanged(sdpa(enable_gqa=True), *inputs)
        assert [(s.groups, s.m, s.k, s.n) for s, _ in found] == [(2 * heads[0], 5, 8, 6), (2 * heads[0], 5, 6, 8)]
        assert [s.w_elements for s, _ in found] == [2 * heads[1] * 48] * 2
        assert [view.shared for _, view in found] == [shared] * 2

    def test_without_heads(self):
        found = check_unchanged(sdpa(), Q[:, 0], K[:, 0], V[:, 0])
        assert [(s.groups, s.m, s.k, s.n) for s, _ in found] == [(2, 5, 8, 6), (2, 5, 6, 3)]

    def test_dropout_is_refused(self):
        with pytest.raises(InputError, match=r"dropout 0\.1 is random"):
            sites_of(sdpa(dropout_p=0.1), Q, K, V)

    @settings(max_examples=25)
    @given(
        heads=st.integers(1, 3), m=st.integers(1, 6), t=st.integers(1, 6), size=st.integers(2, 5), causal=st.booleans()
    )
    def test_any_shape(self, *, heads, m, t, size, causal):
        batch = 1 + m % 2
        inputs = (normal(batch, heads, n, size, seed=n) for n in (m, t, t))
        check_unchanged(sdpa(is_causal=causal), *inputs)

    @pytest.mark.parametrize("need_weights", [False, True])
    def test_multi_head_attention(self, need_weights):
        module = nn.MultiheadAttention(8, 2, batch_first=True).eval()
        wrapped = Calling(lambda m, x: m.attention(x, x, x, need_weights=need_weights)[0], attention=module)
        found = check_unchanged(wrapped, normal(3, 5, 8))
        shapes = [(s.groups, s.m, s.k, s.n) for s, _ in found]
        assert shapes == [(1, 15, 8, 24), (6, 5, 4, 5), (6, 5, 5, 4), (1, 15, 8, 8)]
        names = [s.name for s, _ in found]
        assert (names[0], names[3]) == ("attention:in_proj", "attention.out_proj")
        middle = ["attention:matmul", "attention:matmul#2"] if need_weights else ["attention:qk", "attention:pv"]
        assert names[1:3] == middle

    @pytest.mark.parametrize("norm_first", [False, True])
    def test_transformer_encoder_layer(self, norm_first):
        module = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first).eval()
        with torch.no_grad():  # where torch would take its fused path
            found = check_unchanged(module, normal(3, 5, 8))
        assert [s.name for s, _ in found] == [
            "self_attn:in_proj", "self_attn:qk", "self_attn:pv", "self_attn.out_proj", "linear1", "linear2",
        ]  # fmt: skip
        assert sum(s.macs for s, _ in found) == 15 * 8 * (24 + 8 + 16 + 16) + 2 * 6 * 25 * 4


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.layer.weight

    def forward(self, x):
        return self.tied(self.layer(self.layer(x)))


class Fragile(nn.Module):
    """Catches what its part raises, as some networks do to try a second way."""

    def __init__(self):
        super().__init__()
        self.part = nn.Linear(4, 4)
        self.other = nn.Linear(3, 4)

    def forward(self, x):
        try:
            return self.part(x[:, :3])
        except RuntimeError:
            return self.other(x[:, :3])


class Conv1D(nn.Module):
    """GPT-2's own linear layer."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(normal(4, 6)), nn.Parameter(normal(6))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, 4), self.weight).view(*x.shape[:-1], 6)


class Scan(nn.Module):
    """A state that is multiplied at every step, as recurrent networks of their own making do."""

    def __init__(self):
        super().__init__()
        self.w, self.u, self.layer = nn.Parameter(normal(4, 4)), nn.Parameter(normal(4, 4)), nn.Linear(4, 4)

    def forward(self, x):
        state = torch.zeros(len(x), 4)
        for step in range(x.shape[1]):
            state = torch.tanh(x[:, step] @ self.u + state @ self.w)
        for _ in range(2):
            state = self.layer(state)
        return state @ self.w


def hooks_left():
    hooks = nn.modules.module
    return len(hooks._global_forward_hooks) + len(hooks._global_forward_pre_hooks)


class TestMode:
    def test_nothing_of_a_pass_waits_for_the_garbage_collector(self):
        class Held:
            """Stands for the tensors that a handler holds, a whole graph of gradients among them."""

        held = Held()
        gone = weakref.ref(held)
        layer = nn.Linear(8, 4)

        def passed(held):
            def handle(site, view):
                assert isinstance(held, Held)
                return view.float_result()

            with SiteMode(layer, handle):
                layer(normal(2, 8))

        passed(held)
        gc.disable()
        try:
            passed(held)
            del held
            assert gone() is None
        finally:
            gc.enable()

    def test_names_of_modules_that_run_twice_or_share_weights(self):
        found = check_unchanged(Twice(), normal(2, 4))
        assert [s.name for s, _ in found] == ["layer", "layer#2", "tied"]
        found = check_unchanged(Twice(), normal(2, 4))  # counting begins anew
        assert [s.name for s, _ in found] == ["layer", "layer#2", "tied"]

    def test_names_of_paths_and_parameters(self):
        block = nn.Sequential(nn.Linear(4, 4), Conv1D())
        module = nn.ModuleDict({"blocks": nn.ModuleList([block])})
        wrapped = Calling(lambda m, x: m.body["blocks"][0](x) @ m.head.t(), body=module, head=normal(3, 6))
        assert [s.name for s, _ in check_unchanged(wrapped, normal(2, 4))] == [
            "body.blocks.0.0", "body.blocks.0.1", "head",
        ]  # fmt: skip

    def test_a_scan_is_one_site(self):
        """The same instruction with the same shapes within one run of a module; another one is another site."""
        found = check_unchanged(Scan(), normal(2, 5, 4))
        assert [s.name for s, _ in found] == [*["u", "w"] * 5, "layer", "layer#2", "w#2"]
        sites = trace(network_of(Scan(), normal(2, 5, 4))).sites
        assert [(s.name, s.count, s.m, s.k, s.n) for s in sites] == [
            ("u", 5, 2, 4, 4), ("w", 5, 2, 4, 4), ("layer", 1, 2, 4, 4), ("layer#2", 1, 2, 4, 4), ("w#2", 1, 2, 4, 4),
        ]  # fmt: skip

    def test_every_run_of_a_module_is_counted_anew(self):
        module = nn.Sequential(scan := Scan(), nn.Unflatten(1, (1, 4)), scan)
        found = check_unchanged(module, normal(2, 3, 4))
        assert [s.name for s, _ in found] == [
            *["0:u", "0:w"] * 3, "0.layer", "0.layer#2", "0:w#2", "0:u#2", "0:w#3", "0.layer#3", "0.layer#4", "0:w#4",
        ]  # fmt: skip

    def test_a_scan_of_growing_shapes_is_many_sites(self):
        """As in attention over what was kept of earlier tokens; the last names are shared."""
        module = Calling(lambda _, x: sum((x[: i + 2] @ x[: i + 2].t()).sum() for i in range(66)))
        found = check_unchanged(module, normal(67, 3), tolerance=1e-3)
        names = ["matmul", *(f"matmul#{i}" for i in range(2, 65))]
        assert [s.name for s, _ in found] == [*names, "matmul#64", "matmul#64"]
        assert [s.m for s, _ in found] == list(range(2, 68))

    def test_rows_by_one_weight_are_a_scan_however_many_there_are(self):
        """Experts of a mixture, each sent another number of tokens, but by its own weight."""
        module = Calling(lambda m, x: [x[:i] @ m.w for i in (1, 3, 2)][-1], w=W)
        found = check_unchanged(module, A)
        assert [(s.name, s.m) for s, _ in found] == [("w", 1), ("w", 3), ("w", 2)]

    @pytest.mark.parametrize(
        ("part", "name"),
        [
            (lambda w: w[1], "w[1]"),
            (lambda w: w[2, 0:2], "w[2,0:2]"),
            (lambda w: w[0][:, 1:3].t(), "w[0,:,1:3]"),
            (lambda w: w.flatten(0, 1), "w"),
        ],
    )
    def test_parts_of_parameters(self, part, name):
        module = Calling(lambda m, x: F.linear(x[..., : part(m.w).shape[1]], part(m.w)), w=normal(3, 4, 5))
        ((site, view),) = check_unchanged(module, normal(2, 5))
        rows, width = part(module.w).shape
        assert (site.name, site.static_weight, site.w_elements) == (name, True, rows * width)
        assert (site.m, site.k, site.n) == (2, width, rows)
        assert view.weight is module.w

    def test_a_part_whose_axes_were_merged(self):
        module = Calling(lambda m, x: F.linear(x, m.w[1:].flatten(0, 1)), w=normal(3, 4, 5))
        ((site, _),) = check_unchanged(module, normal(2, 5))
        assert site.name.startswith("w[1:3")
        assert (site.k, site.n) == (5, 8)

    def test_experts_of_one_parameter(self):
        module = Calling(lambda m, x: sum(x @ m.experts[i] for i in range(3)), experts=C3)
        assert describe(check_unchanged(module, A)) == [(f"experts[{i}]", "linear", 1, 5, 7, 4) for i in range(3)]

    def test_projections_that_share_a_parameter(self):
        """Torch's own attention of three different inputs slices its weight, and its biases go along."""
        attention = Calling(lambda m, *x: m.body(*x)[0], body=nn.MultiheadAttention(8, 2, batch_first=True).eval())
        found = check_unchanged(attention, *(normal(2, n, 8, seed=n) for n in (5, 6, 6)))
        assert [s.name for s, _ in found] == [
            "body:in_proj[0:8]", "body:in_proj[8:16]", "body:in_proj[16:24]", "body:matmul", "body:matmul#2",
            "body.out_proj",
        ]  # fmt: skip
        assert [(s.m, s.k, s.n) for s, _ in found[:3]] == [(10, 8, 8), (12, 8, 8), (12, 8, 8)]

    @pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
    @pytest.mark.parametrize("kind", ["traced", "scripted", "exported", "vmapped"])
    def test_products_that_no_python_calls(self, kind):
        body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
        x = normal(5, 4)
        make = {
            "traced": lambda: torch.jit.trace(body, x),
            "scripted": lambda: torch.jit.script(body),
            "exported": lambda: torch.export.export(body, (x,)).module(),
            "vmapped": lambda: Calling(lambda m, x: torch.vmap(m.body)(x), body=body),
        }
        module = make[kind]()
        found = check_unchanged(module, x)
        names = ["body.0", "body.2"] if kind == "vmapped" else ["0", "2"]
        assert describe(found) == [(names[0], "linear", 1, 5, 4, 6), (names[1], "linear", 1, 5, 6, 3)]
        assert [s.static_weight for s, _ in found] == [True, True]

    def test_products_of_activations_inside_vmap(self):
        ((site, _),) = check_unchanged(Calling(lambda _, a, b: torch.vmap(torch.matmul)(a, b)), B3, C3)
        assert (site.groups, site.m, site.k, site.n) == (3, 5, 7, 4)

    def test_weights_computed_from_parameters(self):
        """The product of two parameters is known offline; it is a weight, and no site."""
        module = Calling(lambda m, x: x @ (m.low @ m.high), low=normal(7, 2), high=normal(2, 4))
        ((site, _),) = check_unchanged(module, A)
        assert (site.name, site.static_weight, site.m, site.k, site.n) == ("low", True, 5, 7, 4)
        (other,) = [o for o in trace(network_of(module, A)).others if o.macs]
        assert (other.macs, other.reason) == (7 * 2 * 4, "product of parameters alone, known offline")

    def test_what_is_cast_automatically(self):
        """The operands are those that are multiplied, and the weight is known through its cast."""

        def forward(module, x):
            with torch.autocast("cpu", torch.bfloat16):
                return module.body(x)

        body = nn.Sequential(nn.Linear(7, 4), nn.Softmax(-1), nn.Linear(4, 3))
        found = check_unchanged(Calling(forward, body=body), A, tolerance=1e-2)
        assert describe(found) == [("body.0", "linear", 1, 5, 7, 4), ("body.2", "linear", 1, 5, 4, 3)]
        assert [(s.static_weight, v.x.dtype, v.w.dtype) for s, v in found] == [(True, *[torch.bfloat16] * 2)] * 2

    def test_a_parameter_that_is_not_the_networks(self):
        stray = nn.Parameter(normal(3, 4))
        ((site, _),) = check_unchanged(Calling(lambda _, x: F.linear(x, stray)), normal(2, 4))
        assert site.name == "linear"

    def test_an_exception_that_the_network_catches(self):
        found = check_unchanged(Fragile(), normal(2, 4))
        assert [s.name for s, _ in found] == ["part", "other"]

    def test_an_exception_leaves_nothing_behind(self):
        def fail(site, view):
            raise ZeroDivisionError(site.name)

        before, fast = hooks_left(), torch.backends.mha.get_fastpath_enabled()
        with pytest.raises(ZeroDivisionError, match="layer"):
            sites_of(Twice(), normal(2, 4), handler=fail)
        assert (hooks_left(), torch.backends.mha.get_fastpath_enabled()) == (before, fast)
        assert [s.name for s, _ in check_unchanged(Twice(), normal(2, 4))] == ["layer", "layer#2", "tied"]

    @pytest.mark.parametrize("enabled", [False, True])
    def test_the_fused_path_is_as_before(self, enabled):
        torch.backends.mha.set_fastpath_enabled(enabled)
        try:
            sites_of(nn.Linear(2, 2), normal(1, 2))
            assert torch.backends.mha.get_fastpath_enabled() is enabled
        finally:
            torch.backends.mha.set_fastpath_enabled(True)

    def test_one_mode_serves_many_passes(self):
        module, seen = Twice(), []
        mode = SiteMode(module, lambda site, view: (seen.append(site.name), view.float_result())[1])
        for _ in range(2):
            with mode:
                module(normal(2, 4))
        assert seen == ["layer", "layer#2", "tied"] * 2

    def test_modes_nest(self):
        inner = nn.Linear(4, 2)

        def distil(site, view):
            output, found = sites_of(inner, view.x)
            assert [(s.name, s.m, s.k, s.n) for s, _ in found] == [("linear", 2, 4, 2)]
            return view.float_result() + 0 * output.sum()

        _, found = sites_of(Twice(), normal(2, 4), handler=distil)
        assert [s.name for s, _ in found] == ["layer", "layer#2", "tied"]
        assert hooks_left() == 0

    def test_the_handler_computes(self):
        module = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        output, _ = sites_of(module, normal(2, 4), handler=lambda site, view: view.float_result() * 0 - 1)
        assert torch.equal(output, torch.zeros(2, 4))

    def test_gradients_flow(self):
        module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 8), Conv1D_of(8))
        attention = Calling(
            lambda m, x: F.scaled_dot_product_attention(*[m.body(x)[None, None]] * 3), body=module
        ).double()
        x = normal(3, 2, 4, 4).double()
        expected = torch.autograd.grad(attention(x).square().sum(), list(attention.parameters()))
        with SiteMode(attention, lambda site, view: view.float_result()):
            output = attention(x)
        found = torch.autograd.grad(output.square().sum(), list(attention.parameters()))
        assert len(found) == 6
        for ours, torchs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, torchs, rtol=1e-9, atol=1e-9)

    def test_shapes_without_numbers_give_the_same_sites(self):
        module = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), Conv1D_of(8), Twice()])
        wrapped = Calling(lambda m, x: m.body[2](m.body[1](m.body[0](x))[..., :4]), body=module.eval())
        real = trace(network_of(wrapped, normal(3, 5, 8))).sites
        meta = trace(network_of(wrapped.to("meta"), torch.empty(3, 5, 8, device="meta"))).sites
        assert len(real) == 10
        assert meta == real


def Conv1D_of(width):  # noqa: N802
    module = Conv1D()
    module.weight, module.bias = nn.Parameter(normal(width, width)), nn.Parameter(normal(width))
    module.forward = lambda x: torch.addmm(module.bias, x.reshape(-1, width), module.weight).view(x.shape)
    return module


def recurrent(kind, *sizes, **options):
    return Calling(lambda m, x: m.body(x)[0], body=kind(*sizes, **options))


class TestRecurrent:
    """What is projected of all steps at once, and a scan of the state; gates' columns in one product."""

    @pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
    def test_one_layer(self, kind, gates):
        module = recurrent(kind, 4, 6)
        assert describe(check_unchanged(module, normal(3, 2, 4))) == [
            ("body:weight_ih_l0", "linear", 1, 6, 4, gates * 6),
            *[("body:weight_hh_l0", "linear", 1, 2, 6, gates * 6)] * 3,
        ]
        found = trace(network_of(module, normal(3, 2, 4)))
        assert [s.count for s in found.sites] == [1, 3]
        assert found.macs == 3 * 2 * gates * 6 * (4 + 6)
        assert not any(o.macs for o in found.others)

    def test_layers_and_directions(self):
        module = recurrent(nn.LSTM, 4, 6, 2, bidirectional=True, batch_first=True)
        check_unchanged(module, normal(3, 2, 4))
        found = trace(network_of(module, normal(3, 2, 4))).sites
        assert [(s.name, s.m, s.k, s.n, s.count) for s in found] == [
            each
            for layer, width in ((0, 4), (1, 12))
            for way in ("", "_reverse")
            for each in (
                (f"body:weight_ih_l{layer}{way}", 6, width, 24, 1),
                (f"body:weight_hh_l{layer}{way}", 3, 6, 24, 2),
            )
        ]

    @pytest.mark.parametrize(("kind", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
    def test_cells(self, kind, gates):
        module = Calling(lambda m, x: m.body(x)[0] if gates == 4 else m.body(x), body=kind(4, 6))
        assert sorted(describe(check_unchanged(module, normal(2, 4)))) == [
            ("body:weight_hh", "linear", 1, 2, 6, gates * 6),
            ("body:weight_ih", "linear", 1, 2, 4, gates * 6),
        ]


class TestBilinear:
    def test_two_products(self):
        """W [3 * 4, 7] by x1 of every row, and what that gives [3, 4] by x2 of the same row."""
        found = check_unchanged(Calling(lambda m, x, y: m.body(x, y), body=nn.Bilinear(7, 4, 3)), A, W[:5])
        assert describe(found) == [
            ("body", "linear", 1, 5, 7, 12),
            ("body:with_input2", "matmul", 5, 3, 4, 1),
        ]
        assert [s.static_weight for s, _ in found] == [True, False]


class TestComposites:
    def test_sorted_rows_by_their_experts(self):
        """Rows 0 to 3 go to the first, none to the second, the others to the third."""
        ends = torch.tensor([4, 4, 10], dtype=torch.int32)
        module = Calling(lambda m, x: torch._grouped_mm(x, m.w, offs=ends), w=normal(3, 16, 8).bfloat16())
        found = check_unchanged(module, normal(10, 16).bfloat16(), tolerance=1e-2)
        assert describe(found) == [("w[0]", "linear", 1, 4, 16, 8), ("w[2]", "linear", 1, 6, 16, 8)]

    def test_8_bit_floats(self):
        """What is multiplied is what the codes stand for."""
        x, w = (normal(16, 32, seed=seed).to(torch.float8_e4m3fn) for seed in (0, 1))
        scales = torch.tensor(2.0), torch.tensor(0.5)
        module = Calling(lambda _, x, w: torch._scaled_mm(x, w.t(), *scales, out_dtype=torch.float32))
        ((site, view),) = check_unchanged(module, x, w, tolerance=1e-4)
        assert (site.m, site.k, site.n) == (16, 32, 16)
        assert torch.equal(view.x, x.float() * 2)
        assert torch.equal(view.w, w.float() / 2)

    def test_attention_with_a_function_of_scores(self):
        from torch.nn.attention.flex_attention import flex_attention

        def change(score, batch, head, row, column):
            return score * 0.5 + (row - column)

        module = Calling(lambda _, *given: flex_attention(*given, score_mod=change, enable_gqa=True))
        query, key, value = normal(1, 4, 16, 8), normal(1, 2, 16, 8, seed=1), normal(1, 2, 16, 3, seed=2)
        network, found = network_of(module, query, key, value), []
        output = observe(
            network, network.example(None), lambda site, view: (found.append((site, view)), view.float_result())[1]
        )
        assert describe(found) == [("qk", "attention_qk", 4, 16, 8, 16), ("pv", "attention_pv", 4, 16, 16, 3)]
        assert [s.w_elements for s, _ in found] == [2 * 16 * 8, 2 * 16 * 3]
        scores = query @ key.repeat_interleave(2, 1).mT / math.sqrt(8)
        scores = scores * 0.5 + (torch.arange(16).unsqueeze(1) - torch.arange(16))
        torch.testing.assert_close(output, scores.softmax(-1) @ value.repeat_interleave(2, 1), rtol=1e-4, atol=1e-5)


class TestTrace:
    @pytest.mark.parametrize(
        ("function", "inputs", "name", "macs", "reason"),
        [
            (lambda a, b: a[:, :1] @ b[:1], (A, W), "mm", 20, "outer product"),
            (nn.Linear(1, 6), (normal(5, 1),), "addmm", 30, "outer product"),
            (lambda a, b: ((a * 10).long() @ (b * 10).long()).float(), (A, W), "mm", 140, "product of integers"),
            (
                lambda a, b: torch.view_as_real(torch.complex(a, a) @ torch.complex(b, b)),
                (A, W),
                "mm",
                140,
                "product of complex numbers",
            ),
            (lambda a: torch.fft.rfft(a).abs(), (normal(3, 8),), "fft_r2c", 2 * 24 * 3, "Fourier transform"),
            (
                lambda a: torch.linalg.inv(a @ a.mT + torch.eye(5)),
                (A,),
                "linalg_inv_ex",
                125,
                "factorization or solver",
            ),
        ],
        ids=["outer", "k=1", "integers", "complex", "fourier", "inverse"],
    )
    def test_products_that_are_no_sites_are_counted(self, function, inputs, name, macs, reason):
        module = function if isinstance(function, nn.Module) else Calling(lambda _, *given: function(*given))
        found = trace(network_of(module, *inputs))
        assert [s.name for s in found.sites] == (["matmul"] if name == "linalg_inv_ex" else [])
        (other,) = [o for o in found.others if o.macs]
        assert (other.name, other.calls, other.macs) == (name, 1, macs)
        assert reason in other.reason

    def test_the_rest_is_counted(self):
        module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Softmax(-1))
        found = trace(network_of(module, normal(5, 4)))
        assert found.macs == 2 * 5 * 24
        assert [(o.name, o.calls, o.elements, o.macs, o.reason) for o in found.others] == [
            ("relu", 2, 50, 0, ""),
            ("softmax", 1, 20, 0, ""),
        ]

    @pytest.mark.parametrize(
        ("module", "inputs"),
        [
            (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1)), (normal(2, 4, 7, 7),)),
            (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ConvTranspose1d(4, 2, 2), nn.Linear(8, 3)), (normal(2, 2, 9),)),
            (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (normal(2, 5, 8),)),
            (nn.GRU(4, 6), (normal(3, 2, 4),)),
            (Twice(), (normal(2, 4),)),
            (Calling(lambda _, a, b: torch.einsum("mk,kn->mn", a, b) @ b.t()), (A, W)),
        ],
        ids=["conv", "transposed", "encoder", "recurrent", "tied", "einsum"],
    )
    def test_nothing_is_lost(self, module, inputs):
        """Sites and others together are what torch counts by itself."""
        first = isinstance(module, nn.GRU)
        network = network_of(Calling(lambda m, *x: m.body(*x)[0] if first else m.body(*x), body=module), *inputs)
        found = trace(network)
        counter = FlopCounterMode(display=False)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.no_grad(), counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                network.forward(network.example(None))
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
        assert counter.get_total_flops() > 0
        assert 2 * (found.macs + sum(o.macs for o in found.others)) == counter.get_total_flops()


class TestHuggingFace:
    def test_gpt2(self):
        transformers = pytest.importorskip("transformers")
        config = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, n_positions=16, vocab_size=11)
        module = transformers.GPT2LMHeadModel(config).eval()
        wrapped = Calling(lambda m, ids: m.model(ids, use_cache=False).logits, model=module)
        with torch.no_grad():
            found = check_unchanged(wrapped, torch.arange(6).view(2, 3))
        block = "model.transformer.h.0"
        assert [(s.name, s.groups, s.m, s.k, s.n, s.static_weight) for s, _ in found] == [
            (f"{block}.attn.c_attn", 1, 6, 8, 24, True),
            (f"{block}.attn:qk", 4, 3, 4, 3, False),
            (f"{block}.attn:pv", 4, 3, 3, 4, False),
            (f"{block}.attn.c_proj", 1, 6, 8, 8, True),
            (f"{block}.mlp.c_fc", 1, 6, 8, 32, True),
            (f"{block}.mlp.c_proj", 1, 6, 32, 8, True),
            ("model.lm_head", 1, 6, 8, 11, True),
        ]


@given(beta=st.sampled_from([0.0, 1.0, -2.5]), bias_2d=st.booleans())
def test_bias_of_a_view(beta, bias_2d):
    bias = normal(5, 4) if bias_2d else normal(4)
    module = Calling(lambda m, x: torch.addmm(m.b, x, m.w, beta=beta), w=W, b=bias)
    ((_, view),) = check_unchanged(module, A)
    expected = 0 if beta == 0 else beta * bias
    torch.testing.assert_close(view.add_bias(torch.zeros(5, 4)), torch.zeros(5, 4) + expected)


def test_adding_a_bias_in_place_needs_no_gradient():
    bias = nn.Parameter(normal(4))
    y = torch.zeros(2, 4)
    assert linear_view(A[:2], W.t(), bias).add_bias(y).requires_grad
    assert not y.any()


def test_parameters_of_one_buffer_are_told_apart():
    buffer = normal(60)
    body = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6))
    body[0].weight.data, body[1].weight.data = buffer[:24].view(6, 4), buffer[24:].view(6, 6)

    def forward(module, x):
        first, second = (each.weight.detach().t() for each in module.body)
        return x @ first @ second

    found = check_unchanged(Calling(forward, body=body), normal(3, 4))
    assert [site.name for site, _ in found] == ["body.0", "body.1"]


@pytest.mark.parametrize("batch", [1, 3, 24])
def test_a_weight_that_is_expanded_to_the_batch_has_one_name(batch):
    module = Calling(lambda m, x: torch.bmm(x, m.w[None, :, :8].expand(len(x), -1, -1)), w=normal(32, 16))
    ((site, _),) = check_unchanged(module, normal(batch, 5, 32))
    assert site.name == "w[:,0:8]"
