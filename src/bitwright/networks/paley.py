"""Hadamard matrices of orders 12, 20, 28, 36, 52 and 60, by Paley's second construction (J. Math. Phys. 12, 1933).

S of order q + 1 is symmetric, 0 on its diagonal and 1 or -1 elsewhere, with S S' = q I: in the field of q elements,
q = 1 modulo 4, entry i, j is 1 where the difference of the elements i and j is a square and -1 where it is none, with a
border of ones. Then [[S + I, S - I], [S - I, -S - I]] is a symmetric Hadamard matrix of order 2 (q + 1). A product with
it is S on sums and differences of both halves, so that it takes q + 1 additions per element, half its order.
"""

import functools

import torch

FIELDS = {12: (5, 1), 20: (3, 2), 28: (13, 1), 36: (17, 1), 52: (5, 2), 60: (29, 1)}
"""Order -> a prime and its power, 1 or 2: how many elements the field has. All orders are 4 times an odd number."""
ODD = {order // 4: order for order in FIELDS}
"""An odd number -> the order that is 4 times as large."""


@functools.cache
def conference(order: int) -> torch.Tensor:
    """S [order / 2, order / 2] of one of the orders, int64.

    Examples
    --------
    >>> conference(12).sum(1).tolist()
    [5, 1, 1, 1, 1, 1]
    """
    prime, power = FIELDS[order]
    size = prime**power
    squares = {pow(each, 2, prime) for each in range(1, prime)}
    other = next(each for each in range(1, prime) if each not in squares)

    def sign(one: int, minus: int) -> int:
        """Of the difference of a + b r and c + d r, r being the root of a number that has none in the prime's field.

        In a field of a prime squared, an element is a square exactly where its norm a^2 - b^2 r^2 is one below.
        """
        a, b = (one % prime - minus % prime) % prime, (one // prime - minus // prime) % prime
        norm = a if power == 1 else (a * a - other * b * b) % prime
        return 0 if not a and not b else 1 if norm in squares else -1

    found = torch.ones(size + 1, size + 1, dtype=torch.int64)
    found[0, 0] = 0
    found[1:, 1:] = torch.tensor([[sign(i, j) for j in range(size)] for i in range(size)])
    return found


@functools.cache
def signs(order: int) -> torch.Tensor:
    """The Hadamard matrix [order, order] of one of the orders, or of 2, int64.

    Examples
    --------
    >>> found = signs(12)
    >>> bool((found @ found == 12 * torch.eye(12, dtype=torch.int64)).all())
    True
    """
    if order == 2:
        return torch.tensor([[1, 1], [1, -1]])
    s = conference(order)
    one = torch.eye(len(s), dtype=torch.int64)
    return torch.cat([torch.cat([s + one, s - one], 1), torch.cat([s - one, -s - one], 1)])


@functools.cache
def factors(order: int) -> tuple[int, ...] | None:
    """Orders, and 2s behind them, whose Kronecker product is a Hadamard matrix of `order`, with the fewest additions.

    None where no product of these is.

    Examples
    --------
    >>> factors(576), factors(1536)[:2], factors(44)
    ((12, 12, 2, 2), (12, 2), None)
    """
    twos = (order & -order).bit_length() - 1
    found = [each for each in _odd_factors(order >> twos) if 2 * len(each) <= twos]
    if not found:
        return None
    return min(
        ((*(ODD[odd] for odd in each), *[2] * (twos - 2 * len(each))) for each in found),
        key=lambda each: (sum(map(additions_of, each)), each),
    )


def additions_of(factor: int) -> int:
    """Additions per element that one factor takes."""
    return factor // 2


@functools.cache
def largest_order(width: int) -> int:
    """The largest order of a Hadamard matrix of `factors` that divides a width; 1: an odd one.

    Examples
    --------
    >>> largest_order(576), largest_order(1536), largest_order(11008), largest_order(7)
    (576, 1536, 256, 1)
    """
    twos = width & -width
    odd = width // twos
    return next(part * twos for part in range(odd, 0, -1) if odd % part == 0 and factors(part * twos) is not None)


def _odd_factors(odd: int, least: int = 1) -> list[tuple[int, ...]]:
    """The ways to write an odd number as a product of those of `ODD`, in ascending order from `least` on."""
    if odd == 1:
        return [()]
    own = [each for each in ODD if each >= least and odd % each == 0]
    return [(each, *rest) for each in own for rest in _odd_factors(odd // each, each)]
