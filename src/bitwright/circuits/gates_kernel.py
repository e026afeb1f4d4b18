"""The kernel that simulates a netlist, 64 streams in every word. Twin: `bitwright.circuits.reference`."""

import numba
import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]


@numba.njit(cache=True, inline="always")
def _popcount(word: np.uint64) -> np.int64:
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True)
def _evaluated(truth: np.uint64, arity: int, fanin: Numbers, values: Words, word: int) -> np.uint64:
    """What a gate says: for every input word of its table that gives 1, the streams that have it."""
    found = np.uint64(0)
    for at in range(1 << arity):
        if (truth >> np.uint64(at)) & np.uint64(1):
            term = ~np.uint64(0)
            for i in range(arity):
                value = values[fanin[i], word]
                term &= value if (at >> i) & 1 else ~value
            found |= term
    return found


@numba.njit(cache=True)
def _put(
    values: Words, net: int, words: Words, rises: npt.NDArray[np.int64], falls: npt.NDArray[np.int64], valid: Words
) -> bool:
    """Write a net, count its changes; whether there are any."""
    moved = False
    for word in range(len(words)):
        before, after = values[net, word], words[word]
        if before != after:
            moved = True
            rises[net] += _popcount(~before & after & valid[word])
            falls[net] += _popcount(before & ~after & valid[word])
            values[net, word] = after
    return moved


@numba.njit(cache=True)
def _settle(
    tables: Words,
    fanin: Numbers,
    arity: Numbers,
    result: Numbers,
    values: Words,
    later: Words,
    rises: npt.NDArray[np.int64],
    falls: npt.NDArray[np.int64],
    valid: Words,
) -> None:
    """Every gate after those that it reads."""
    for gate in range(len(tables)):
        for word in range(values.shape[1]):
            later[gate, word] = _evaluated(tables[gate], arity[gate], fanin[gate], values, word)
        _put(values, result[gate], later[gate], rises, falls, valid)


@numba.njit(cache=True)
def _step(
    tables: Words,
    fanin: Numbers,
    arity: Numbers,
    result: Numbers,
    values: Words,
    later: Words,
    rises: npt.NDArray[np.int64],
    falls: npt.NDArray[np.int64],
    valid: Words,
) -> bool:
    """Every gate once, from what all nets were before; whether any changed."""
    moved = False
    for gate in range(len(tables)):
        for word in range(values.shape[1]):
            later[gate, word] = _evaluated(tables[gate], arity[gate], fanin[gate], values, word)
    for gate in range(len(tables)):
        moved |= _put(values, result[gate], later[gate], rises, falls, valid)
    return moved


@numba.njit(cache=True)
def simulate(
    tables: Words,
    fanin: Numbers,
    arity: Numbers,
    result: Numbers,
    data: Numbers,
    state: Numbers,
    values: Words,
    driven: Numbers,
    stimulus: npt.NDArray[np.uint64],
    watched: Numbers,
    steps: int,
    rises: npt.NDArray[np.int64],
    falls: npt.NDArray[np.int64],
    valid: Words,
) -> npt.NDArray[np.uint64]:
    """Watched nets [clocks, watched, words], of driven ones [clocks, driven, words]; `values` [nets, words] go on.

    With `steps` of 0 every gate settles at once. Otherwise each takes one unit of time, for so many units: changes on
    the way are counted too. Changes of nets are added to `rises` and `falls`, of the streams that are `valid`.
    """
    clocks, words = stimulus.shape[0], values.shape[1]
    seen = np.empty((clocks, len(watched), words), np.uint64)
    held = np.empty((len(state), words), np.uint64)
    later = np.empty((len(tables), words), np.uint64)
    for clock in range(clocks):
        for i in range(len(driven)):
            _put(values, driven[i], stimulus[clock, i], rises, falls, valid)
        if steps == 0:
            _settle(tables, fanin, arity, result, values, later, rises, falls, valid)
        for _ in range(steps):
            if not _step(tables, fanin, arity, result, values, later, rises, falls, valid):
                break
        for i in range(len(watched)):
            seen[clock, i] = values[watched[i]]
        for i in range(len(state)):
            held[i] = values[data[i]]
        for i in range(len(state)):
            _put(values, state[i], held[i], rises, falls, valid)
    return seen
