"""Tables as files that other programs read: CSV, or Parquet where pyarrow is installed.

Names in them are whoever made them. A spreadsheet computes a cell that begins like a formula, so that in CSV such texts
get an apostrophe in front, as spreadsheets write texts themselves; in Parquet texts are what they are. Whole numbers of
more than 64 bits, which Parquet has no type for, are decimals of up to 38 digits in it.
"""

import decimal
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitwright.errors import InputError
from bitwright.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd

CSV, PARQUET = ".csv", ".parquet"
DIGITS = 38
"""Of a decimal in Parquet."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell of a spreadsheet begins with that is computed, or that it skips."""


def check_parquet() -> None:
    """Refuse Parquet where pyarrow is not installed; raises `InputError`."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(
            "Parquet files need pyarrow, which is not installed; pip install 'bitwright[parquet]'"
        ) from None


def write_table(frame: "pd.DataFrame", path: Path) -> None:
    """Write a table to `path`, by its suffix, whole or not at all.

    Raises
    ------
    InputError
        If it cannot be written; for Parquet without pyarrow, or of whole numbers that it cannot hold.
    """
    if path.suffix == PARQUET:
        check_parquet()
        content = io.BytesIO()
        import pyarrow

        try:
            _storable(frame, path).to_parquet(content, engine="pyarrow", index=False)
        except (pyarrow.ArrowException, OverflowError) as error:
            raise InputError(
                f"{path.name} cannot hold this table as Parquet ({_line(error)}); write {path.stem}{CSV} instead"
            ) from error
        write_atomic(path, content.getvalue())
    else:
        write_atomic(path, _csv(_harmless(frame)).encode())


def _line(error: Exception) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split())[:200]


def _storable(frame: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """The table with decimals in columns of whole numbers, one of which does not fit 64 bits."""
    wide = {}
    for name in (each for each in frame.columns if frame[each].dtype.kind == "O"):
        whole = [each for each in frame[name] if isinstance(each, int) and not isinstance(each, bool)]
        largest = max(map(abs, whole), default=0)
        if len(whole) != frame[name].notna().sum() or largest < 2**63:
            continue
        if largest >= 10**DIGITS:
            raise InputError(
                f"the column {name!r} has numbers of more than {DIGITS} digits, which Parquet cannot hold; write "
                f"{path.with_suffix(CSV).name} instead"
            )
        wide[name] = frame[name].map(lambda each: decimal.Decimal(each) if isinstance(each, int) else None)
    return frame.assign(**wide)


def _csv(frame: "pd.DataFrame") -> str:
    """Lines that end with a line feed; what has one in it, or a carriage return, is in quotes."""
    text = frame.to_csv(index=False, lineterminator="\r\n")  # so that both are quoted
    return '"'.join(part if i % 2 else part.replace("\r\n", "\n") for i, part in enumerate(text.split('"')))


def _harmless(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The table with an apostrophe before each text, headers too, that begins like a formula."""
    import pandas as pd

    typed = frame.convert_dtypes()
    columns = {
        name: each if pd.api.types.is_numeric_dtype(each.dtype) else each.astype(object).map(_quoted)
        for name, each in typed.items()
    }
    return pd.DataFrame({_quoted(name): each for name, each in columns.items()})


def _quoted(value: Any) -> Any:
    """A text that begins like a formula, behind an apostrophe; a column may hold texts beside numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
