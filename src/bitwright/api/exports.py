"""What bitwright computes, as files that other tools read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bitwright.api.networks import kept, named, planned
from bitwright.exchange.export import Exported, export_network
from bitwright.exchange.export.formats import check_form
from bitwright.exchange.export.shapes import SHAPE_FORMS, export_shapes
from bitwright.later import torch
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.networks.trace import require_sites
from bitwright.studies.inputs import simulation_input
from bitwright.studies.systems import refuse_systems
from bitwright.tasks.calibrate import require_quantized
from bitwright.tasks.evaluate import Progress, require_numbers, silent

DEFAULT_METHOD = "int8"


def export(
    network: Network | str | torch.nn.Module,
    path: str | Path,
    form: str = "onnx-qdq",
    method: str | Plan | None = None,
    *,
    sites: str | Sequence[str] = (),
    words: Literal["both", "npy", "hex"] = "both",
    check: bool = True,
    overwrite: bool = False,
    samples: Iterable[Any] | Path | None = None,
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Exported:
    """Write a quantized network, its integers, or what a testbench needs, to a file or a folder.

    Parameters
    ----------
    network : Network, str or torch.nn.Module
        Or its name, or a module with `example_inputs` (without: the first of `samples` is its example).
    path : path
        Of the file; of vectors and timeloop, of a folder that is made.
    form : str
        onnx-qdq: an ONNX file with QuantizeLinear and DequantizeLinear, which onnxruntime runs; qonnx: one
        with QONNX's Quant; safetensors: integer weights with scales; vectors: integer operands and expected sums of
        one input, as NumPy's and as hexadecimal text; zigzag, timeloop, scalesim or scalesim-gemm: shapes for these
        simulators, of networks without numbers too, and for zigzag with the widths of a method.
    method : str, Plan or None
        A name is calibrated first; None is a quantized file's own, else int8, and for shapes no plan. What a form
        cannot say is refused by name.
    sites : str or sequence of str
        Globs that choose sites, of safetensors and vectors; none is all.
    words : str
        Of vectors: npy, hex or both.
    check : bool
        Whether onnxruntime, where it is installed, runs an onnx-qdq file beside exact execution.
    overwrite : bool
        Whether a file, or a folder that was written so, that is there may be replaced.
    samples, options, calibration_count
        What a method is calibrated on, as in `calibrate`; a plan has its own.
    seed : int
        Of these, and of the one input that the network is exported on.

    Returns
    -------
    Exported
        Where it is, which sites are in it, and how onnxruntime agrees.

    Raises
    ------
    InputError
        A network with shapes only, what the form cannot say, or a place that cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> layer = torch.nn.Linear(4, 2)
    >>> layer.example_inputs = torch.ones(1, 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export(layer, f"{folder}/layer.safetensors", "safetensors", "int8")
    >>> exported.files, len(exported.sites)
    (('layer.safetensors',), 1)
    """
    place, globs = Path(path), (sites,) if isinstance(sites, str) else tuple(sites)
    check_form(form, place, globs, words=words, overwrite=overwrite)
    if isinstance(method, str):
        refuse_systems([method])
    samples = kept(samples)
    given, network = network, named(network, samples)
    shapes = form in SHAPE_FORMS
    if shapes and method is None:
        return export_shapes(network, None, place, form, overwrite=overwrite)
    batch, described = simulation_input(network, seed=seed)
    if not shapes:
        require_numbers(network)
        if not isinstance(method, Plan):  # whose sites are known
            require_sites(network, globs, batch)
    plan = planned(
        network,
        network.default_method or DEFAULT_METHOD if method is None else method,
        samples,
        given=given,
        options=options,
        calibration_count=calibration_count,
        seed=seed,
        progress=progress,
    )
    if shapes:
        return export_shapes(network, plan, place, form, overwrite=overwrite)
    require_quantized(network, plan)
    assert batch is not None
    return export_network(
        network,
        plan,
        batch,
        place,
        form,
        described=described,
        sites=globs,
        words=words,
        check=check,
        overwrite=overwrite,
        progress=progress,
    )
