"""Cycles of one part of the array, in closed form.

A part of r rows and c columns of bit groups multiplies m x k x n; the port of a row takes fx neighbours of x, that of a
column fw of w (2 at 4 bits, 1 at 8). Folds are those of `bitwright.accelerators.systolic.dataflow`, of a stream that
tiles cut into `runs`, each of which is filled and drained where folds are not pipelined, and takes at least the r
cycles of the next weights (or of the last sums) where these move behind it. What filling and draining takes once is
`fill_cycles`. Forms: `ws` and `os` alone, as SCALE-Sim (Samajdar et al., ISPASS 2020, and its code) has them;
`ws-double` and `os-double` pipelined, with what rests exchanged behind the stream; `ws-hidden` and `ws-pipelined` with
one of both. An empty class takes no time. Twin: `bitwright.accelerators.dynamic_precision.reference`.
"""

from typing import Literal

import numpy as np

from bitwright.accelerators.systolic.dataflow import Timing
from bitwright.memory import IntArray

Dataflow = Literal["ws", "os"]
"""What rests: weights or sums."""
Form = Literal["ws", "ws-double", "os", "os-double", "ws-hidden", "ws-pipelined"]
FORMS: dict[Form, int] = {"ws": 0, "ws-double": 1, "os": 2, "os-double": 3, "ws-hidden": 4, "ws-pipelined": 5}
ONE: IntArray = np.ones(1, dtype=np.int64)


def form_of(dataflow: Dataflow, timing: Timing) -> Form:
    """The form of a dataflow under ideals; sums that rest leave behind the stream in any case.

    Examples
    --------
    >>> form_of("ws", Timing(hidden=True, pipelined=True)), form_of("os", Timing(hidden=True, pipelined=False))
    ('ws-double', 'os')
    """
    if dataflow == "os":
        return "os-double" if timing.pipelined else "os"
    if timing.hidden:
        return "ws-double" if timing.pipelined else "ws-hidden"
    return "ws-pipelined" if timing.pipelined else "ws"


def fill_cycles(form: Form, rows: int, cols: int) -> int:
    """What filling and draining takes once, beside the folds.

    Examples
    --------
    >>> [fill_cycles(form, 24, 32) for form in ("ws", "ws-double", "os-double", "ws-hidden", "ws-pipelined")]
    [0, 78, 78, 24, 54]
    """
    skew = rows + cols - 2
    once = {"ws-double": rows + skew, "os-double": rows + skew, "ws-hidden": rows, "ws-pipelined": skew}
    return once.get(form, 0)


def part_cycles(
    form: Form,
    *,
    m: IntArray,
    k: IntArray,
    n: IntArray,
    rows: IntArray,
    cols: IntArray,
    fx: int,
    fw: int,
    runs: IntArray = ONE,
) -> IntArray:
    """Cycles of parts, element-wise; arrays broadcast.

    Examples
    --------
    >>> one = {"m": 200, "k": 576, "n": 128, "rows": 24, "cols": 32}
    >>> one = {name: np.array([value]) for name, value in one.items()}
    >>> int(part_cycles("ws", **one, fx=1, fw=1)[0])  # 24 x 4 folds of 2 * 24 + 32 + 200 - 2 cycles
    26688
    >>> int(part_cycles("ws-double", **one, fx=1, fw=1)[0])  # 96 folds of 200
    19200
    >>> int(part_cycles("ws-double", **one, fx=2, fw=2)[0])  # 12 x 2 folds
    4800
    """
    arrays = np.broadcast_arrays(*(np.asarray(each, dtype=np.int64) for each in (m, k, n, rows, cols, runs)))
    flat = [np.ascontiguousarray(each).reshape(-1) for each in arrays]
    found = np.empty(flat[0].shape, dtype=np.int64)
    from bitwright.accelerators.dynamic_precision import cut_kernels

    cut_kernels.part_cycles(FORMS[form], np.stack(flat), fx, fw, found)
    return found.reshape(arrays[0].shape)
