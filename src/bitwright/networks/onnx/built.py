"""What became of every node of a file, for reports that must account for all of them."""

import dataclasses
import enum
from collections.abc import Sequence

from bitwright.networks.onnx.node import Node

ENDS = ("QuantizeLinear", "DequantizeLinear")
NODES = "onnx_nodes"
"""The tool of a network that holds a tuple of `Built`, one for each node of its file."""


class Became(enum.StrEnum):
    """What became of a node."""

    MODULE = "module"
    CONSTANT = "constant"
    SHAPE = "shape"
    JOINED = "joined"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A node, what it became, and the path of the module that computes it (or the product that it joined).

    `also` are paths of modules that compute parts of it, where it is an operator on codes that was written out.
    """

    node: Node
    became: Became
    path: str = ""
    also: tuple[str, ...] = ()

    def below(self, path: str) -> "Built":
        """The same, of a graph that lies at a path."""
        also = tuple(f"{path}.{each}" for each in self.also)
        return dataclasses.replace(self, path=f"{path}.{self.path}" if self.path else "", also=also)


def together(built: Sequence[Built], original: Node) -> Built:
    """What became of one node of a file that was written out as several: its float operator's fate, and all paths."""
    computed = [each for each in built if each.became is Became.MODULE]
    if len(built) == 1 or not computed:
        return dataclasses.replace(built[0], node=original)
    main = next((each for each in computed if each.node.op not in ENDS), computed[0])
    return Built(
        node=original,
        became=Became.MODULE,
        path=main.path,
        also=tuple(each.path for each in computed if each is not main),
    )
