"""SCALE-Sim's tables (version 3): a topology of convolutions, or M, N, K of GEMMs for its GEMM mode.

A topology has no padding, batch, groups, dilation, and one stride for both axes. Inputs are told with their padding; a
depthwise convolution has DP in its name, which SCALE-Sim takes for one of every channel; all other groups are layers
of their own. What it has no columns for is told as SCALE-Sim itself tells a product of m x k by k x n: an input of
m x k, a filter of 1 x k.
"""

import math
from pathlib import Path
from typing import Literal

from bitwright.errors import InputError
from bitwright.exchange.shapes.layers import Exported, is_depthwise, left_out, products_of, runs
from bitwright.files import check_file, write_atomic
from bitwright.networks.network import Network
from bitwright.networks.shape_files.nests import read_extent
from bitwright.networks.shape_files.tables import CONV_COLUMNS, DEPTHWISE_MARK
from bitwright.networks.sites import ConvGeometry, Site
from bitwright.table_files import FORMULA
from bitwright.words import counted

Mode = Literal["conv", "gemm"]
MODES = ("conv", "gemm")
FLAT = "are products of matrices in it, since a topology has no column for their batch, dilation or axes"


def to_scalesim(network: Network, path: str | Path, *, mode: Mode = "conv") -> Exported:
    """Write a network's products as a SCALE-Sim topology.

    Parameters
    ----------
    network : Network
        Traced on its own example.
    path : str or Path
        Of the CSV file.
    mode : str
        `conv`, or `gemm` for M, N, K of every product (SCALE-Sim's `-i gemm`).

    Raises
    ------
    InputError
        The network has no products, more than can be written, or the file cannot be.
    """
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; it is {' or '.join(MODES)}")
    file = Path(path)
    check_file(file)
    traced = products_of(network)
    flat: set[str] = set()
    lines = ["Layer,M,N,K," if mode == "gemm" else f"Layer name,{','.join(CONV_COLUMNS)},"]
    for name, site in runs(traced.sites, lambda site: 1 if mode == "conv" and _is_marked(site) else site.groups):
        lines.append(_gemm_row(name, site) if mode == "gemm" else _row(name, site, flat))
    write_atomic(file, "".join(f"{line}\n" for line in lines).encode())
    notes = [f"{counted(len(flat), 'convolution')} {FLAT}"] if flat else []
    return Exported(
        files=(file,),
        layers=len(lines) - 1,
        macs=sum(site.macs for site in traced.sites),
        notes=(*notes, "SCALE-Sim's topologies have no widths of operands", *left_out(traced)),
    )


def _cell(name: str) -> str:
    """A name that a row of SCALE-Sim can have: it splits at every comma, and takes DP for depthwise.

    Nor does it begin like what a spreadsheet computes.
    """
    text = "".join(each if each.isprintable() and each not in ',;"#\\' else "_" for each in name)
    text = f"_{text[1:]}" if text.startswith(FORMULA) else text
    return text.replace(DEPTHWISE_MARK, DEPTHWISE_MARK.lower())


def _gemm_row(name: str, site: Site) -> str:
    return f"{_cell(name)},{site.m},{site.n},{site.k},"


def _row(name: str, site: Site, flat: set[str]) -> str:
    """A layer in the columns of a topology."""
    conv = site.conv
    if conv is not None and _has_columns(site, conv):
        sizes = zip(conv.output_size, conv.kernel, conv.stride, strict=True)
        height, width = (read_extent(output=output, kernel=kernel, stride=stride) for output, kernel, stride in sizes)
        mark = f"{DEPTHWISE_MARK}_" if _is_marked(site) else ""
        channels = conv.channels if mark else conv.channels // site.groups
        cells = (height, width, *conv.kernel, channels, site.n, conv.stride[0])
        return f"{mark}{_cell(name)},{','.join(map(str, cells))},"
    if conv is not None:
        flat.add(site.name)
    return f"{_cell(name)},{site.m},{site.k},1,{site.k},1,{site.n},1,"


def _has_columns(site: Site, conv: ConvGeometry) -> bool:
    is_single = site.m == math.prod(conv.output_size)
    return is_single and len(conv.kernel) == 2 and conv.stride[0] == conv.stride[1] and set(conv.dilation) == {1}


def _is_marked(site: Site) -> bool:
    """Whether a site is one row, with the mark of depthwise convolutions."""
    return is_depthwise(site) and site.conv is not None and _has_columns(site, site.conv)
