"""Tables as files that other programs read: CSV, or Parquet where pyarrow is installed.

Names in them are whoever made them. A spreadsheet computes a cell that begins like a formula, so that in CSV such texts
get an apostrophe in front, as spreadsheets write texts themselves; in Parquet texts are what they are.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from bitwright.errors import InputError
from bitwright.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd

CSV, PARQUET = ".csv", ".parquet"
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
        If it cannot be written, or for Parquet without pyarrow.
    """
    if path.suffix == PARQUET:
        check_parquet()
        content = io.BytesIO()
        frame.to_parquet(content, engine="pyarrow", index=False)
        write_atomic(path, content.getvalue())
    else:
        write_atomic(path, _csv(_harmless(frame)).encode())


def _csv(frame: "pd.DataFrame") -> str:
    """Lines that end with a line feed; what has one in it, or a carriage return, is in quotes."""
    text = frame.to_csv(index=False, lineterminator="\r\n")  # so that both are quoted
    return '"'.join(part if i % 2 else part.replace("\r\n", "\n") for i, part in enumerate(text.split('"')))


def _harmless(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The table with an apostrophe before each text, headers too, that begins like a formula."""
    import pandas as pd

    typed = frame.convert_dtypes()
    texts: pd.DataFrame = typed.select_dtypes("string").apply(
        lambda column: column.mask(column.str.startswith(FORMULA, na=False), "'" + column)
    )
    columns = {name: texts[name] if name in texts else typed[name] for name in typed.columns}
    return pd.DataFrame({f"'{name}" if name.startswith(FORMULA) else name: each for name, each in columns.items()})
