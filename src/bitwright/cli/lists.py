"""`models`, `methods`, `accelerators`, `systems`: what there is."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitwright.cli.app import app
from bitwright.cli.given import Json
from bitwright.cli.show import show
from bitwright.cli.working import working
from bitwright.errors import unknown_name

if TYPE_CHECKING:
    from bitwright.studies.catalogue import Entry

One = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show what can be set on this one.")]


@app.command()
def models(json: Json = False) -> None:
    """List the networks that have names."""
    from bitwright.networks.catalogue import models as entries
    from bitwright.reports.listings import print_listing

    records = [{"model": entry.name, "what it is": entry.summary} for entry in entries()]
    show(lambda: {"models": entries()}, lambda console: print_listing(records, console), json=json)


@app.command()
def methods(name: One = None, json: Json = False) -> None:
    """List the quantization methods, or the options of one."""
    with working():
        from bitwright.api import methods as entries

        found = entries()
    _list("method", found, name, json=json)


@app.command()
def accelerators(name: One = None, json: Json = False) -> None:
    """List the accelerators, or the parameters of one."""
    with working():
        from bitwright.api import accelerators as entries

        found = entries()
    _list("accelerator", found, name, json=json)


@app.command()
def systems(json: Json = False) -> None:
    """List the systems: which methods go with which machines."""
    with working():
        from bitwright.api import systems as entries

    from bitwright.reports.listings import print_listing

    found = [
        {
            "system": entry.name,
            "methods": list(entry.methods),
            "accelerators": list(entry.accelerators),
            "what it is": entry.summary,
        }
        for entry in entries()
    ]
    words = [
        {key: value if isinstance(value, str) else ", ".join(value) for key, value in one.items()} for one in found
    ]
    show(lambda: {"systems": found}, lambda console: print_listing(words, console), json=json)


def _list(kind: str, entries: "tuple[Entry, ...]", name: str | None, *, json: bool) -> None:
    from bitwright.reports.listings import print_listing

    records: list[dict[str, str]]
    if name is None:
        records = [{kind: entry.name, "what it is": entry.summary} for entry in entries]
        shown: Any = {f"{kind}s": entries}
    else:
        by_name = {entry.name: entry for entry in entries}
        if name not in by_name:
            raise unknown_name(kind, name, by_name)
        parameters = by_name[name].parameters
        records = [{"key": p.name, "default": str(p.default), "what it is": p.description} for p in parameters]
        shown = {kind: by_name[name]}
    show(lambda: shown, lambda console: print_listing(records, console), json=json)
