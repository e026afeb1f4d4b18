"""Which forms of files there are, and one function that writes any of them."""

import fnmatch
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bitwright.errors import InputError, unknown_name, unknown_site
from bitwright.exchange.export import sayable, tensors, vectors
from bitwright.exchange.export.agreement import agreement, can_run
from bitwright.exchange.export.exported import Exported
from bitwright.exchange.export.shapes import SHAPE_FORMS, TIMELOOP
from bitwright.exchange.export.written import write_graph
from bitwright.files import check_file
from bitwright.methods.plan import Plan
from bitwright.networks.network import Batch, Network
from bitwright.networks.onnx.quantization.narrowing import BITS

if TYPE_CHECKING:
    import onnx

FORMATS = {
    sayable.QDQ: "the quantized network for a run time: QuantizeLinear and DequantizeLinear, integer weights",
    sayable.QONNX: "the same with QONNX's Quant, of any width, for FINN and hls4ml",
    tensors.FORM: "integer weights, scales and zero points, in one safetensors file",
    vectors.FORM: "a folder of integer operands and expected sums of one input, for a testbench",
    **SHAPE_FORMS,
}
"""What they are, by name."""
Progress = Callable[[str, int, int], None]


def check_form(form: str, path: Path, sites: Sequence[str], *, words: str = "both", overwrite: bool) -> None:
    """Refuse, before anything runs, unknown forms and words, a place that is taken, and sites of a whole network.

    Raises
    ------
    InputError
        Saying what would do.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    if words not in vectors.WORDS:
        raise InputError(f"words are {words!r}; {', '.join(vectors.WORDS[:-1])} or {vectors.WORDS[-1]} is expected")
    if sites and form not in (tensors.FORM, vectors.FORM):
        raise InputError(f"{form} is of a whole network, and sites are chosen ({', '.join(sites)}); leave them out")
    if form in (sayable.QDQ, sayable.QONNX) and importlib.util.find_spec("onnx") is None:
        raise InputError(f"{form} needs the package onnx; install it with: pip install 'bitwright[onnx]'")
    if form not in (vectors.FORM, TIMELOOP):
        check_file(path)
    elif not path.absolute().parent.is_dir():
        raise InputError(f"the folder {path.parent} of {path.name} does not exist; make it first")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it, or name another place")


def export_network(
    network: Network,
    plan: Plan,
    batch: Batch,
    path: Path,
    form: str,
    *,
    described: str,
    sites: Sequence[str] = (),
    words: str = "both",
    check: bool = True,
    overwrite: bool = False,
    progress: Progress,
) -> Exported:
    """Write `network` by `plan` as a file of `form`.

    Parameters
    ----------
    network, plan : Network, Plan
        With numbers, and made for each other.
    batch, described : Batch, str
        The input that it runs on, whose shapes a graph has, and what it is.
    path : Path
        A file; of vectors a folder.
    form : str
        One of `FORMATS`, but those of shapes (`bitwright.exchange.export.shapes`).
    sites : sequence of str
        Globs that choose sites, of safetensors and vectors; none: all.
    words : str
        Of vectors: npy, hex or both.
    check : bool
        Whether onnxruntime runs a QDQ file beside exact execution, where it is installed.
    overwrite : bool
        Whether what is at `path` may be replaced.
    progress : callable
        Told of how far it is.

    Raises
    ------
    InputError
        If the form cannot say what is in the plan, a glob matches no site, or the place cannot be written.
    """
    check_form(form, path, sites, overwrite=overwrite)
    chosen = _chosen(plan, sites, network.name)
    if not any(plan.sites[name].quantized for name in chosen):
        chose = "chosen sites" if sites else "sites"
        raise InputError(
            f"{plan.method} quantizes none of the {chose} of {network.name}, so there are no integers to export; use a "
            "method such as int8"
        )
    if form == tensors.FORM:
        progress("encoding weights", 0, 0)
        return tensors.export_tensors(network, plan, batch, path, chosen, described)
    if form == vectors.FORM:
        return vectors.export_vectors(
            network, plan, batch, path, chosen, described, words=words, overwrite=overwrite, progress=progress
        )
    sayable.check_sayable(plan.sites, form)
    return _graph(network, plan, batch, path, form, described, check=check, progress=progress)


def _chosen(plan: Plan, globs: Sequence[str], network: str) -> list[str]:
    for glob in globs:
        if not fnmatch.filter(plan.sites, glob):
            raise unknown_site(glob, list(plan.sites), network)
    return [name for name in plan.sites if not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)]


def _graph(
    network: Network,
    plan: Plan,
    batch: Batch,
    path: Path,
    form: str,
    described: str,
    *,
    check: bool,
    progress: Progress,
) -> Exported:
    """A graph of ONNX, which is checked by onnx's own checker before it is written."""
    from bitwright.exchange.export.fold import folded
    from bitwright.exchange.export.qdq import narrower, with_qdq
    from bitwright.exchange.export.qonnx import with_quant
    from bitwright.exchange.export.trace import traced

    progress("tracing", 0, 0)
    graph = traced(network, plan, batch)
    progress("folding constants", 0, 0)
    model = folded(graph.model)
    present = {node.attribute[0].s.decode() for node in model.graph.node if node.domain == "bitwright"}
    ran = dict.fromkeys(step.site for step in graph.steps if step.plan.quantized)
    inside = {name.rpartition(".")[0].partition("~")[0] for name in present if name.endswith(".x")}
    model = (with_qdq if form == sayable.QDQ else with_quant)(model, graph.operands)
    _signed(model, network, plan, narrower(graph.operands) if form == sayable.QDQ else {})
    files, written_bytes = write_graph(model, path, checked_wholly=form == sayable.QDQ)
    notes = [f"shapes are fixed: {', '.join(f'{n} {list(t.shape)}' for n, t in batch.items())}"]
    compared = None
    if len(files) > 1:
        notes.append(f"a file of ONNX holds 2 GiB: tensors are in {files[1]}, which belongs beside it")
        notes += ["it was not compared with onnxruntime, which is done within 2 GiB"] if check else []
    elif check and form == sayable.QDQ and can_run():
        progress("comparing with onnxruntime", 0, 0)
        compared = agreement(path.read_bytes(), network, plan, [batch])
    return Exported(
        network=network.name,
        method=plan.method,
        form=form,
        path=path,
        files=files,
        written_bytes=written_bytes,
        sites=tuple(name for name in ran if name in inside),
        left_out=tuple(name for name in plan.sites if name not in inside),
        input=described,
        agreement=compared,
        notes=tuple(notes),
    )


def _signed(model: "onnx.ModelProto", network: Network, plan: Plan, bits: Mapping[str, int]) -> None:
    """Who made the file, of what, and the bits of stored codes that have fewer than their type."""
    from importlib.metadata import version

    from onnx import helper

    model.producer_name, model.producer_version = "bitwright", version("bitwright")
    model.graph.name = network.name
    properties = {"bitwright.method": plan.method, "bitwright.network": network.name}
    helper.set_model_props(model, properties | ({BITS: json.dumps(dict(bits))} if bits else {}))
