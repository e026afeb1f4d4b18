"""Architectures that other tools describe, as machines of ours: what maps, and by name what does not."""

from bitwright.exchange.machines.architecture import Imported
from bitwright.exchange.machines.forms import FOREIGN, check_filled_in, form_of, imported

__all__ = ["FOREIGN", "Imported", "check_filled_in", "form_of", "imported"]
