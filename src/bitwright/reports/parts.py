"""A text picture of the parts of an array in time: who works how long, who waits for whom."""

from collections.abc import Mapping
from typing import Any

from bitwright.units import number

WIDTH = 48
WORKS, WAITS, ABSENT = "█", "░", " "


def parts_picture(timeline: Mapping[str, Any], width: int = WIDTH) -> list[str]:
    r"""Lines that draw `accelerators.dynamic_precision.parts.timeline_of`, `width` characters for the longest block.

    Examples
    --------
    >>> part = {"rows": 2, "cols": 3, "m": 5, "n": 7, "start": 0, "end": 50, "busy": 0.9}
    >>> late = {**part, "start": 50, "end": 100}
    >>> one = {"cycles": 50, "waits": 0, "busy": 0.9}
    >>> parts = {"a8w8": part, "a4w4": late}
    >>> figures = {"group": 0, "block": 1, "k": 64, "cycles": 100, "schedule_wait": 0, "total_cycles": 300}
    >>> print(*parts_picture({**figures, "parts": parts, "totals": dict.fromkeys(parts, one)}, 8), sep="\n")
    The longest block (block 1 of group 0, 64 of the reduction) takes 100 cycles:
      a8w8  2 x 3 bit groups, 5 x 7 sums  |████    |  0 to 50, 90.0 % of its multipliers busy
      a4w4  2 x 3 bit groups, 5 x 7 sums  |    ████|  50 to 100, 90.0 % of its multipliers busy
    All blocks take 300 cycles; at work (of these, multipliers busy), waiting for the longest part:
      a8w8  50 cycles (90.0 %), 0 cycles
      a4w4  50 cycles (90.0 %), 0 cycles
    """
    parts, totals = timeline["parts"], timeline["totals"]
    shapes = {
        name: f"{part['rows']} x {part['cols']} bit groups, {part['m']} x {part['n']} sums"
        for name, part in parts.items()
        if part["end"] > part["start"]
    }
    across = max((len(shape) for shape in shapes.values()), default=0)
    wait = timeline["schedule_wait"]
    scheduled = f" after {wait:,} cycles of waiting for its schedule" if wait else ""
    last = max(parts, key=lambda name: parts[name]["end"])
    lines = [
        f"The longest block (block {timeline['block']} of group {timeline['group']}, {timeline['k']} of the reduction) "
        f"takes {timeline['cycles']:,} cycles{scheduled}:"
    ]
    for name, part in parts.items():
        if name not in shapes:
            lines.append(f"  {name}  no such rows or columns")
            continue
        waits = timeline["cycles"] - part["end"] if part["start"] == 0 else 0
        waiting = f", waits {waits:,} for {last}" if waits and _side_by_side(parts) else ""
        lines.append(
            f"  {name}  {shapes[name]:<{across}}  |{_bar(part, timeline['cycles'], width, bool(waiting))}|  "
            f"{part['start']:,} to {part['end']:,}, {_percent(part['busy'])} of its multipliers busy{waiting}"
        )
    lines.append(
        f"All blocks take {timeline['total_cycles']:,} cycles; at work (of these, multipliers busy), waiting for the "
        "longest part:"
    )
    lines += [
        f"  {name}  {total['cycles']:,} cycles ({_percent(total['busy'])}), {total['waits']:,} cycles"
        for name, total in totals.items()
        if total["cycles"]
    ]
    return lines


def _side_by_side(parts: Mapping[str, Any]) -> bool:
    return all(part["start"] == 0 for part in parts.values())


def _bar(part: Mapping[str, Any], cycles: int, width: int, waits: bool) -> str:
    """A part at work, at least one character of it, between what it waits for before and after."""
    start = min(width - 1, round(width * part["start"] / cycles))
    end = max(start + 1, round(width * part["end"] / cycles))
    return ABSENT * start + WORKS * (end - start) + (WAITS if waits else ABSENT) * (width - end)


def _percent(share: float) -> str:
    return f"{number(100 * share, 3)} %"
