"""What a command leaves behind besides its result is said on stderr: where, how large, what for."""

from pathlib import Path

from bitwright.cli.telling import tell


def kept(file: Path, what_for: str) -> None:
    """Say that a file is there."""
    if file.is_file():
        tell(f"bitwright: {file} ({size(file.stat().st_size)}) keeps {what_for}")


def removed(files: list[Path], why: str) -> None:
    """Remove files that are of no use any more, and say so."""
    there = [file for file in files if file.is_file()]
    total = sum(file.stat().st_size for file in there)
    for file in there:
        file.unlink()
    if there:
        named = " and ".join(map(str, there))
        tell(f"bitwright: {named} ({size(total)}) removed: {why}")


def size(count: int) -> str:
    """Bytes for people.

    Examples
    --------
    >>> size(999), size(171_400_000)
    ('999 B', '171 MB')
    """
    value, units = float(count), ["B", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
