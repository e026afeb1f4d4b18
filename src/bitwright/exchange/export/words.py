"""Integers as hexadecimal text for a testbench: `$readmemh` of Verilog reads one word per line."""

import numpy as np

from bitwright.exchange.export.coded import Array

DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


def hex_digits(bits: int) -> int:
    """Digits of a word of so many bits.

    Examples
    --------
    >>> [hex_digits(bits) for bits in (4, 7, 8, 32)]
    [1, 2, 2, 8]
    """
    return -(-bits // 4)


def hex_words(values: Array, bits: int) -> bytes:
    r"""Integers in two's complement of `bits` bits, one per line, the last axis fastest.

    Examples
    --------
    >>> import numpy as np
    >>> hex_words(np.array([[1, -1], [7, -8]]), bits=4)
    b'1\nf\n7\n8\n'
    >>> hex_words(np.array([-2]), bits=7)
    b'7e\n'
    """
    flat = values.reshape(-1).astype(np.int64) & np.int64((1 << bits) - 1 if bits < 64 else -1)
    digits = hex_digits(bits)
    text = np.empty((len(flat), digits + 1), dtype=np.uint8)
    for place in range(digits):
        text[:, place] = DIGITS[(flat >> (4 * (digits - 1 - place))) & 15]
    text[:, digits] = ord("\n")
    return text.tobytes()
