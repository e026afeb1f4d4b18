"""What became of every node of a file, for reports that must account for all of them."""

import dataclasses
import enum

from bitwright.networks.onnx.node import Node

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
    """A node, what it became, and the path of the module that computes it (or the product that it joined)."""

    node: Node
    became: Became
    path: str = ""

    def below(self, path: str) -> "Built":
        """The same, of a graph that lies at a path."""
        return dataclasses.replace(self, path=f"{path}.{self.path}" if self.path else "")
