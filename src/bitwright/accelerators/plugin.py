"""The entry point group of machines, and what is wrong with an object that somebody's package registers there."""

from typing import Any

import pydantic

from bitwright import registry
from bitwright.accelerators.protocol import Accelerator
from bitwright.settings import setting


def fault(found: Any) -> str | None:
    """Why this is no accelerator, if it is none, in a clause."""
    if not isinstance(found, type):
        return f"registers an object of type {type(found).__name__}; an accelerator is a class"
    if not issubclass(found, pydantic.BaseModel):
        return f"registers the class {found.__name__}, which is none of pydantic's models"
    for name, field in found.model_fields.items():
        setting(name, field, field.get_default(call_default_factory=True))
    declared = {*dir(found), *found.model_fields}
    members = ("summary", "needs_codes", "clock_mhz", "peak_macs_per_cycle", "supports", "run", "area", "parameters")
    missing = [name for name in members if name not in declared]
    if missing:
        return f"registers a model without {', '.join(missing)}, which is no accelerator"
    if any(field.is_required() for field in found.model_fields.values()):
        return None
    try:
        built = found()
    except pydantic.ValidationError as error:
        return f"registers a machine whose defaults are refused: {error.errors()[0]['msg']}"
    if not isinstance(built, Accelerator) or not isinstance(built.summary, str):
        return "registers a machine without a summary in words"
    built.parameters()
    return None


GROUP = registry.group("bitwright.accelerators", fault)
