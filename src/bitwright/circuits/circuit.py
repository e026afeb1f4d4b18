"""What a circuit is: frozen parameters, ports, a functional twin in integers, and RTL.

A circuit says what it does twice. `model` computes, clock by clock, what stands at its outputs, with NumPy's integers;
`build` describes the logic in Amaranth, which is imported where it is used (extra `rtl`). That both are the same is
tested bit by bit on the netlist that Yosys makes of the RTL (`bitwright.circuits.equality`).
"""

import abc
import dataclasses
import types
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pydantic

from bitwright.errors import InputError, unknown_name
from bitwright.formats import Format
from bitwright.settings import refusal

Integers = npt.NDArray[np.int64]
Values = Mapping[str, Integers]
"""By port: [clocks, streams], or [clocks, streams, lanes] of a port that has lanes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output of a circuit.

    Attributes
    ----------
    name : str
        As in Verilog, where lane i of `x` is `x__i`.
    bits : int
        Of a value, at most 63 where it is unsigned and 64 where it is signed.
    signed : bool
        Two's complement.
    lanes : int
        So many values side by side; 0: one value, no axis for it.
    what : str
        What it carries.

    Examples
    --------
    >>> Port(name="x", bits=4, signed=True, lanes=2, what="codes").names
    ('x__0', 'x__1')
    """

    name: str
    bits: int
    signed: bool = False
    lanes: int = 0
    what: str

    @property
    def names(self) -> tuple[str, ...]:
        """Of its signals."""
        return tuple(f"{self.name}__{i}" for i in range(self.lanes)) if self.lanes else (self.name,)

    @property
    def smallest(self) -> int:
        """The least value that it carries."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def largest(self) -> int:
        """The greatest value that it carries."""
        return (1 << (self.bits - self.signed)) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ports:
    """All ports of a circuit; clock and reset are not among them."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Circuit(pydantic.BaseModel, abc.ABC):
    """A circuit with its parameters, which are the model's fields.

    Examples
    --------
    >>> from bitwright.circuits import MultiplyAccumulate
    >>> import numpy as np
    >>> mac = MultiplyAccumulate(x_bits=4, w_bits=4, sum_bits=12)
    >>> x, w = np.array([[3], [2], [0]]), np.array([[5], [-5], [0]])
    >>> mac.model({"x": x, "w": w, "clear": np.array([[1], [0], [0]])})["sum"].tolist()
    [[0], [15], [5]]
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    """As `bitwright rtl` and `bitwright synthesize` take it."""
    summary: ClassVar[str]
    """One line."""
    source: ClassVar[str]
    """The paper that it follows, or that it is ours."""
    clocked: ClassVar[bool] = True
    """Whether it has registers."""
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]]
    """What is synthesized where nothing is said, and tested on random streams: a phrase -> parameters."""
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    """Parameters of so few input bits (at most 20) that every word is tested."""

    @abc.abstractmethod
    def ports(self) -> Ports:
        """What goes in and what comes out."""

    @abc.abstractmethod
    def model(self, inputs: Values) -> dict[str, Integers]:
        """What stands at the outputs in every clock, from the same clock's inputs and what is in the registers.

        Registers hold their reset values in the first clock and take new ones at its end; those without one hold what
        they took in while all inputs were 0. Streams are independent.
        """

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:  # noqa: ARG002
        """Of ports that steer the circuit: what they do while it works; all others carry operands."""
        return {}

    @abc.abstractmethod
    def build(self, m: Any, io: Any) -> None:
        """Describe the logic in Amaranth's module `m` between the ports, which are attributes of `io`."""


@runtime_checkable
class Multiplying(Protocol):
    """A circuit that multiplies codes of two operands, and so can be fed with those of a network."""

    def feed(self, x: Integers, w: Integers, begins: Integers) -> dict[str, Integers]:
        """Inputs of all ports for products [clocks, streams] of codes; `begins` is 1 where a sum starts anew.

        Raises
        ------
        InputError
            Where these parameters have no place for them.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """Codes of an operand, and what they stand for.

    Attributes
    ----------
    codes : int64 array [clocks, streams]
        As the format numbers them.
    format : Format
        Of all of them.
    zero_point : int
        The code of 0, of integers.
    """

    codes: Integers
    format: Format
    zero_point: int = 0


@runtime_checkable
class MultiplyingWords(Protocol):
    """A circuit that multiplies what codes stand for, and so needs their formats too."""

    def feed_words(self, x: Words, w: Words, begins: Integers) -> dict[str, Integers]:
        """As `Multiplying.feed`, of codes with their formats.

        Raises
        ------
        InputError
            Where these parameters have no place for such formats.
        """


def circuit_of(kind: type[Circuit], parameters: Mapping[str, Any]) -> Circuit:
    """A circuit with parameters of the user's.

    Raises
    ------
    InputError
        A parameter that the circuit does not have, or does not take.
    """
    for name in parameters:
        if name not in kind.model_fields:
            raise unknown_name(f"parameter of {kind.name}", name, kind.model_fields)
    try:
        return kind(**parameters)
    except pydantic.ValidationError as error:
        said = refusal(kind, f"parameter of {kind.name}", error.errors()[0])
        raise InputError(f"{said}; see: bitwright circuits {kind.name}") from error


def place(m: Any, circuit: Circuit, prefix: str) -> Any:
    """The logic of a circuit inside another one's module, and its ports as signals to connect."""
    from amaranth.hdl import Signal, signed, unsigned

    io = types.SimpleNamespace()
    ports = circuit.ports()
    for port in (*ports.inputs, *ports.outputs):
        shape = signed(port.bits) if port.signed else unsigned(port.bits)
        signals = [Signal(shape, name=f"{prefix}_{name}") for name in port.names]
        setattr(io, port.name, signals if port.lanes else signals[0])
    circuit.build(m, io)
    return io


def component(circuit: Circuit) -> Any:
    """The circuit as an Amaranth component, whose ports are those of `Circuit.ports`."""
    from amaranth.hdl import Module, signed, unsigned
    from amaranth.lib import wiring

    ports = circuit.ports()
    members = {}
    for port, direction in [(port, wiring.In) for port in ports.inputs] + [
        (port, wiring.Out) for port in ports.outputs
    ]:
        shape = signed(port.bits) if port.signed else unsigned(port.bits)
        members[port.name] = direction(shape).array(port.lanes) if port.lanes else direction(shape)

    class Built(wiring.Component):
        def __init__(self) -> None:
            super().__init__(members)

        def elaborate(self, platform: Any) -> Any:  # noqa: ARG002
            m = Module()
            circuit.build(m, self)
            return m

    return Built()
