"""Sites: the GEMMs of a network, and the shapes that everything downstream speaks of.

A site is `groups` independent products x[g] @ w[g] of shape (m x k) by (k x n). A convolution is an implicit GEMM
(m = batch * output pixels, k = channels per group * kernel area, n = output channels per group, groups as given);
attention is two sites, QK^T and PV, with one group per batch element and head.
"""

import dataclasses

OFFLINE = "product of parameters alone, known offline"
"""Why a product is no site that no inference computes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvGeometry:
    """Where a convolution's implicit GEMM takes its rows from: extents per spatial axis, the width last, in pixels."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    channels: int  # input channels, all groups
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """One GEMM (or `groups` equal ones) of a network, for one input shape.

    Attributes
    ----------
    name : str
        Module path and, where one module makes several products, what it is: `model.layers.3.self_attn:qk`; a part of a
        parameter is named by what is sliced: `experts:gate_up_proj[3]`.
    op : str
        linear, conv1d, conv2d, conv3d, matmul, attention_qk or attention_pv.
    m, k, n : int
        Rows of x, the reduction axis, columns of w, of each group.
    groups : int
        Independent products: convolution groups, or batch elements times heads.
    x_elements, w_elements : int
        Distinct elements of the operands over all groups (a convolution reads each pixel many times,
        grouped-query heads share keys): what must at least be read from DRAM.
    static_weight : bool
        Whether w is known offline (a parameter, or computed from parameters alone) or itself computed at run time.
    conv : ConvGeometry or None
        For convolutions.
    count : int
        How often it runs in one inference: the steps of a scan are one site.
    """

    name: str
    op: str
    m: int
    k: int
    n: int
    groups: int = 1
    x_elements: int
    w_elements: int
    static_weight: bool = True
    conv: ConvGeometry | None = None
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all groups and runs."""
        return self.count * self.groups * self.m * self.k * self.n

    @property
    def y_elements(self) -> int:
        """Elements of the output over all groups."""
        return self.groups * self.m * self.n


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherOperation:
    """What a network does beside its sites, added up per operator.

    Attributes
    ----------
    name : str
        The operator, e.g. `softmax`.
    calls, elements : int
        How often it ran and how many output elements it produced.
    work : int
        Elements that it goes over: its outputs, or where it reduces or pools its inputs, as often as they are read.
    macs : int
        Multiply-accumulates, for products that are not sites (integers, a Fourier transform).
    reason : str
        Why the products are not a site; empty for element-wise and data-moving operators.
    """

    name: str
    calls: int
    elements: int
    work: int = 0
    macs: int = 0
    reason: str = ""

    @property
    def lost(self) -> bool:
        """Whether it is a product that an inference computes and no site."""
        return bool(self.reason) and self.reason != OFFLINE
