"""Files that are networks, told by what is in them: ONNX, torch's exported programs, safetensors, GGUF.

Whatever would run code when it is read (pickles) is refused, with what to do instead.
"""

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bitwright.errors import InputError
from bitwright.networks.network import InputShape, Network
from bitwright.networks.own_kinds import Reader, refuse_reader

Dims = Mapping[str, Sequence[int]]
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
OTHERS = (".tflite", ".h5", ".keras", ".pb", ".mlmodel")
KNOWN = (".onnx", ".pt2", ".safetensors", ".gguf")
"""How files of networks are called; those that are there are told by their first bytes."""
FORMS = "an ONNX file, a .pt2, a .safetensors beside its config.json or a .gguf"
GGUF, ZIP, PICKLE = b"GGUF", b"PK\x03\x04", b"\x80"


def is_network(name: str) -> bool:
    """Whether a name is that of a file which holds a network, or ought to."""
    path = Path(name)
    if path.suffix.lower() in (*KNOWN, *PICKLES, *OTHERS):
        return not path.is_dir()
    return path.is_file() and (_head(path) != "" or has_inputs(name))


def has_inputs(name: str) -> bool:
    """Whether a file has inputs with names and sizes of its own, and reads what the caller says."""
    from bitwright.networks.onnx.file import is_onnx

    return Path(name).is_file() and not _head(Path(name)) and is_onnx(Path(name))


def _head(path: Path) -> str:
    """What a file's first bytes say; empty: nothing that is known here."""
    try:
        with path.open("rb") as file:
            first = file.read(4)
    except OSError:
        return ""
    if first == GGUF:
        return "gguf"
    if first == ZIP:
        return "exported" if _is_exported(path) else "archive"
    return "pickle" if first[:1] == PICKLE and first[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") else ""


def _is_exported(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/archive_format") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def build(name: str, shape: InputShape, dims: Dims, reads: Reader | None) -> Network:
    """The network in a file.

    Raises
    ------
    InputError
        No such file, or one that is not read.
    """
    path = Path(name)
    if path.exists() and not path.is_file():
        raise InputError(f"{name} is no regular file; a network is read more than once: save it as one first")
    if not path.is_file():
        raise InputError(f"there is no file {name}; give {FORMS}, or a name (bitwright models lists them)")
    if has_inputs(name):
        from bitwright.networks.onnx.network import build as build_onnx

        return build_onnx(name, dims, reads)
    if dims:
        raise InputError(f"{name}: sizes of inputs are given by name (--shape), which only ONNX files have")
    head = _head(path)
    if head == "exported":
        from bitwright.networks.exported import build as build_exported

        return build_exported(name)
    refuse_reader(name, reads, "a file of this kind needs none")
    if head == "gguf":
        from bitwright.networks.gguf_file import build as build_gguf

        return build_gguf(path, shape)
    if path.suffix.lower() == ".safetensors":
        return _safetensors(path, shape)
    raise _refusal(path, head)


def _refusal(path: Path, head: str) -> InputError:
    if head in ("pickle", "archive") or path.suffix.lower() in PICKLES:
        return InputError(
            f"{path} is a pickle, which can run code when it is read, so it is not; where you trust it, load it in "
            "Python and give its module as package.module:callable, export it with torch.onnx.export, or "
            "save_pretrained it as safetensors"
        )
    if path.suffix.lower() in OTHERS:
        return InputError(f"{path} is a file of another framework, which is not read; convert it to ONNX")
    return InputError(f"{path} is no file of a network that is read; give {FORMS}")


def _safetensors(path: Path, shape: InputShape) -> Network:
    """The network in a file of weights, by the configuration that lies beside it."""
    from bitwright.networks import pretrained

    folder = path.absolute().parent
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{path} holds weights alone, and no config.json lies beside it that says of what; put it there, or give "
            "a module (package.module:callable) and load them into it (weights=)"
        )
    others = [each.name for each in folder.glob("*.safetensors") if each.name != path.name]
    if others and not any(folder.glob("*.safetensors.index.json")):
        raise InputError(
            f"{path} lies beside {sorted(others)[0]}, and its config.json is of one of them; put them in folders of "
            "their own"
        )
    return dataclasses.replace(pretrained.build(str(folder), shape), name=str(path))
