"""The command line with all its verbs, which join `app` when they are imported."""

from bitwright.cli import (
    circuits,
    compare,
    evaluate,
    explain,
    export,
    lists,
    nodes,
    reproduce,
    schema,
    search,
    simulate,
    sweep,
    train,
)
from bitwright.cli.app import app

__all__ = [
    "app",
    "circuits",
    "compare",
    "evaluate",
    "explain",
    "export",
    "lists",
    "nodes",
    "reproduce",
    "schema",
    "search",
    "simulate",
    "sweep",
    "train",
]
