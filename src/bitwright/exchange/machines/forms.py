"""Which tool's architecture a document describes, by what is in it."""

import re

from bitwright.errors import InputError
from bitwright.exchange.machines import timeloop, zigzag
from bitwright.exchange.machines.architecture import Imported, machine_of
from bitwright.strict_yaml import Document

FOREIGN = re.compile(rf"^({'|'.join((zigzag.ARRAY, *timeloop.TOPS))})\s*:", re.MULTILINE)
"""What a text has that may be an architecture, before it is read as YAML."""
TEMPLATES = ("{{", "{%", "{#")
FORMS = {"ZigZag": (zigzag.is_architecture, zigzag.read), "Timeloop": (timeloop.is_architecture, timeloop.read)}


def check_filled_in(text: str, file: str) -> None:
    """Refuse a text with lines that Timeloop's front end would fill in."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith(TEMPLATES):
            raise InputError(
                f"{file}, line {number}: a template of Timeloop's front end, which is not run here; let the front end "
                "write the file out"
            )


def form_of(document: Document) -> str | None:
    """The tool whose architecture a document is; None where it is none of them."""
    return next((name for name, (matches, _) in FORMS.items() if matches(document.data)), None)


def imported(document: Document) -> Imported:
    """The machine that comes nearest to an architecture.

    Raises
    ------
    InputError
        It is no architecture, or one that nothing here comes near, with file and line.
    """
    form = form_of(document)
    if form is None:
        raise InputError(
            f"{document.file} is no architecture; a mapping with operational_array and memories (ZigZag), or with "
            "architecture (Timeloop, Accelergy) is expected"
        )
    try:
        return machine_of(FORMS[form][1](document))
    except ValueError as error:
        raise InputError(f"{document.file}: {error}") from error
