"""Results as JSON text, and the files that keep them."""

import dataclasses
import enum
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from bitwright.files import write_atomic
from bitwright.reports.schema import envelope
from bitwright.shown import Tabled, encodable
from bitwright.table_files import CSV, PARQUET, write_table

NOT_ASCII = re.compile(r"[^\n -~]")


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses become mappings, NaN and infinities null (as `schema` says of types)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, pydantic.BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {encodable(str(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    return _scalar(value)


def _scalar(value: Any) -> bool | int | float | str | None:
    if isinstance(value, enum.Enum):
        value = value.value
    elif hasattr(value, "item"):  # numpy's scalars
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | None) else encodable(str(value))


def to_json(verb: str, record: Mapping[str, Any]) -> str:
    """The record of a verb as JSON text; which it is, and the version of its shape, first.

    In strings, what a terminal would act upon is escaped.
    """
    text = json.dumps(plain({**envelope(verb), **record}), indent=2, allow_nan=False, ensure_ascii=False)
    return NOT_ASCII.sub(lambda each: each[0] if each[0].isprintable() else json.dumps(each[0])[1:-1], text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A file that a result goes to.

    Attributes
    ----------
    path : Path
        The file; its suffix says as what.
    table : str
        Which of the result's tables, for one.
    """

    path: Path
    table: str = ""


def write_result(
    result: Tabled, target: Target, text: Callable[[], str], page: Callable[[], str] | None = None
) -> None:
    """Write the result as a table, or its `text` (JSON) or its `page` (HTML), by the suffix."""
    if target.path.suffix in (CSV, PARQUET):
        write_table(result.frame(target.table), target.path)
    else:
        made = page if page is not None and target.path.suffix == ".html" else text
        write_atomic(target.path, made().encode())
