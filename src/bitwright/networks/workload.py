"""Networks that are only a list of products: a workload file in YAML, or a single one as `gemm:MxKxN`.

A workload file has `layers`, each with `name`, `op` and sizes; `GemmLayer` and `ConvLayer` have the keys. There is no
module and there are no numbers, so such a network is simulated by shape.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from bitwright import strict_yaml
from bitwright.errors import InputError, unknown_name
from bitwright.networks.network import Network
from bitwright.networks.sites import ConvGeometry, Site
from bitwright.settings import shown

SUFFIXES = (".yaml", ".yml")
GEMM_OPS = ("gemm", "linear", "matmul", "attention_qk", "attention_pv")
GEMM_FORM = "gemm:MxKxN, or gemm:GxMxKxN for G independent products, e.g. gemm:128x768x3072"


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, list) else value


Count = Annotated[int, Field(gt=0, le=2**62)]
Pair = Annotated[tuple[Count, Count], BeforeValidator(_pair)]
PairOrZero = Annotated[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], BeforeValidator(_pair)]


class _Layer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(min_length=1)]
    groups: Count = 1


class GemmLayer(_Layer):
    """`groups` products (m x k) by (k x n); `linear` and `gemm` have a parameter as w, the others an activation."""

    op: Literal["gemm", "linear", "matmul", "attention_qk", "attention_pv"]
    m: Count
    k: Count
    n: Count

    def site(self) -> Site:
        """The site of this layer."""
        return gemm_site(
            name=self.name,
            op="linear" if self.op == "gemm" else self.op,
            m=self.m,
            k=self.k,
            n=self.n,
            groups=self.groups,
            static_weight=self.op in {"gemm", "linear"},
        )


class ConvLayer(_Layer):
    """A 2-D convolution; kernel, stride, padding and dilation are a number or [height, width], in pixels."""

    op: Literal["conv2d"]
    batch: Count = 1
    channels: Count
    height: Count
    width: Count
    filters: Count
    kernel: Pair
    stride: Pair = (1, 1)
    padding: PairOrZero = (0, 0)
    dilation: Pair = (1, 1)

    def output_size(self) -> tuple[int, int]:
        """Height and width of the output, in pixels."""
        height, width = (
            (size + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1) // self.stride[i] + 1
            for i, size in enumerate((self.height, self.width))
        )
        return height, width

    def site(self) -> Site:
        """The site of this layer, an implicit GEMM. Raises ValueError for sizes that do not fit together."""
        output = self.output_size()
        for key, value in (("channels", self.channels), ("filters", self.filters)):
            if value % self.groups:
                raise ValueError(f"{key} is {value}, a multiple of groups ({self.groups}) is expected")
        if min(output) < 1:
            raise ValueError(f"kernel {self.kernel} is larger than the padded input, no output pixel is left")
        return conv_site(
            name=self.name,
            batch=self.batch,
            filters=self.filters,
            groups=self.groups,
            geometry=ConvGeometry(
                kernel=self.kernel,
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                channels=self.channels,
                input_size=(self.height, self.width),
                output_size=output,
            ),
        )


class _Workload(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(min_length=1)] | None = None
    layers: Annotated[list[Annotated[GemmLayer | ConvLayer, Field(discriminator="op")]], Field(min_length=1)]


def build(document: strict_yaml.Document, path: str) -> Network:
    """The network of a workload file. Raises `InputError` with file and line for whatever is wrong in it."""
    try:
        workload = TypeAdapter(_Workload).validate_python(document.data)
    except ValidationError as error:
        # a misspelt key is also a missing one; the misspelling is what helps
        first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
        raise InputError(_described(first, document)) from error
    sites: dict[str, Site] = {}
    for i, layer in enumerate(workload.layers):
        if layer.name in sites:
            raise InputError(
                f"{document.where(('layers', i, 'name'))}: layer name {layer.name!r} is given twice; names must differ."
            )
        try:
            sites[layer.name] = layer.site()
        except ValueError as error:
            raise InputError(f"{document.where(('layers', i))}: layer {layer.name!r}: {error}.") from error
    return Network(
        name=workload.name or Path(path).stem, kind="gemms", sites=tuple(sites.values()), source=f"workload {path}"
    )


def build_gemm(name: str) -> Network:
    """The network of one product, from `gemm:MxKxN` or `gemm:GxMxKxN`."""
    sizes = name.removeprefix("gemm:").lower().split("x")
    if len(sizes) not in {3, 4} or not all(size.isascii() and size.isdigit() and int(size) for size in sizes):
        raise InputError(f"cannot read {name!r}: positive integers are expected, as {GEMM_FORM}.")
    *groups, m, k, n = (int(size) for size in sizes)
    site = gemm_site(name="gemm", op="linear", m=m, k=k, n=n, groups=groups[0] if groups else 1, static_weight=True)
    return Network(name=name, kind="gemms", sites=(site,), source="given sizes")


def gemm_site(*, name: str, op: str, m: int, k: int, n: int, groups: int, static_weight: bool) -> Site:
    """The site of `groups` products whose operands are all distinct."""
    return Site(
        name=name,
        op=op,
        m=m,
        k=k,
        n=n,
        groups=groups,
        x_elements=groups * m * k,
        w_elements=groups * k * n,
        static_weight=static_weight,
    )


def conv_site(
    *,
    name: str,
    batch: int,
    filters: int,
    groups: int,
    geometry: ConvGeometry,
    static_weight: bool = True,
) -> Site:
    """The site of a convolution of one to three axes, an implicit GEMM; `filters` are those of all groups."""
    k = geometry.channels // groups * math.prod(geometry.kernel)
    m = batch * math.prod(geometry.output_size)
    return Site(
        name=name,
        op=f"conv{len(geometry.kernel)}d",
        m=m,
        k=k,
        n=filters // groups,
        groups=groups,
        # with a stride beyond the kernel, some pixels are never read
        x_elements=min(batch * geometry.channels * math.prod(geometry.input_size), m * k * groups),
        w_elements=filters * k,
        static_weight=static_weight,
        conv=geometry,
    )


def _described(error: ErrorDetails, document: strict_yaml.Document) -> str:
    """One sentence: file and line, what is wrong there, and the nearest key or value that would be right."""
    tags = {"conv2d", *GEMM_OPS}
    place = tuple(part for i, part in enumerate(error["loc"]) if not (i == 2 and part in tags))
    where, key = document.where(place), next((part for part in reversed(place) if isinstance(part, str)), "layers")
    if error["type"] == "extra_forbidden":
        known = _keys_of(place, document.data)
        return f"{where}: {unknown_name('key', str(key), known)}"
    if error["type"] == "missing":
        return f"{where}: key {key!r} is missing{_in_layer(place, document.data)}."
    if error["type"] == "union_tag_not_found":
        layer = _in_layer((*place, "op"), document.data)
        return f"{where}: key 'op' is missing{layer}; one of {', '.join(sorted(tags))}."
    if error["type"] == "union_tag_invalid":
        return f"{document.where((*place, 'op'))}: {unknown_name('op', str(error['input'].get('op')), tags)}"
    message = error["msg"][:1].lower() + error["msg"][1:]
    return f"{where}: {key!r} is {shown(error['input'])}, but {message.removeprefix('input ')}."


def _in_layer(place: strict_yaml.Place, data: Any) -> str:
    if len(place) < 3:
        return ""
    name = data["layers"][place[1]].get("name")
    return f" in layer {name!r}" if name else " in this layer"


def _keys_of(place: strict_yaml.Place, data: Any) -> list[str]:
    if len(place) < 3:
        return list(_Workload.model_fields)
    op = data["layers"][place[1]].get("op")
    return list((ConvLayer if op == "conv2d" else GemmLayer).model_fields)
