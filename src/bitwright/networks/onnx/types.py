"""ONNX's number types as torch's, and its tensors as torch tensors.

Numbers of 4 bits, which torch has no type for, are carried in 8; 16-bit and 8-bit floats are torch's own.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitwright.errors import InputError
from bitwright.networks.onnx.node import Node, short

TYPES: dict[int, torch.dtype] = {  # by the numbers of onnx.TensorProto.DataType
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 12: torch.uint32, 13: torch.uint64, 16: torch.bfloat16,
    21: torch.uint8, 22: torch.int8, 25: torch.uint8, 26: torch.int8,
}  # fmt: skip
INTEGERS: dict[int, tuple[int, bool]] = {  # bits, signed
    2: (8, False), 3: (8, True), 4: (16, False), 5: (16, True), 6: (32, True), 21: (4, False), 22: (4, True),
    25: (2, False), 26: (2, True),
}  # fmt: skip


def torch_type(node: Node, kind: int) -> torch.dtype:
    """The torch type of an ONNX type's number."""
    if kind not in TYPES:
        raise node.refusal(f"is of ONNX's number type {kind}, which is not read (8-bit floats, complex numbers, texts)")
    return TYPES[kind]


def tensor_of(proto: Any, folder: Path | None, what: str) -> torch.Tensor:
    """A tensor of the file, its numbers copied.

    Raises
    ------
    InputError
        A type that is not read, or data that does not fit the shape.
    """
    from onnx import numpy_helper

    if proto.data_type not in TYPES:
        raise InputError(
            f"{what} {short(proto.name)!r} is of ONNX's number type {proto.data_type}, which is not read (8-bit "
            "floats, complex numbers, texts)"
        )
    if proto.data_location == 1:  # what a file may have elsewhere was read before, where it was checked
        raise InputError(f"{what} {short(proto.name)!r} lies in another file, which only tensors of the graph may")
    try:
        array = numpy_helper.to_array(proto, base_dir="" if folder is None else str(folder))
    except Exception as error:
        raise InputError(f"{what} {short(proto.name)!r} cannot be read ({type(error).__name__}: {error})") from error
    wanted = TYPES[proto.data_type]
    if wanted is torch.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    numpy = {torch.bool: np.bool_}.get(wanted) or np.dtype(str(wanted).removeprefix("torch."))
    own = np.ascontiguousarray(array).astype(numpy, copy=not array.flags.writeable)
    return torch.from_numpy(own.reshape(array.shape))
