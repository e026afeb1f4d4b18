"""`schema`: the JSON Schema of what a verb prints with `--json`."""

import json
import sys
from typing import Annotated

import typer

from bitwright.cli import names
from bitwright.cli.app import app
from bitwright.cli.working import working
from bitwright.errors import unknown_name

Verb = Annotated[
    str | None, typer.Argument(metavar="[VERB]", help="A verb that has --json.", autocompletion=names.verbs)
]


@app.command()
def schema(verb: Verb = None) -> None:
    """Print the JSON Schema of what a verb prints with --json; without VERB, list the tables that --out writes."""
    with working():
        from bitwright.reports.verbs import VERBS, print_verbs, verb_schema

    if verb is None:
        from bitwright.reports.tables import standard_console

        print_verbs(standard_console())
        return
    if verb not in VERBS:
        raise unknown_name("verb with --json", verb, VERBS)
    sys.stdout.write(json.dumps(verb_schema(verb), indent=2, ensure_ascii=False) + "\n")
