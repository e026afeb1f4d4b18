"""Draws the block diagrams of `docs/circuits.md` as SVG, from lists of boxes and wires.

    python tools/draw_circuits.py [FOLDER]

A diagram is a grid. A box stands at (column, row), both may be halves; a register has a bar at its right end. A wire
leaves a box on the right and enters another one on the left; `back` leads it below all boxes, to what lies before.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 132, 46
STEP_X, STEP_Y = 196, 70
MARGIN = 24
FONT = "font-family='sans-serif' font-size='12'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    """A part: its lines of text, its place, and whether it is registers or something outside the circuit."""

    text: str
    at: tuple[float, float]
    register: bool = False
    outside: bool = False

    @property
    def left(self) -> float:
        """Edge of the box."""
        return MARGIN + self.at[0] * STEP_X

    @property
    def top(self) -> float:
        """Edge of the box."""
        return MARGIN + self.at[1] * STEP_Y

    @property
    def middle(self) -> float:
        """Height at which wires leave."""
        return self.top + HEIGHT / 2

    def drawn(self) -> Iterator[str]:
        """Elements of the picture."""
        style = "fill='none' stroke='none'" if self.outside else "fill='#eef3f8' stroke='#1f3b57'"
        yield f"<rect x='{self.left:g}' y='{self.top:g}' width='{WIDTH}' height='{HEIGHT}' rx='3' {style}/>"
        if self.register:
            yield f"<rect x='{self.left + WIDTH - 8:g}' y='{self.top:g}' width='8' height='{HEIGHT}' fill='#1f3b57'/>"
        lines = self.text.split("\n")
        for at, line in enumerate(lines):
            y = self.middle + 4 + 14 * (at - (len(lines) - 1) / 2)
            x = self.left + WIDTH / 2 - 4 * self.register
            yield f"<text x='{x:g}' y='{y:g}' text-anchor='middle' {FONT} fill='#111'>{escape(line)}</text>"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wire:
    """From one box to another, and what it carries."""

    start: str
    end: str
    text: str = ""
    back: bool = False
    enters: float = 0.0
    """Where it enters, in shares of the height from the middle."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagram:
    """Boxes by name, and wires."""

    title: str
    boxes: dict[str, Box]
    wires: tuple[Wire, ...]

    def svg(self) -> str:
        """The picture."""
        width = max(box.left for box in self.boxes.values()) + WIDTH + MARGIN
        lowest = max(box.top for box in self.boxes.values()) + HEIGHT
        backs = [wire for wire in self.wires if wire.back]
        height = lowest + MARGIN + 16 * len(backs)
        parts = [part for box in self.boxes.values() for part in box.drawn()]
        for wire in self.wires:
            below = lowest + 12 + 16 * backs.index(wire) if wire.back else 0.0
            parts += self._wire(wire, below)
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:g} {height:g}' role='img'>\n"
            f"<title>{escape(self.title)}</title>\n"
            "<defs><marker id='tip' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
            "<path d='M0 0 L8 4 L0 8 z' fill='#1f3b57'/></marker></defs>\n"
            f"<rect width='{width:g}' height='{height:g}' fill='white'/>\n" + "\n".join(parts) + "\n</svg>\n"
        )

    def _wire(self, wire: Wire, below: float) -> Iterator[str]:
        start, end = self.boxes[wire.start], self.boxes[wire.end]
        x, y = start.left + WIDTH, start.middle
        to_x, to_y = end.left, end.middle + wire.enters * HEIGHT
        if wire.back:
            path = f"M{x:g} {y:g} h12 V{below:g} H{to_x - 16:g} V{to_y:g} H{to_x:g}"
            at = (x + to_x) / 2, below - 3
        else:
            turn = to_x - 22
            path = f"M{x:g} {y:g} H{turn:g} V{to_y:g} H{to_x:g}"
            at = (x + turn) / 2, y - 4
        yield f"<path d='{path}' fill='none' stroke='#1f3b57' marker-end='url(#tip)'/>"
        if wire.text:
            yield (
                f"<text x='{at[0]:g}' y='{at[1]:g}' text-anchor='middle' font-family='sans-serif' font-size='10' "
                f"fill='#444'>{escape(wire.text)}</text>"
            )


PANACEA = Diagram(
    title="Panacea: an operator, its merger and the compensator",
    boxes={
        "x": Box(text="slices of x\n4 x 4 bits", at=(0, 0), outside=True),
        "w": Box(text="slices of w\n4 x 4 bits", at=(0, 1.5), outside=True),
        "take": Box(text="taken, or 0", at=(1, 1.5)),
        "products": Box(text="16 multipliers\n4 x 4 bits", at=(2, 0)),
        "sums": Box(text="16 sums\nof one kind", at=(3, 0), register=True),
        "shift": Box(text="shift by\nboth orders", at=(4, 0)),
        "merge": Box(text="+ accumulator\n32 bits", at=(5, 0.5)),
        "order": Box(text="shift by\norder of w", at=(2, 1.5)),
        "weights": Box(text="4 sums of\n- weights", at=(3, 1.5), register=True),
        "by_r": Box(text="x r, and 2^l", at=(4, 1.5)),
    },
    wires=(
        Wire(start="x", end="products", enters=-0.2),
        Wire(start="w", end="take"),
        Wire(start="take", end="products", enters=0.2),
        Wire(start="products", end="sums"),
        Wire(start="sums", end="shift"),
        Wire(start="shift", end="merge", enters=-0.2),
        Wire(start="take", end="order"),
        Wire(start="order", end="weights"),
        Wire(start="weights", end="by_r"),
        Wire(start="by_r", end="merge", enters=0.2),
    ),
)
APSQ = Diagram(
    title="APSQ: a lane of the reconfigurable engine",
    boxes={
        "tile": Box(text="a tile's sum\n19 bits", at=(0, 0), outside=True),
        "add": Box(text="+", at=(1, 0)),
        "quantize": Box(text=">> exponent,\nround, saturate", at=(2, 0)),
        **{f"bank{at}": Box(text=f"bank {at}\n8 bits", at=(3, at), register=True) for at in range(4)},
        **{f"shift{at}": Box(text="<< its exponent", at=(4, at)) for at in range(4)},
        "a": Box(text="A = 0 + 1", at=(5, 0.5)),
        "b": Box(text="s1: 2, or B = 2 + 3", at=(5, 2.5)),
        "c": Box(text="C = A + that", at=(6, 1.5)),
        "pick": Box(text="s0: bank 0, A or C", at=(7, 0.5)),
        "gate": Box(text="s2: or nothing", at=(8, 0.5)),
    },
    wires=(
        Wire(start="tile", end="add"),
        Wire(start="add", end="quantize"),
        *(Wire(start="quantize", end=f"bank{at}") for at in range(4)),
        *(Wire(start=f"bank{at}", end=f"shift{at}") for at in range(4)),
        Wire(start="shift0", end="a", enters=-0.2),
        Wire(start="shift1", end="a", enters=0.2),
        Wire(start="shift2", end="b", enters=-0.2),
        Wire(start="shift3", end="b", enters=0.2),
        Wire(start="a", end="c", enters=-0.2),
        Wire(start="b", end="c", enters=0.2),
        Wire(start="shift0", end="pick", enters=-0.3),
        Wire(start="a", end="pick"),
        Wire(start="c", end="pick", enters=0.3),
        Wire(start="pick", end="gate"),
        Wire(start="gate", end="add", back=True, enters=0.3, text="what is stored, by group"),
    ),
)
LPA = Diagram(
    title="LPA: the processing element",
    boxes={
        "x": Box(text="word of x", at=(0, 0), outside=True),
        "w": Box(text="word of w: 1 x 8,\n2 x 4, 4 x 2 bits", at=(0, 1.5), outside=True),
        "x_decoded": Box(text="decoder at the\nedge: sign, log2", at=(1, 0)),
        "w_decoded": Box(text="decoder at the\nedge: 4 lanes", at=(1, 1.5)),
        "rests": Box(text="weights rest", at=(2, 1.5), register=True),
        "logs": Box(text="logs + logs,\nsigns xor", at=(3, 0)),
        "linear": Box(text="fraction made\nlinear", at=(4, 0)),
        "align": Box(text="align, add", at=(5, 0)),
        "sums": Box(text="4 sums, by mode\n8, 4, 2 bits or exact", at=(6, 0), register=True),
    },
    wires=(
        Wire(start="x", end="x_decoded"),
        Wire(start="w", end="w_decoded"),
        Wire(start="x_decoded", end="logs", enters=-0.2),
        Wire(start="w_decoded", end="rests"),
        Wire(start="rests", end="logs", enters=0.2),
        Wire(start="logs", end="linear"),
        Wire(start="linear", end="align"),
        Wire(start="align", end="sums"),
        Wire(start="sums", end="align", back=True, enters=0.3, text="to itself, or the row below"),
    ),
)
DRIFT = Diagram(
    title="Drift, our reconstruction: a bit group between selectors at the cuts",
    boxes={
        "west": Box(text="x from west", at=(0, 0.5), outside=True),
        "east": Box(text="x from east", at=(0, 1.5), outside=True),
        "x": Box(text="selector\n8 bits", at=(1, 1)),
        "w": Box(text="w by the column", at=(0, 2.5), outside=True),
        "waits": Box(text="waits\n16 bits", at=(1, 2.5), register=True),
        "rests": Box(text="rests\n16 bits", at=(2, 2.5), register=True),
        "products": Box(text="4 multipliers\nof 4 x 4 bits", at=(3, 1)),
        "shift": Box(text="shifts by x's and\nw's width", at=(4, 1)),
        "above": Box(text="sums from above", at=(3, 2.5), outside=True),
        "below": Box(text="sums from below", at=(3, 3.5), outside=True),
        "side": Box(text="selector, or 0\nat the cut", at=(4, 3)),
        "sums": Box(text="+, 2 sums\n32 bits", at=(5, 2), register=True),
        "on": Box(text="x to both sides", at=(2, 0), register=True),
    },
    wires=(
        Wire(start="west", end="x", enters=-0.2),
        Wire(start="east", end="x", enters=0.2),
        Wire(start="x", end="products", enters=-0.2),
        Wire(start="x", end="on"),
        Wire(start="w", end="waits"),
        Wire(start="waits", end="rests"),
        Wire(start="rests", end="products", enters=0.2),
        Wire(start="products", end="shift"),
        Wire(start="shift", end="sums", enters=-0.2),
        Wire(start="above", end="side", enters=-0.2),
        Wire(start="below", end="side", enters=0.2),
        Wire(start="side", end="sums", enters=0.2),
    ),
)
DIAGRAMS = {"panacea": PANACEA, "apsq": APSQ, "lpa": LPA, "drift": DRIFT}


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    images = Path(__file__).parents[1] / "docs" / "images"
    parser.add_argument("folder", nargs="?", type=Path, default=images, help="where pictures go")
    folder = parser.parse_args().folder
    for name, diagram in DIAGRAMS.items():
        (folder / f"circuit-{name}.svg").write_text(diagram.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
