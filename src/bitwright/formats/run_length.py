"""Run-length coding of slice vectors, bit for bit.

Panacea stores the vectors of high-order slices run-length coded (arXiv 2412.10059, from summaries); the layout is
ours: a stored vector is an entry of a run (how many skipped vectors stand before it, `run_bits` bits) and its slices (4
bits each). A longer run ends in a filler, a stored vector that equals the skipped one. Skipped vectors at the end need
no entry, because the count of vectors is known. The checksum is not part of what a machine stores; it makes damage an
error.
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
import numpy.typing as npt

from bitwright.errors import InputError
from bitwright.later import torch

SLICE_BITS = 4
RUN_BITS = range(1, 9)

Bits = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunLengthStream:
    """Coded vectors.

    Attributes
    ----------
    data : bytes
        Entries, most significant bit first, filled up with zeros to whole bytes.
    vectors, entries : int
        How many vectors the stream stands for, and how many entries it has.
    length : int
        Slices of a vector.
    skipped : int
        The slice that a skipped vector is full of, 0 .. 15 (two's complement if signed).
    run_bits : int
        Bits of a run.
    checksum : int
        CRC-32 of all of this.
    """

    data: bytes
    vectors: int
    entries: int
    length: int
    skipped: int
    run_bits: int
    checksum: int

    @property
    def bits(self) -> int:
        """What a machine stores, in bits."""
        return self.entries * (self.run_bits + SLICE_BITS * self.length)


def run_length_encode(vectors: torch.Tensor, skipped: int, run_bits: int) -> RunLengthStream:
    """Code vectors [V, length] of 4-bit slices, signed or unsigned, of which those full of `skipped` are left out.

    Raises
    ------
    ValueError
        Vectors or a skipped slice that are not 4-bit integers, or a run of no or more than 8 bits.
    """
    _check_run_bits(run_bits)
    if vectors.dim() != 2:
        raise ValueError(f"vectors are coded as [count, length], not as {tuple(vectors.shape)}")
    if vectors.numel() and not (int(vectors.min()) >= -8 and int(vectors.max()) <= 15):
        raise ValueError(f"slices have 4 bits, -8 .. 15, and {int(vectors.min())} .. {int(vectors.max())} were given")
    if not -8 <= skipped <= 15:
        raise ValueError(f"slices have 4 bits, -8 .. 15, and the skipped one is {skipped}")
    slices = (vectors.to(torch.int64) % 16).cpu().numpy()
    stored, runs = _stored((slices == skipped % 16).all(1), run_bits)
    fields = [_to_bits(runs[:, None], run_bits), _to_bits(slices[stored], SLICE_BITS)]
    data = np.packbits(np.concatenate(fields, axis=1).ravel()).tobytes()
    header = {"vectors": len(slices), "entries": len(runs), "length": slices.shape[1], "skipped": skipped % 16}
    checksum = _checksum(data, run_bits=run_bits, **header)
    return RunLengthStream(data=data, run_bits=run_bits, checksum=checksum, **header)


def run_length_decode(stream: RunLengthStream, *, signed: bool) -> torch.Tensor:
    """The vectors [V, length], int8.

    Raises
    ------
    InputError
        If the stream is cut, too long or damaged, or one that no coder writes.
    """
    _check(stream)
    entry_bits = stream.run_bits + SLICE_BITS * stream.length
    bits = np.unpackbits(np.frombuffer(stream.data, dtype=np.uint8))
    if bits[stream.bits :].any():
        raise _damaged("it has bits after its end")
    entries = bits[: stream.bits].reshape(stream.entries, entry_bits)
    runs = _to_integers(entries[:, None, : stream.run_bits])[:, 0]
    stored = _to_integers(entries[:, stream.run_bits :].reshape(stream.entries, stream.length, SLICE_BITS))
    places = np.cumsum(runs + 1) - 1
    if stream.entries and places[-1] >= stream.vectors:
        raise _damaged(f"its runs stand for more than {stream.vectors} vectors")
    slices = np.full((stream.vectors, stream.length), stream.skipped, dtype=np.int64)
    slices[places] = stored
    again, again_runs = _stored((slices == stream.skipped).all(1), stream.run_bits)
    if len(again_runs) != stream.entries or (again != places).any():
        raise _damaged("it has entries that no coder writes")
    return torch.from_numpy(np.where(slices > 7, slices - 16, slices) if signed else slices).to(torch.int8)


def run_length_entries(skipped: torch.Tensor, run_bits: int) -> torch.Tensor:
    """Entries of each sequence of a mask [..., V], True where a vector is skipped; int64 [...].

    Stored vectors, and a filler for every 2^run_bits vectors of a run.
    """
    _check_run_bits(run_bits)
    count = skipped.shape[-1]
    place = torch.arange(count, device=skipped.device).expand(skipped.shape)
    last_stored = torch.where(skipped, -1, place).cummax(-1).values if count else place
    filler = skipped & ((place - last_stored) % (1 << run_bits) == 0)
    return (~skipped | filler).sum(-1)


def _stored(skipped: npt.NDArray[np.bool_], run_bits: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places of the stored vectors, fillers included, and the run before each."""
    place = np.arange(len(skipped))
    last = np.maximum.accumulate(np.where(skipped, -1, place)) if len(skipped) else place
    filler = skipped & ((place - last) % (1 << run_bits) == 0)
    stored = np.flatnonzero(~skipped | filler)
    return stored, np.diff(stored, prepend=-1) - 1


def _to_bits(values: npt.NDArray[np.int64], width: int) -> Bits:
    """[N, fields] as bits [N, fields * width], most significant first."""
    shifts = np.arange(width - 1, -1, -1)
    return (values[..., None] >> shifts & 1).astype(np.uint8).reshape(len(values), values.shape[1] * width)


def _to_integers(bits: Bits) -> npt.NDArray[np.int64]:
    """Bits [..., width], most significant first, as integers [...]."""
    return (bits.astype(np.int64) << np.arange(bits.shape[-1] - 1, -1, -1)).sum(-1)


def _checksum(data: bytes, **header: int) -> int:
    return zlib.crc32(data, zlib.crc32(repr(sorted(header.items())).encode()))


def _check(stream: RunLengthStream) -> None:
    counts = stream.vectors, stream.entries, stream.length
    if stream.run_bits not in RUN_BITS or min(counts) < 0 or not 0 <= stream.skipped <= 15:
        raise _damaged("its header is impossible")
    size = -(-stream.bits // 8)
    if len(stream.data) != size:
        what = "is cut" if len(stream.data) < size else "has bytes after its end"
        raise _damaged(f"it {what}: {stream.entries} entries take {size} bytes and it has {len(stream.data)}")
    header = {key: getattr(stream, key) for key in ("vectors", "entries", "length", "skipped", "run_bits")}
    if _checksum(stream.data, **header) != stream.checksum:
        raise _damaged("its checksum is wrong")


def _check_run_bits(run_bits: int) -> None:
    if run_bits not in RUN_BITS:
        raise ValueError(f"a run has 1 to 8 bits, not {run_bits}")


def _damaged(why: str) -> InputError:
    return InputError(f"a run-length stream cannot be decoded: {why}; encode it anew")
