"""Boolean functions as Liberty files write them: `!`, `'`, `^`, `*`, `&`, a space, `+`, `|`, parentheses, 0 and 1.

Inversion binds most, then exclusive or, then and, then or, which is Liberty's order and not that of C.
"""

import re
from collections.abc import Mapping, Sequence

from bitwright.circuits.netlist import MOST_INPUTS, table
from bitwright.errors import InputError

_TOKEN = re.compile(r"\s*([A-Za-z_][\w\[\].]*|[01!'*&+|^()])")


def names_in(text: str) -> list[str]:
    """The pins in a function, in alphabetical order."""
    return sorted({token for token in _tokens(text) if token[0].isalpha() or token[0] == "_"})


def truth_table(text: str, inputs: Sequence[str]) -> int:
    """The truth table of a function of these pins, the first being the lowest bit of the index.

    Raises
    ------
    InputError
        Text that is no function, a pin that is none of `inputs`, more of them than a table holds.

    Examples
    --------
    >>> bin(truth_table("(!(A B))", ["A", "B"])), bin(truth_table("A ^ B'", ["A", "B"]))
    ('0b111', '0b1001')
    >>> truth_table("A ^ B C", "ABC") == truth_table("(A ^ B) C", "ABC")
    True
    """
    if len(inputs) > MOST_INPUTS:
        raise InputError(f"a function of {len(inputs)} pins is given, and at most {MOST_INPUTS} are read")
    tokens = _tokens(text)

    def value(*bits: int) -> bool:
        reader = _Reader(tokens, dict(zip(inputs, map(bool, bits), strict=True)), text)
        found = reader.any_of()
        if reader.at != len(tokens):
            raise InputError(f"{text[:80]!r} is no function: {tokens[reader.at]!r} is one too many")
        return found

    return table(len(inputs), value)


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise InputError(
                f"{text[:80]!r} is no function: {text[at:].strip()[:1]!r} is neither a pin nor an operator"
            )
        found.append(match[1])
        at = match.end()
    return found


class _Reader:
    """Evaluates by descent: or, and, exclusive or, not."""

    def __init__(self, tokens: Sequence[str], values: Mapping[str, bool], text: str) -> None:
        self.tokens, self.values, self.text, self.at = tokens, values, text, 0

    def any_of(self) -> bool:
        found = self.all_of()
        while self._next("+", "|"):
            found |= self.all_of()
        return found

    def all_of(self) -> bool:
        found = self.odd_of()
        while self._next("*", "&") or (self.at < len(self.tokens) and self.tokens[self.at] not in "+|)"):
            found &= self.odd_of()
        return found

    def odd_of(self) -> bool:
        found = self.one()
        while self._next("^"):
            found ^= self.one()
        return found

    def one(self) -> bool:
        if self._next("!"):
            return not self.one()
        if self._next("("):
            found = self.any_of()
            if not self._next(")"):
                raise InputError(f"{self.text[:80]!r} is no function: a parenthesis is not closed")
        else:
            word = self.tokens[self.at] if self.at < len(self.tokens) else ""
            known = {"0": False, "1": True, **self.values}
            if word not in known:
                raise InputError(f"{self.text[:80]!r} is no function of {', '.join(self.values) or 'no pins'}")
            self.at += 1
            found = known[word]
        while self._next("'"):
            found = not found
        return found

    def _next(self, *tokens: str) -> bool:
        there = self.at < len(self.tokens) and self.tokens[self.at] in tokens
        self.at += there
        return there
