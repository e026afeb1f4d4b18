"""Values of a YAML file, each checked where it stands, so that every mistake is one sentence with file and line."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.errors import InputError, unknown_name
from bitwright.settings import shown
from bitwright.strict_yaml import Document, Place

LARGEST = 1e30
Scalar = bool | int | float | str | None


class Reader:
    """What a document holds, with the line of everything that is wrong in it."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def where(self, place: Place) -> str:
        """File and line; only the file's name where lines are not known."""
        return self.document.where(place) if self.document.lines else self.document.file

    def error(self, place: Place, message: str) -> InputError:
        """The mistake at `place`, in one sentence."""
        return InputError(f"{self.where(place)}: {message}")

    def mapping(self, place: Place, given: Any, allowed: Sequence[str], *, what: str) -> dict[str, Any]:
        """A mapping that has only keys of `allowed`."""
        if not isinstance(given, Mapping):
            raise self.error(place, f"{what} is a mapping of keys to values, not {shown(given)}")
        for key in given:
            if key not in allowed:
                raise self.error((*place, str(key)), str(unknown_name(f"key of {what}", str(key), allowed)))
        return dict(given)

    def required(self, place: Place, data: Mapping[str, Any], key: str) -> Any:
        """The value of a key that must be there."""
        if key not in data:
            raise self.error(place, f"key {key!r} is missing")
        return data[key]

    def items(self, place: Place, given: Any) -> list[Any]:
        """A list; a single value is one of length one."""
        if given is None:
            raise self.error(place, f"{place[-1]} is empty")
        return list(given) if isinstance(given, list | tuple) else [given]

    def text(self, place: Place, given: Any) -> str:
        """A text that is not empty."""
        if not isinstance(given, str) or not given.strip():
            raise self.error(place, f"{_named(place)} is {shown(given)}; a name is expected")
        return given

    def choice(self, place: Place, given: Any, known: Sequence[str]) -> str:
        """One of several words."""
        if given not in known:
            raise self.error(place, f"{_named(place)} is {shown(given)}; it is {' or '.join(known)}")
        return str(given)

    def integer(self, place: Place, given: Any, least: int, most: int | None = None) -> int:
        """A whole number from `least` to `most`."""
        if isinstance(given, bool) or not isinstance(given, int) or given < least or (most and given > most):
            limit = f" and at most {most:,}" if most else ""
            raise self.error(
                place, f"{_named(place)} is {shown(given)}; a whole number of at least {least}{limit} is expected"
            )
        return given

    def number(self, place: Place, given: Any) -> int | float:
        """A finite number."""
        if isinstance(given, bool) or not isinstance(given, int | float) or not _is_finite(given):
            raise self.error(place, f"{_named(place)} is {shown(given)}; a number is expected")
        return given

    def scalar(self, place: Place, given: Any) -> Scalar:
        """A number, a text, true, false or null."""
        if not isinstance(given, bool | int | float | str | None) or (
            isinstance(given, int | float) and not _is_finite(given)
        ):
            raise self.error(place, f"{_named(place)} is {shown(given)}; a number, a text, true or false is expected")
        return given

    def scalars(self, place: Place, given: Any) -> dict[str, Scalar]:
        """A mapping of names to single values."""
        if not isinstance(given, Mapping):
            raise self.error(place, f"{_named(place)} is a mapping of keys to values, not {shown(given)}")
        return {str(key): self.scalar((*place, str(key)), value) for key, value in given.items()}


def _is_finite(number: float) -> bool:
    """Whether a number is one that can be computed with; a whole one may be beyond any float."""
    return -LARGEST <= number <= LARGEST


def _named(place: Place) -> str:
    return next((part for part in reversed(place) if isinstance(part, str)), "the study")
