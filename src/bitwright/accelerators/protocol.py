"""What an accelerator is: frozen parameters that turn work into cost.

An accelerator is a class registered under the entry point group `bitwright.accelerators`, constructed with keyword
parameters only (a frozen pydantic model, so that a misspelt or impossible parameter is an error that names it). Its
defaults are the common substrate's. What only some machines have is a protocol of its own: a published configuration
that differs (`Published`), a vector unit (`Vectorised`), memory between sites (`Keeping`), and an explanation
(`Explaining`). `bitwright.accelerators.machine.Machine` is what all machines here are: it asks for a bill and a
dataflow and has everything else.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from bitwright.accelerators.cost import Area, Cost
from bitwright.methods.execution import Execution, OnChip
from bitwright.methods.plan import SitePlan
from bitwright.networks.flows import Flows
from bitwright.networks.sites import OtherOperation


@runtime_checkable
class Accelerator(Protocol):
    """A machine model. Instances are immutable; equal parameters give equal costs.

    Examples
    --------
    >>> from bitwright.accelerators.systolic import WeightStationary
    >>> isinstance(WeightStationary(rows=8, cols=8), Accelerator)
    True
    """

    summary: ClassVar[str]
    """One line for `bitwright accelerators`."""
    needs_codes: ClassVar[bool]
    """Whether costs depend on the operands' values (a machine that skips), not only on shapes and formats."""

    @property
    def clock_mhz(self) -> float:
        """Clock frequency, in MHz."""

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle with every multiplier busy, at 8 bits."""

    def supports(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""

    def run(self, work: Execution) -> Cost:
        """Cost of one execution of a site."""

    def area(self) -> Area:
        """Silicon area by component."""

    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value, for reports; units are in the names."""


@runtime_checkable
class Published(Protocol):
    """A class of machines whose published configuration differs from its defaults."""

    native: ClassVar[Mapping[str, Any]]
    """The parameters in which it differs."""


@runtime_checkable
class Vectorised(Protocol):
    """A machine that does what a network does beside products, too."""

    def vector_cost(self, operations: Sequence[OtherOperation]) -> Cost:
        """Cost of operators without products."""


@runtime_checkable
class Keeping(Protocol):
    """A machine that can keep activations on chip between sites."""

    @property
    def keeps(self) -> bool:
        """Whether it does, as it is built."""

    def kept(self, flows: Flows, plans: Sequence[SitePlan]) -> Mapping[str, OnChip]:
        """By site, what it keeps while that is at work; `plans` by run of a site."""


@runtime_checkable
class Explaining(Protocol):
    """A machine that says where a site's cycles come from."""

    def explain(self, work: Execution) -> dict[str, Any]:
        """Figures by name, for `bitwright explain`."""
