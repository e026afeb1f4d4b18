"""ZigZag's workloads: a YAML list of layers, each an equation over loops (zigzag/parser of version 3).

    - id: 0
      operator_type: Conv
      equation: O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]
      dimension_relations: [ix=1*ox+1*fx, iy=1*oy+1*fy]
      loop_dims: [B, K, C, OY, OX, FY, FX]
      loop_sizes: [1, 64, 64, 56, 56, 3, 3]
      operand_source: {I: 0, W: 0}

An operand that names its own layer as its source is constant. Where `pr_loop_sizes` and `padding` of `pr_loop_dims` are
stated, they are the input's. Layers that are no products (Pooling, Add, ...) are left out, which is said.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.networks.shape_files.layers import Layer, brief, name_of, network_of, size_of
from bitwright.networks.shape_files.nests import Axis, Index, Nest, site_of
from bitwright.strict_yaml import Document, Place

NO_PRODUCTS = {
    "max", "pooling", "pool", "maxpool", "averagepool", "globalaveragepool", "add", "mul", "relu", "softmax",
}  # fmt: skip
REQUIRED = ("operator_type", "equation", "loop_dims", "loop_sizes")
EQUATION = re.compile(
    r"(?P<y>\w+)(?P<y_at>(?:\[\w+\])+)(?P<way>\+?=)(?P<a>\w+)(?P<a_at>(?:\[\w*\])+)(?P<sign>[*+])(?P<b>\w+)(?P<b_at>(?:\[\w*\])+)"
)
RELATION = re.compile(r"(\w+)=(?:(\w+)\*)?(\w+)\+(?:(\w+)\*)?(\w+)")
DIGITS = re.compile(r"[0-9]{1,9}")


def is_workload(data: Any) -> bool:
    """Whether a document looks like a workload of ZigZag: a list of mappings of which one has loops."""
    return (
        isinstance(data, list)
        and bool(data)
        and any(isinstance(layer, Mapping) and {"loop_dims", "equation"} & set(layer) for layer in data)
    )


def build(document: Document, path: str) -> Network:
    """The network of a workload.

    Raises
    ------
    InputError
        With file and line, for the first layer that cannot be used.
    """
    layers: list[Layer] = []
    others: list[str] = []
    for i, data in enumerate(document.data):
        place: Place = (i,)
        if not isinstance(data, Mapping):
            raise InputError(f"{document.where(place)}: a layer is a mapping of keys to values, not {brief(data)}.")
        name = name_of(data.get("name"), f"layer{_id(data, i)}")
        missing = [key for key in REQUIRED if key not in data]
        if missing:
            raise InputError(f"{document.where(place)}: layer {name!r}: key {missing[0]!r} is missing.")
        operator = name_of(data["operator_type"], "")
        if operator.lower() in NO_PRODUCTS:
            others.append(operator)
            continue
        try:
            layers.append(Layer(site=site_of(_nest(data, name)), where=document.where(place)))
        except _KeyError as error:
            raise InputError(f"{document.where((*place, error.key))}: layer {name!r}: {error}.") from error
        except ValueError as error:
            raise InputError(f"{document.where((*place, 'equation'))}: layer {name!r}: {error}.") from error
    return network_of(layers, name=Path(path).stem, source=f"ZigZag workload {path}", notes=_left_out(others))


def _left_out(others: Sequence[str]) -> list[str]:
    if not others:
        return []
    counts = ", ".join(f"{others.count(each)} {each}" for each in sorted(set(others)))
    return [f"layers that are no products are left out, their cost is not counted: {counts}"]


class _KeyError(ValueError):
    """What is wrong with a key of a layer."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key} {message}")
        self.key = key


def _id(data: Mapping[str, Any], i: int) -> Any:
    number = data.get("id")
    return number if isinstance(number, int) and 0 <= number < 10**9 else i


def _nest(data: Mapping[str, Any], name: str) -> Nest:
    """A layer as loops. Raises ValueError."""
    sizes = _sizes(data)
    text = data["equation"]
    match = EQUATION.fullmatch(re.sub(r"\s", "", text)) if isinstance(text, str) and len(text) < 1000 else None
    if match is None:
        raise _KeyError("equation", f"is {brief(text)}; one such as O[b][k]+=I[b][c]*W[c][k] is expected")
    if match["sign"] != "*" or match["a"] == match["b"]:
        raise _KeyError("equation", "is no product of two operands; only products have a machine here")
    relations = _relations(data)
    operands = {match[key]: _indices(match[f"{key}_at"], relations) for key in ("a", "b")}
    first, second = (match["b"], match["a"]) if match["a"].upper() == "W" else (match["a"], match["b"])
    y = _indices(match["y_at"], relations)
    source = data.get("operand_source") or {}
    if not isinstance(source, Mapping):
        raise _KeyError("operand_source", f"is {brief(source)}; a mapping of operands to layers is expected")
    return Nest(
        name=name,
        sizes=sizes,
        x=operands[first],
        w=operands[second],
        y=y,
        names=(first, second, match["y"]),
        static_weight=second not in source or "id" not in data or source[second] == data["id"],
        axes=_axes(data, relations),
    )


def _sizes(data: Mapping[str, Any]) -> dict[str, int]:
    """Loops by dimension, whose case does not matter."""
    dims, sizes = _list(data, "loop_dims"), _list(data, "loop_sizes")
    if len(dims) != len(sizes):
        raise _KeyError("loop_sizes", f"has {len(sizes)} sizes for {len(dims)} loop_dims; one for each is expected")
    loops: dict[str, int] = {}
    for dim, size in zip(dims, sizes, strict=True):
        if not isinstance(dim, str):
            raise _KeyError("loop_dims", f"has {brief(dim)}; names of dimensions are expected")
        if dim.lower() in loops:
            raise _KeyError("loop_dims", f"has {brief(dim)} twice")
        try:
            loops[dim.lower()] = size_of(size, f"of {dim}")
        except ValueError as error:
            raise _KeyError("loop_sizes", str(error)) from error
    return loops


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    given = data.get(key)
    if given is None and key not in REQUIRED:
        return []
    if not isinstance(given, list):
        raise _KeyError(key, f"is {brief(given)}; a list is expected")
    return given


def _indices(text: str, relations: Mapping[str, Index]) -> tuple[Index, ...]:
    """`[b][iy]` with what relations say of them; an empty index, of a constant, is none."""
    names = [each.lower() for each in re.findall(r"\[(\w*)\]", text) if each]
    return tuple(relations.get(each, ((each, 1),)) for each in names)


def _relations(data: Mapping[str, Any]) -> dict[str, Index]:
    """What `ix=2*ox+1*fx` says: an index of the input as a sum."""
    sums: dict[str, Index] = {}
    for given in _list(data, "dimension_relations"):
        match = RELATION.fullmatch(re.sub(r"\s", "", given)) if isinstance(given, str) and len(given) < 1000 else None
        factors = [] if match is None else [match[2] or "1", match[4] or "1"]
        if match is None or not all(DIGITS.fullmatch(factor) for factor in factors):
            raise _KeyError("dimension_relations", f"has {brief(given)}; sums such as ix=2*ox+1*fx are expected")
        sums[match[1].lower()] = (match[3].lower(), int(factors[0])), (match[5].lower(), int(factors[1]))
    return sums


def _axes(data: Mapping[str, Any], relations: Mapping[str, Index]) -> tuple[Axis, ...]:
    """Sizes and padding of the input that a layer states."""
    dims, sizes, padding = (_list(data, key) for key in ("pr_loop_dims", "pr_loop_sizes", "padding"))
    axes = []
    for i, dim in enumerate(dims):
        if not isinstance(dim, str) or dim.lower() not in relations:
            raise _KeyError("pr_loop_dims", f"has {brief(dim)}, of which dimension_relations say nothing")
        given = padding[i] if i < len(padding) else [0, 0]
        if not isinstance(given, list) or len(given) != 2:
            raise _KeyError("padding", f"has {brief(given)}; [before, after] for each of pr_loop_dims is expected")
        try:
            before, after = (size_of(each, "of an end", least=0) for each in given)
        except ValueError as error:
            raise _KeyError("padding", str(error)) from error
        try:
            size = size_of(sizes[i], f"of {dim}") if i < len(sizes) else None
        except ValueError as error:
            raise _KeyError("pr_loop_sizes", str(error)) from error
        axes.append(Axis(index=relations[dim.lower()], size=size, before=before, after=after))
    return tuple(axes)
