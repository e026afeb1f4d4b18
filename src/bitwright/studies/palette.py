"""Colours and shapes that are told apart on light and on dark ground, by most kinds of colour vision. Our choice."""

COLOURS = (
    "#7f8793",
    "#e07b39",
    "#2f9e77",
    "#c2549d",
    "#3f8ae0",
    "#9b6dd7",
    "#b59a1c",
    "#d9534f",
    "#3fa9b5",
    "#a0714f",
)
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "star",
    "cross",
    "hexagon",
    "triangle-down",
    "pentagon",
    "x",
)


def style_of(index: int) -> tuple[str, str]:
    """Colour and shape of the system at a place in a list; shapes shift when colours come again."""
    return COLOURS[index % len(COLOURS)], SYMBOLS[(index + index // len(COLOURS)) % len(SYMBOLS)]
