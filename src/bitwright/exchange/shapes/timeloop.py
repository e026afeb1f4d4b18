"""Timeloop's problems (YAML of version 0.4): a file for every layer, in a folder, in their order.

Every file states its own shape: data spaces Weights, Inputs and Outputs over dimensions G (groups), M, K and N of
products, or G, N (batch), C, M, R, S, P, Q of convolutions in Timeloop's letters, with coefficients for strides and
dilations. The input's sizes and padding stand beside the dimensions (W, Wpad, ...), where Timeloop does not read them.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bitwright.errors import InputError
from bitwright.exchange.shapes.layers import Exported, left_out, products_of, runs
from bitwright.files import whole_folder, write_atomic
from bitwright.networks.network import Network
from bitwright.networks.sites import ConvGeometry, Site

AXES = (("R", "P", "W"), ("S", "Q", "H"), ("T", "O", "D"))
"""Of a convolution, the last one first: dimensions of its kernel and its outputs, and the letter of the input."""
LONGEST_STEM = 80
NO_MARKER = ".never"
"""A file that no folder has: only an empty one is replaced."""
OURS = re.compile(r"\d{4,}-[A-Za-z0-9_.-]+\.yaml")
BEGINS = "# "  # the layer's name
Projection = list[list[list[str]]]


def to_timeloop(network: Network, folder: str | Path, *, overwrite: bool = False) -> Exported:
    """Write a network's products as Timeloop problems, `0000-NAME.yaml` and so on.

    Parameters
    ----------
    network : Network
        Traced on its own example.
    folder : str or Path
        A folder that is empty, or is made in one that exists.
    overwrite : bool
        Whether a folder that was written so, and has nothing else, may be replaced.

    Raises
    ------
    InputError
        The network has no products, more than can be written, or the folder has files or cannot be written.
    """
    place = Path(folder)
    traced = products_of(network)
    layers = list(runs(traced.sites))
    digits = max(4, len(str(len(layers) - 1)))
    marker = _marker(place, overwrite=overwrite)
    files = []
    with whole_folder(place, marker=marker, overwrite=True) as made:
        for number, (name, site) in enumerate(layers):
            stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:LONGEST_STEM]
            file = f"{number:0{digits}}-{stem}.yaml"
            text = yaml.safe_dump({"problem": _problem(site)}, sort_keys=False, default_flow_style=None, width=1000)
            title = "".join(each for each in name if each.isprintable())
            write_atomic(made / file, f"{BEGINS}{title} of {network.name!a}\n{text}".encode())
            files.append(file)
    return Exported(
        files=tuple(place / file for file in files),
        layers=len(layers),
        macs=sum(site.macs for site in traced.sites),
        notes=("Timeloop's problems have no widths of operands: an architecture states them", *left_out(traced)),
    )


def _marker(folder: Path, *, overwrite: bool) -> str:
    """A file that tells a folder which may be replaced, or an error where it may not be."""
    if not folder.absolute().parent.is_dir():
        raise InputError(f"cannot write into {folder}: the folder {folder.parent} does not exist; make it first")
    try:
        files = sorted(folder.iterdir()) if folder.exists() else []
        ours = overwrite and all(_is_ours(file) for file in files)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}; give a folder that can be written") from error
    if not files:
        return NO_MARKER
    if not ours:
        raise InputError(f"{folder} has files already, which would be layers too; give a folder that is empty or new")
    return files[0].name


def _is_ours(file: Path) -> bool:
    if not OURS.fullmatch(file.name) or not file.is_file() or file.is_symlink():
        return False
    with file.open("rb") as opened:
        return opened.read(len(BEGINS)) == BEGINS.encode()


def _problem(site: Site) -> dict[str, Any]:
    return _gemm(site) if site.conv is None else _convolution(site, site.conv)


def _indices(*terms: str) -> Projection:
    return [[[term]] for term in terms]


def _shape(
    name: str, dimensions: Sequence[str], coefficients: Sequence[str], projections: Sequence[Projection]
) -> dict[str, Any]:
    names = ("Weights", "Inputs", "Outputs")
    spaces: list[dict[str, Any]] = [
        {"name": space, "projection": projection} for space, projection in zip(names, projections, strict=True)
    ]
    spaces[-1]["read_write"] = True
    return {
        "name": name,
        "dimensions": list(dimensions),
        "coefficients": [{"name": each, "default": 1} for each in coefficients],
        "data_spaces": spaces,
    }


def _gemm(site: Site) -> dict[str, Any]:
    sizes = {"G": site.groups, "M": site.m, "K": site.k, "N": site.n}
    projections = (_indices("G", "K", "N"), _indices("G", "M", "K"), _indices("G", "M", "N"))
    return {"version": 0.4, "shape": _shape("grouped_gemm", list(sizes), (), projections), "instance": sizes}


def _convolution(site: Site, conv: ConvGeometry) -> dict[str, Any]:
    axes = AXES[: len(conv.kernel)][::-1]
    sizes = {
        "G": site.groups,
        "N": site.m // math.prod(conv.output_size),
        "C": conv.channels // site.groups,
        "M": site.n,
    }
    factors: dict[str, int] = {}
    inputs: dict[str, int] = {}
    for i, (kernel, output, letter) in enumerate(axes):
        sizes |= {kernel: conv.kernel[i], output: conv.output_size[i]}
        factors |= {f"{letter}stride": conv.stride[i], f"{letter}dilation": conv.dilation[i]}
        inputs |= {letter: conv.input_size[i], f"{letter}pad": conv.padding[i]}
    read = [[[kernel, f"{letter}dilation"], [output, f"{letter}stride"]] for kernel, output, letter in axes]
    projections = (
        _indices("G", "M", "C", *(kernel for kernel, _, _ in axes)),
        [*_indices("G", "N", "C"), *read],
        _indices("G", "N", "M", *(output for _, output, _ in axes)),
    )
    shape = _shape(f"grouped_conv{len(axes)}d", list(sizes), list(factors), projections)
    return {"version": 0.4, "shape": shape, "instance": {**sizes, **factors, **inputs}}
