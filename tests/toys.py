"""Networks, products and their random forms that several tests use."""

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from bitwright.formats import Integer, Quantized
from bitwright.networks.composites import COMPOSITES
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Network
from bitwright.networks.parsers import PARSERS, Known
from bitwright.networks.view import taps_of, windows_of

CONVOLUTIONS = {  # by whether they are transposed
    False: (F.conv1d, F.conv2d, F.conv3d),
    True: (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def network_of(module, *inputs):
    """A network of a module and its positional inputs."""
    batch = {f"input_{i}": value for i, value in enumerate(inputs)}
    return Network(
        name="toy",
        kind="tensor",
        module=module.eval(),
        run=lambda module, batch: module(*batch.values()),
        example=lambda shape: dict(batch),
    )


class Calling(torch.nn.Module):
    """A module that calls a function of its inputs and its parameters, which are given by name."""

    def __init__(self, function, **parameters):
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            setattr(self, name, value if isinstance(value, torch.nn.Module) else torch.nn.Parameter(value))

    def forward(self, *inputs):
        return self.function(self, *inputs)


def sites_of(module, *inputs, handler=None):
    """The output of `module` in the mode, and its sites and views in order."""
    found = []

    def compute(site, view):
        found.append((site, view))
        return (handler or (lambda site, view: view.float_result()))(site, view)

    with SiteMode(module, compute):
        output = module(*inputs)
    return output, found


def random_codes(fmt, shape, seed):
    return torch.randint(fmt.low, fmt.high + 1, shape, generator=generator(seed))


def quantized(codes, *, bits, signed=True, zero_point=0, scale=None, **others):
    return Quantized(
        codes=codes,
        format=Integer(bits=bits, signed=signed),
        scale=torch.ones(()) if scale is None else scale,
        zero_point=zero_point,
        **others,
    )


def view_of(function, *operands, **others):
    """The view of a torch function of float operands, none of which is known offline; its result is torch's of them."""
    return dataclasses.replace(PARSERS[function](lambda tensor: Known(), *operands, **others), compute=None)


def linear_view(x, w, bias=None):
    return view_of(F.linear, x, w, bias)


def conv_product(x, w, bias=None, **geometry):
    """A convolution of operands laid out as torch's, and the operands as its view has them."""
    function, groups = CONVOLUTIONS[False][x.codes.dim() - 3], geometry.get("groups", 1)
    view = view_of(function, x.codes.float(), w.codes.float(), bias, **geometry)
    x = dataclasses.replace(x, codes=windows_of(x.codes, groups))
    return view, x, dataclasses.replace(w, codes=taps_of(w.codes, groups))


def batched_product(x, w):
    """A product of matrices x [..., M, K] and w [..., K, N], and the operands as its view has them."""
    view = view_of(torch.matmul, x.codes.float(), w.codes.float())
    return view, x, dataclasses.replace(w, codes=w.codes.transpose(-1, -2))


def im2col(codes, kernel, *, stride, padding, dilation, groups, value=0):
    """Rows [groups, images * output, kernel * channels of a group] of images laid out as torch's, by torch's unfold.

    Positions of the kernel are outside, channels inside; padding is `value`.
    """
    axes = len(kernel)
    codes = codes if codes.dim() == axes + 2 else codes[None]
    codes = F.pad(codes, [side for each in reversed(padding) for side in (each, each)], value=value)
    for axis, (taps, step, apart) in enumerate(zip(kernel, stride, dilation, strict=True)):
        codes = codes.unfold(2 + axis, apart * (taps - 1) + 1, step)
    codes = codes[(..., *(slice(None, None, apart) for apart in dilation))]  # [images, channels, *output, *kernel]
    codes = (
        codes.unflatten(1, (groups, -1)).movedim(2, -1).transpose(0, 1)
    )  # [groups, images, *output, *kernel, channels]
    return codes.flatten(1, 1 + axes).flatten(2)


def columns_of(filters, groups):
    """Columns [groups, n, kernel * channels of a group] of filters laid out as torch's, in the order of `im2col`."""
    return filters.unflatten(0, (groups, -1)).movedim(2, -1).flatten(2)


def from_rows(rows, images, output_size):
    """Torch's layout [images, groups * n, *output] of results [groups, images * output, n]."""
    return rows.unflatten(1, (images, *output_size)).movedim(-1, 1).movedim(2, 0).flatten(1, 2)


# ---------------- random products in torch's own layouts


@dataclasses.dataclass(frozen=True)
class Form:
    """A torch function of two operands: function(*before, x, w, **others)."""

    function: Callable[..., torch.Tensor]
    x: tuple[int, ...]
    w: tuple[int, ...]
    before: tuple[Any, ...] = ()
    others: dict[str, Any] = dataclasses.field(default_factory=dict)

    def view(self, x, w):
        """The view, where it is one product, and two `Quantized` laid out as its operands."""
        view = view_of(self.function, *self.before, x.codes, w.codes, **self.others)
        return view, dataclasses.replace(x, codes=view.x), dataclasses.replace(w, codes=view.w)

    def product(self, x, w, multiply):
        """The function's result of two `Quantized`, whose product is what `multiply(view, x, w)` says."""
        if self.function in PARSERS:
            view, x, w = self.view(x, w)
            return view.result(multiply(view, x, w))

        def compute(view):
            laid_out = dataclasses.replace(x, codes=view.x), dataclasses.replace(w, codes=view.w)
            return view.result(multiply(view, *laid_out))

        products = types.SimpleNamespace(owner=lambda tensor: Known(), compute=compute)
        return COMPOSITES[self.function](products, x.codes.double(), w.codes.double(), **self.others)

    def by_torch(self, x, w):
        """The same by torch: of integers in float64, which are exact below 2**53."""
        x, w = (operand.codes.double() - operand.zero_point for operand in (x, w))
        return self.function(*self.before, x, w, **self.others)


def extents(draw, count, low=1, high=5):
    """Sizes, often 1."""
    return tuple(draw(st.sampled_from([low, draw(st.integers(low, high))])) for _ in range(count))


@st.composite
def linear_forms(draw, k=20):
    lead, (k, n) = extents(draw, draw(st.integers(0, 3)), high=4), extents(draw, 2, high=k)
    return Form(F.linear, (*lead, k), (n, k) if draw(st.integers(0, 4)) else (k,))


@st.composite
def matmul_forms(draw, k=9):
    """Vectors, matrices and batches of them, which may broadcast."""
    m, k, n = extents(draw, 3, high=k)
    lead = extents(draw, draw(st.integers(0, 3)), high=3)
    shapes = []
    for matrix in ((m, k), (k, n)):
        own = tuple(draw(st.sampled_from([1, size])) for size in lead)
        shapes.append((*own[draw(st.integers(0, len(lead))) :], *matrix))
    vector_x, vector_w = (draw(st.integers(0, 5)) == 0 for _ in range(2))
    return Form(torch.matmul, (k,) if vector_x else shapes[0], (k,) if vector_w else shapes[1])


@st.composite
def named_forms(draw, k=9):
    """What torch has other names for."""
    (m, k, n), (a, b) = extents(draw, 3, high=k), extents(draw, 2, high=3)
    return draw(
        st.sampled_from(
            [
                Form(torch.mm, (m, k), (k, n)),
                Form(torch.bmm, (a, m, k), (a, k, n)),
                Form(torch.mv, (m, k), (k,)),
                Form(torch.dot, (k,), (k,)),
                Form(torch.inner, (a, m, k), (b, n, k)),
                Form(torch.tensordot, (m, a, k), (a, k, n, b), others={"dims": 2}),
                Form(torch.tensordot, (k, m, a), (n, a, b, k), others={"dims": ([0, 2], [3, 1])}),
                Form(torch.tensordot, (m, k), (n, k), others={"dims": ([-1], [1])}),
            ]
        )
    )


@st.composite
def einsum_forms(draw):
    """Contractions of any axes in any order, with and without an arrow, and with axes that an ellipsis stands for."""
    letters = draw(st.permutations("abcdefgh"))
    implicit = draw(st.booleans())
    counts = [0 if implicit else draw(st.integers(0, 2)), *(draw(st.integers(0, 2)) for _ in range(2))]
    groups, rows, columns, reduced = (
        [letters.pop() for _ in range(count)] for count in (*counts, draw(st.integers(1, 2)))
    )
    sizes = dict(zip("abcdefgh", extents(draw, 8, high=4), strict=True))
    terms = ["".join(draw(st.permutations(each))) for each in (groups + rows + reduced, groups + columns + reduced)]
    spare = extents(draw, draw(st.sampled_from([0, 0, 1, 2])), high=3)  # an ellipsis' axes, which may broadcast
    shapes = []
    for i, term in enumerate(terms):
        own = tuple(draw(st.sampled_from([1, size])) for size in spare)[draw(st.integers(0, len(spare))) :]
        at = draw(st.integers(0, len(term))) if spare else 0
        shapes.append((*(sizes[a] for a in term[:at]), *own, *(sizes[a] for a in term[at:])))
        terms[i] = f"{term[:at]}...{term[at:]}" if spare else term
    kept = draw(st.permutations([*groups, *rows, *columns, *(["..."] if spare else [])]))
    equation = ",".join(terms) if implicit else f"{','.join(terms)}->{''.join(kept)}"
    return Form(torch.einsum, *shapes, before=(equation,))


@st.composite
def convolution_forms(draw, spatial=(1, 2, 3), *, transposed=False):
    """Plain, grouped, depthwise; batches and single images; windows of any kind, down to one output."""
    axes = draw(st.sampled_from(spatial))
    kernel, stride, dilation = extents(draw, axes, high=3), extents(draw, axes, high=3), extents(draw, axes, high=2)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    each, filters = extents(draw, 2, high=8) if draw(st.integers(0, 2)) else (1, 1)
    images = draw(st.sampled_from([(), (1,), (1,), (2,), (3,)]))
    reach = [d * (taps - 1) + 1 for d, taps in zip(dilation, kernel, strict=True)]
    if transposed:
        padding = tuple(draw(st.integers(0, min(2, (n - 1) // 2))) for n in reach)
        extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
        geometry = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}
        size, w = extents(draw, axes, high=4), (groups * each, filters, *kernel)
    else:
        padding = tuple(draw(st.sampled_from([0, draw(st.integers(0, 2))])) for _ in kernel)
        least = [max(1, n - 2 * p) for n, p in zip(reach, padding, strict=True)]
        size = tuple(draw(st.sampled_from([n, n + 1, n + 6 - axes])) for n in least)
        geometry, w = {"stride": stride, "padding": padding, "dilation": dilation}, (groups * filters, each, *kernel)
    x = (*images, groups * each, *size)
    return Form(CONVOLUTIONS[transposed][axes - 1], x, w, others={**geometry, "groups": groups})


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherRule:
    """A rule of a plan that no machine knows."""

    name: str
