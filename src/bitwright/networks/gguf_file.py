"""Networks of GGUF files, and what their blocks say of the weights.

transformers make a network of the architectures that they know, whose weights are float32 then, in an order of their
own (rows of queries and keys change places). So which tensor of the file a weight is, and which rows, is found by its
numbers: every row is looked for among those that the file's blocks stand for, bit by bit.
"""

import dataclasses
import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitwright.errors import InputError
from bitwright.networks.gguf_blocks import TYPES, Floats, Scales, scales_of
from bitwright.networks.network import InputShape, Network
from bitwright.networks.packages import quiet, require, told

BLOCKS = "blocks"
"""The key of `Network.tools` under which the file of a network's blocks is."""
GRID = 32  # elements of a block of GGUF's 4-bit types
BLOCK = re.compile(r"(?:^|\.)blk\.(\d+)\.")
FLOATS = ("F32", "F16", "BF16", "F64")


def build(path: Path, shape: InputShape) -> Network:
    """The network of a GGUF file, where transformers know its architecture; its blocks become float32 once.

    Raises
    ------
    InputError
        A file that is damaged, or of an architecture that is not known.
    """
    from bitwright.networks.converted import converted
    from bitwright.networks.onnx.network import FILE
    from bitwright.networks.zoo import convert_gguf

    require(str(path), ("transformers", "gguf", "accelerate"))
    reader = _opened(path)
    _check_blocks(path, reader)
    types = Counter(each.tensor_type.name for each in reader.tensors)
    try:
        with quiet():
            network = converted(path, lambda folder: convert_gguf(path.absolute(), folder), _Opened(shape))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} cannot be loaded with transformers ({told(error)[:200]}); it is damaged, or of an architecture "
            "that they do not read from GGUF: give its folder with config.json and safetensors instead"
        ) from error
    held = ", ".join(f"{count} of {name}" for name, count in types.most_common())
    note = f"its weights come from a GGUF file (tensors: {held}) and lie on the grids of its blocks"
    narrow = any(name.startswith(("Q4", "Q5", "Q3", "Q2", "IQ")) for name in types)
    return dataclasses.replace(
        network,
        name=str(path),
        source=f"GGUF file {path.name}",
        notes=(note,),
        weight_grid=GRID if narrow else None,
        tools={**network.tools, BLOCKS: GgufFile(path=path.absolute())},
        default_method=FILE if TYPES.keys() & types.keys() else None,
    )


@dataclasses.dataclass(frozen=True)
class _Opened:
    """Reads a converted folder."""

    shape: InputShape

    def __call__(self, folder: Path) -> Network:
        """Its network."""
        from bitwright.networks import pretrained

        return pretrained.build(str(folder), self.shape)


def _opened(path: Path) -> Any:
    """The file's reader; raises `InputError` where it is damaged."""
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except Exception as error:
        raise InputError(f"{path} cannot be read as GGUF ({told(error)[:200]}); it is damaged: copy it anew") from error


def _check_blocks(path: Path, reader: Any) -> None:
    """Refuse a file whose header says other blocks than it has tensors of, before a network of so many is made.

    transformers would make up the weights of blocks that are missing, and leave out what is beyond the number.
    """
    held = {int(found[1]) for each in reader.tensors if (found := BLOCK.search(each.name))}
    count = max(held, default=-1) + 1
    for name, field in reader.fields.items():
        if name.endswith(".block_count") and int(field.parts[field.data[0]][0]) != count:
            raise InputError(
                f"{path}: its header says {int(field.parts[field.data[0]][0]):,} blocks, and it has tensors of "
                f"{count:,}; it is damaged, or a part of several files: give the whole"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GgufFile:
    """The file that a network's weights are of."""

    path: Path

    def weights(self) -> "Weights":
        """What its blocks say, to be asked weight by weight.

        Raises
        ------
        InputError
            The file is not there any more, or damaged.
        """
        return Weights(_opened(self.path).tensors)


class Weights:
    """The matrices of a GGUF file, by their numbers."""

    def __init__(self, tensors: Any) -> None:
        self.matrices = [each for each in tensors if len(each.shape) == 2 and each.tensor_type.name not in FLOATS]
        self.rows: dict[str, dict[bytes, int]] = {}  # of a tensor: what identifies a row -> which it is

    def scales(self, weight: torch.Tensor) -> Scales | str | None:
        """The scales of a weight [N, K] whose rows are all of one tensor; the type's name where it is not read.

        None: no matrix of blocks in the file has these rows.
        """
        wanted = _digests(weight.detach().cpu().float().numpy())
        sizes = [weight.shape[1], weight.shape[0]]  # as GGUF tells them
        for each in self.matrices:
            if each.shape.tolist() != sizes:
                continue
            rows = self._rows(each)
            if not all(row in rows for row in wanted):
                continue
            kind = TYPES.get(each.tensor_type.name)
            own = each.data.reshape(weight.shape[0], -1)[[rows[row] for row in wanted]]
            return each.tensor_type.name if kind is None else scales_of(kind, own)
        return None

    def _rows(self, tensor: Any) -> dict[bytes, int]:
        from gguf import dequantize

        if tensor.name not in self.rows:
            reals = dequantize(tensor.data, tensor.tensor_type).reshape(int(tensor.shape[1]), -1)
            self.rows[tensor.name] = {row: place for place, row in enumerate(_digests(reals))}
        return self.rows[tensor.name]


def _digests(rows: Floats) -> list[bytes]:
    """What identifies each row of a matrix."""
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(rows, np.float32)]
