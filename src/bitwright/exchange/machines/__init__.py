"""Architectures that other tools describe, as machines of ours: what maps, and by name what does not."""

from bitwright.exchange.machines.architecture import Imported
from bitwright.exchange.machines.forms import FOREIGN, form_of, imported

__all__ = ["FOREIGN", "Imported", "form_of", "imported"]
