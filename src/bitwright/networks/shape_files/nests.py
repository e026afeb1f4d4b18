"""Loop nests as products: y[..] += x[..] * w[..] over named dimensions, as ZigZag and Timeloop write layers.

Which operands a dimension indexes says what it is (x, w and y: a group; x and y: rows, m; w and y: columns, n; x and w:
the reduction, k), and a sum of two dimensions, stride * output + dilation * kernel, is an axis of a convolution.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from bitwright.networks.sites import ConvGeometry, Site
from bitwright.networks.workload import conv_site, gemm_site

Term = tuple[str, int]
"""A dimension and its factor."""
Index = tuple[Term, ...]
"""One index of an operand: the sum of its terms."""
MOST_AXES = 3
ROLES = {
    (True, True, True): "group",
    (True, False, True): "m",
    (False, True, True): "n",
    (True, True, False): "k",
}
"""By whether x, w and y have a dimension."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """What a file says of an axis of x beside its index.

    Attributes
    ----------
    index : Index
        Which one.
    size : int or None
        Of x, without padding.
    before, after : int
        Padding at both ends.
    """

    index: Index
    size: int | None = None
    before: int = 0
    after: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nest:
    """A layer as loops.

    Attributes
    ----------
    name : str
        The layer's.
    sizes : mapping
        Dimension -> how often its loop runs.
    x, w, y : tuple of Index
        The operands' indices.
    names : tuple of str
        What the file calls x, w and y.
    static_weight : bool
        Whether w is known offline.
    axes : tuple of Axis
        Those with a size or padding of their own.
    """

    name: str
    sizes: Mapping[str, int]
    x: tuple[Index, ...]
    w: tuple[Index, ...]
    y: tuple[Index, ...]
    names: tuple[str, str, str] = ("x", "w", "y")
    static_weight: bool = True
    axes: tuple[Axis, ...] = ()


def site_of(nest: Nest) -> Site:
    """The site of a loop nest.

    Raises
    ------
    ValueError
        It is no product of two matrices, or of groups of them; one clause says why.
    """
    roles = _roles(nest)
    axes = [index for index in nest.x if _is_axis(index, nest.sizes)]
    kernels: dict[str, int] = {}
    geometry = []
    for index in axes:
        axis = _axis(index, nest, roles)
        kernels |= {axis.kernel: axis.kernel_size}
        geometry.append(axis)
    if len(geometry) > MOST_AXES:
        raise ValueError(f"a convolution of {len(geometry)} axes is more than {MOST_AXES}")
    total = {role: math.prod(nest.sizes[each] for each, own in roles.items() if own == role) for role in ROLES.values()}
    m, k, n, groups = total["m"], total["k"], total["n"], total["group"]
    if not geometry:
        op = "linear" if nest.static_weight else "matmul"
        return gemm_site(name=nest.name, op=op, m=m, k=k, n=n, groups=groups, static_weight=nest.static_weight)
    return conv_site(
        name=nest.name,
        batch=m // math.prod(axis.output_size for axis in geometry),
        filters=n * groups,
        groups=groups,
        static_weight=nest.static_weight,
        geometry=ConvGeometry(
            kernel=tuple(axis.kernel_size for axis in geometry),
            stride=tuple(axis.stride for axis in geometry),
            padding=tuple(axis.padding for axis in geometry),
            dilation=tuple(axis.dilation for axis in geometry),
            channels=k // math.prod(kernels.values()) * groups,
            input_size=tuple(axis.input_size for axis in geometry),
            output_size=tuple(axis.output_size for axis in geometry),
        ),
    )


def read_extent(*, output: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """Pixels from the first to the last that an axis reads.

    Examples
    --------
    >>> read_extent(output=112, kernel=7, stride=2)  # of 224 and 3 at both ends, the last is not read
    229
    """
    return (output - 1) * stride + (kernel - 1) * dilation + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Spatial:
    kernel: str
    kernel_size: int
    stride: int
    dilation: int
    output_size: int
    input_size: int
    padding: int


def _roles(nest: Nest) -> dict[str, str]:
    """What every dimension is; those of size 1 that are nothing are left out."""
    having = x, w, y = [
        _dimensions(operand, nest, name) for operand, name in zip((nest.x, nest.w, nest.y), nest.names, strict=True)
    ]
    for operand, name in ((nest.w, nest.names[1]), (nest.y, nest.names[2])):
        for index in operand:
            if len([dimension for dimension, _ in index if nest.sizes[dimension] > 1]) > 1:
                raise ValueError(f"{name} is indexed by a sum of dimensions, as only the input of a convolution is")
    roles = {}
    for dimension, size in nest.sizes.items():
        role = ROLES.get((dimension in x, dimension in w, dimension in y))
        if role is not None:
            roles[dimension] = role
        elif size > 1:
            owners = [name for name, operand in zip(nest.names, having, strict=True) if dimension in operand]
            raise ValueError(
                f"dimension {dimension} of size {size:,} indexes {' and '.join(owners) or 'nothing'} only; a product's "
                "dimensions index at least two of its three operands"
            )
    return roles


def _dimensions(operand: Sequence[Index], nest: Nest, name: str) -> set[str]:
    """The dimensions that index an operand, each once."""
    dimensions: set[str] = set()
    for index in operand:
        for dimension, factor in index:
            if dimension not in nest.sizes:
                raise ValueError(f"{name} is indexed by {dimension}, which has no size")
            if dimension in dimensions and nest.sizes[dimension] > 1:
                raise ValueError(f"{name} is indexed by {dimension} twice")
            if factor < 1:
                raise ValueError(f"{name} is indexed by {dimension} times {factor}; factors of at least 1 are expected")
            dimensions.add(dimension)
    return dimensions


def _is_axis(index: Index, sizes: Mapping[str, int]) -> bool:
    """Whether an index is a sum of two dimensions; those of size 1 that stand beside two others are left out."""
    return len(index) == 2 or len([dimension for dimension, _ in index if sizes[dimension] > 1]) > 1


def _axis(index: Index, nest: Nest, roles: Mapping[str, str]) -> _Spatial:
    """The axis of a convolution."""
    sizes, name = nest.sizes, nest.names[0]
    terms = index if len(index) == 2 else tuple(term for term in index if sizes[term[0]] > 1)
    outputs = [term for term in terms if roles.get(term[0]) == "m"]
    kernels = [term for term in terms if roles.get(term[0]) == "k"]
    if len(terms) != 2 or len(outputs) != 1 or len(kernels) != 1:
        words = " + ".join(f"{factor} {dimension}" for dimension, factor in index)
        raise ValueError(f"{name} is indexed by {words}, which is no output position plus a kernel's")
    ((position, stride), (kernel, dilation)) = (outputs[0], kernels[0])
    output_size, kernel_size = sizes[position], sizes[kernel]
    extent = read_extent(output=output_size, kernel=kernel_size, stride=stride, dilation=dilation)
    stated = next((axis for axis in nest.axes if axis.index == index), Axis(index=index))
    padding = min(stated.before, stated.after)
    if extent <= 2 * padding:
        raise ValueError(f"padding of {padding} at both ends leaves nothing of the {extent} pixels that are read")
    input_size = extent - 2 * padding
    if stated.size is not None and (stated.size + 2 * padding - extent) // stride == 0 <= stated.size - input_size:
        input_size = stated.size
    return _Spatial(
        kernel=kernel,
        kernel_size=kernel_size,
        stride=stride,
        dilation=dilation,
        output_size=output_size,
        input_size=input_size,
        padding=padding,
    )
