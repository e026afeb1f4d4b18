"""Files that are networks, told by what is in them: ONNX, torch's exported programs, safetensors, GGUF.

Whatever would run code when it is read (pickles) is refused, with what to do instead.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.networks.network import InputShape, Network
from bitwright.networks.own_kinds import Reader, refuse_reader

Dims = Mapping[str, Sequence[int]]
OTHERS = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".pt2", ".safetensors", ".gguf", ".tflite", ".h5", ".pb")
"""How files of networks are called, other than ONNX."""
FORMS = "an ONNX file, .safetensors beside a config.json, or .gguf"


def is_network(name: str) -> bool:
    """Whether a name is that of a file which holds a network, or ought to."""
    from bitwright.networks.onnx.file import SUFFIX, is_onnx

    path = Path(name)
    if path.suffix.lower() in (*OTHERS, SUFFIX):
        return True
    return path.is_file() and is_onnx(path)


def has_inputs(name: str) -> bool:
    """Whether a file has inputs with names and sizes of its own, and reads what the caller says."""
    from bitwright.networks.onnx.file import is_onnx

    return Path(name).is_file() and is_onnx(Path(name))


def build(name: str, shape: InputShape, dims: Dims, reads: Reader | None) -> Network:
    """The network in a file.

    Raises
    ------
    InputError
        No such file, or one that is not read.
    """
    from bitwright.networks.onnx.file import is_onnx

    path = Path(name)
    if not path.is_file():
        raise InputError(f"there is no file {name}; give {FORMS}, or a name (bitwright models lists them)")
    if is_onnx(path):
        from bitwright.networks.onnx.network import build as build_onnx

        return build_onnx(name, dims, reads)
    refuse_reader(name, reads, "only ONNX files need one")
    if dims:
        raise InputError(f"{name}: sizes of inputs are given by name (--shape), which only ONNX files have")
    return _other(path, shape)


def _other(path: Path, shape: InputShape) -> Network:
    del shape
    raise InputError(f"{path} is no file of a network that is read; give {FORMS}")


def _unused(_: Any) -> None:
    """Nothing."""
