"""Results as JSON and CSV text, and the files that keep them."""

import dataclasses
import enum
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.files import write_atomic
from bitwright.studies.compare import Comparison
from bitwright.studies.frontier import Frontier
from bitwright.studies.simulation import Simulation, Simulations

SCHEMA_VERSION = 1
SUFFIXES = (".html", ".json", ".csv")
SIMULATED = (".json", ".csv")
NOT_ASCII = re.compile(r"[^\n -~]")


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses become mappings, NaN and infinities null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
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
    return value if isinstance(value, bool | int | str | None) else str(value)


def to_json(record: Mapping[str, Any]) -> str:
    """The record as JSON text, its schema version first; in strings, what a terminal would act upon is escaped."""
    said = json.dumps(
        plain({"schema_version": SCHEMA_VERSION, **record}), indent=2, allow_nan=False, ensure_ascii=False
    )
    return NOT_ASCII.sub(lambda each: each[0] if each[0].isprintable() else json.dumps(each[0])[1:-1], said)


def check_out(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuse, before anything runs, a file whose form is unknown or whose folder does not exist.

    Raises
    ------
    InputError
        Saying which forms there are.
    """
    if path.suffix not in suffixes:
        raise InputError(f"{path} has no known form; end its name in {', '.join(suffixes[:-1])} or {suffixes[-1]}")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} of {path.name} does not exist; make it first")


def write_comparison(comparison: Comparison | Frontier, path: Path) -> None:
    """Write it as `.html` (a page), `.json` (rows, parameters, sources, provenance) or `.csv` (rows only)."""
    from bitwright.reports.frontier import frontier_record
    from bitwright.reports.records import comparison_record

    check_out(path)
    if path.suffix == ".csv":
        write_atomic(path, comparison.frame().to_csv(index=False).encode())
    elif path.suffix == ".html":
        from bitwright.reports.page import page_of

        write_atomic(path, page_of(comparison).encode())
    else:
        record = comparison_record(comparison) if isinstance(comparison, Comparison) else frontier_record(comparison)
        write_atomic(path, f"{to_json(record)}\n".encode())


def write_simulations(simulations: Mapping[str, Simulation], record: Mapping[str, Any], path: Path) -> None:
    """Write them as `.json` (the record) or `.csv` (a line per site and machine)."""
    check_out(path, SIMULATED)
    if path.suffix == ".json":
        write_atomic(path, f"{to_json(record)}\n".encode())
    else:
        write_atomic(path, Simulations(simulations).frame("sites").to_csv(index=False).encode())
