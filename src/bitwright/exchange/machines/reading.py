"""Values of another tool's YAML, each checked where it stands."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.errors import InputError
from bitwright.networks.shape_files.layers import brief, name_of
from bitwright.strict_yaml import Document, Place

LARGEST = 2**62
MOST_ITEMS = 64


@dataclasses.dataclass(frozen=True)
class Fields:
    """A mapping of a document, and where it stands."""

    document: Document
    place: Place
    data: Mapping[str, Any]

    def error(self, key: str, expected: str) -> InputError:
        """What is wrong with a key."""
        given = f"{key} is {brief(self.data[key])}" if key in self.data else f"key {key!r} is missing"
        return InputError(f"{self.document.where((*self.place, key))}: {given}; {expected} is expected")

    def mapping(self, key: str) -> "Fields":
        """A mapping of names to values."""
        given = self.data.get(key)
        if not isinstance(given, Mapping) or not all(isinstance(each, str) and name_of(each, "") for each in given):
            raise self.error(key, "a mapping of names to values")
        return Fields(self.document, (*self.place, key), given)

    def mappings(self, key: str) -> list["Fields"]:
        """A list of mappings."""
        return [Fields(self.document, (*self.place, key, i), each) for i, each in enumerate(self._list(key, Mapping))]

    def texts(self, key: str, known: Sequence[str] = ()) -> list[str]:
        """A list of words, of which each is known."""
        words = [str(each) for each in self._list(key, str)]
        if known and not set(words) <= set(known):
            raise self.error(key, f"a list of {', '.join(known)}")
        return words

    def integers(self, key: str) -> list[int]:
        """A list of whole numbers of at least one."""
        numbers = self._list(key, int)
        if not all(self._is_count(each) for each in numbers):
            raise self.error(key, "a list of whole numbers of at least 1")
        return [int(each) for each in numbers]

    def integer(self, key: str) -> int:
        """A whole number of at least one."""
        given = self.data.get(key)
        if not self._is_count(given):
            raise self.error(key, "a whole number of at least 1")
        return int(given)  # type: ignore[arg-type]

    def number(self, key: str) -> float:
        """A finite number of at least zero; text such as 1e-9, which YAML does not take for one, is one."""
        given = self.data.get(key)
        try:
            value = float(given) if isinstance(given, int | float | str) and not isinstance(given, bool) else math.nan
        except (ValueError, OverflowError):
            value = math.nan
        if not 0 <= value < LARGEST:
            raise self.error(key, "a number of at least 0")
        return value

    def text(self, key: str) -> str:
        """A text that is not empty."""
        given = self.data.get(key)
        if not isinstance(given, str) or not given.strip():
            raise self.error(key, "a text")
        return given.strip()

    def _list(self, key: str, kind: type) -> list[Any]:
        given = self.data.get(key)
        if not isinstance(given, list) or len(given) > MOST_ITEMS or not all(isinstance(each, kind) for each in given):
            raise self.error(key, "a list")
        return given

    @staticmethod
    def _is_count(given: Any) -> bool:
        return isinstance(given, int) and not isinstance(given, bool) and 0 < given < LARGEST
