"""Graphs as files: one of ONNX where it fits, else a graph beside one file of its largest tensors.

A protocol buffer holds 2 GiB. What is larger keeps tensors in `NAME.DIGEST.data` beside it, by its own name without a
folder, so that both can be moved together. That file is written first, under a name that says what is in it: whenever a
graph is there, what it refers to is there, and so is what it takes the place of until then.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bitwright import scratch
from bitwright.errors import InputError
from bitwright.files import check_replaceable
from bitwright.networks.packages import told

if TYPE_CHECKING:
    import onnx

LARGEST_BYTES = 2**31 - 1
"""Of a protocol buffer."""
SMALLEST_APART = 1024  # bytes of a tensor that is worth a place of its own
PAGE = 4096  # where tensors begin, so that they can be mapped (onnx.ai, external data)


def write_graph(model: "onnx.ModelProto", path: Path, *, checked_wholly: bool) -> tuple[tuple[str, ...], int]:
    """Write a model to `path` once onnx's own checker finds it valid; tensors apart where it is too large.

    Parameters
    ----------
    model : onnx.ModelProto
        Its tensors lose their numbers to the other file where there is one.
    path : Path
        Of the graph.
    checked_wholly : bool
        Whether types and shapes are checked too, which operators of other domains have none of.

    Returns
    -------
    files : tuple of str
        Names in the folder.
    written_bytes : int
        Of all of them.

    Raises
    ------
    InputError
        If the place cannot be written, or not even the graph alone fits.
    """
    check_replaceable(path)
    apart: Path | None = None
    try:
        if not _fits(model):
            apart = _apart(model, path)
            if not _fits(model):
                raise InputError(
                    f"{path.name} would be beyond {LARGEST_BYTES:,} bytes without its tensors, which is what a file of "
                    "ONNX holds; use --format safetensors"
                )
        _write(model, path, checked_wholly=checked_wholly)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or told(error)}; give a writable path") from error
    finally:
        _clear(path)
    files = (path,) if apart is None else (path, apart)
    return tuple(each.name for each in files), sum(each.stat().st_size for each in files)


def _fits(model: "onnx.ModelProto") -> bool:
    """Whether a model is one protocol buffer; tensors are counted first, since one that is none has no size."""
    tensors = sum(len(each.raw_data) for each in model.graph.initializer)
    return tensors <= LARGEST_BYTES and model.ByteSize() <= LARGEST_BYTES


def _write(model: "onnx.ModelProto", path: Path, *, checked_wholly: bool) -> None:
    import onnx

    content: bytes = model.SerializeToString(deterministic=True)
    with scratch.file_beside(path) as made:
        made.write_bytes(content)
        onnx.checker.check_model(str(made), full_check=checked_wholly)
        made.chmod(0o644)
        made.replace(path)


def _apart(model: "onnx.ModelProto", path: Path) -> Path:
    """Move the numbers of large initializers to a file of their own."""
    tensors = [each for each in model.graph.initializer if len(each.raw_data) >= SMALLEST_APART]

    def parts() -> Iterator[bytes]:
        for each in tensors:
            yield each.raw_data
            yield bytes(-len(each.raw_data) % PAGE)

    digest = hashlib.sha256()
    for part in parts():
        digest.update(part)
    place = path.with_name(f"{path.name}.{digest.hexdigest()[:16]}.data")
    check_replaceable(place)
    with scratch.file_beside(place) as made:
        with made.open("wb") as file:
            for part in parts():
                file.write(part)
        made.chmod(0o644)
        made.replace(place)
    offset = 0
    for each in tensors:
        length = len(each.raw_data)
        each.ClearField("raw_data")
        each.data_location = each.EXTERNAL
        for key, value in (("location", place.name), ("offset", str(offset)), ("length", str(length))):
            entry = each.external_data.add()
            entry.key, entry.value = key, value
        offset += length + -length % PAGE
    return place


def _clear(path: Path) -> None:
    """Remove files of tensors beside `path` that the graph there, if any, does not name: of those it replaced."""
    import onnx

    ours = re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{16}}\.data")
    found = [each for each in path.absolute().parent.iterdir() if ours.fullmatch(each.name) and each.is_file()]
    if not found:
        return
    named = set[str]()
    if path.is_file():
        try:
            graph = onnx.load(path, load_external_data=False).graph
        except Exception:  # another's file, that was to be replaced and was not
            return
        named = {entry.value for tensor in graph.initializer for entry in tensor.external_data}
    for each in found:
        if each.name not in named:
            each.unlink(missing_ok=True)
