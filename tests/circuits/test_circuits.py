"""Every circuit's RTL against its functional twin: all words of small ones, random streams at real widths."""

import numpy as np
import pytest

from bitwright.circuits import CIRCUITS, MultiplyAccumulate, circuit_of
from bitwright.circuits.equality import compare, exhaustive, random
from bitwright.errors import InputError

for needed in ("amaranth", "pyosys"):
    pytest.importorskip(needed, reason=f"RTL needs {needed}: pip install 'bitwright[rtl]'")

CASES = 100_000
KEYWORDS = """
always and assign begin bit buf byte case cell class clocking const cover default design do edge else end
enum event export extends final first_match for force function generate if import in initial inout input
inside instance int integer interface join large let library local logic longint medium module negedge new
nor not null or output package packed parameter posedge priority program property protected pure rand real
reg release repeat return scalared sequence shortint signed small solve static string strong0 struct super
supply0 table tagged task this time timeunit tran tri type typedef union unique unsigned use var vectored
virtual void wait weak0 while wire with within xor
"""
"""Of Verilog and SystemVerilog, such as a port could be named by."""
SMALL = [
    pytest.param(name, given, id=f"{name}-{i}") for name in CIRCUITS for i, given in enumerate(CIRCUITS[name].small)
]
REAL = [
    pytest.param(name, given, id=f"{name}: {phrase}")
    for name, kind in CIRCUITS.items()
    for phrase, given in kind.configurations.items()
]


@pytest.mark.parametrize(("name", "given"), SMALL)
def test_every_word(name, given):
    circuit = circuit_of(CIRCUITS[name], given)
    words = exhaustive(circuit)
    count = next(iter(words.values())).shape[1]
    order = np.random.default_rng(0).permutation(count)  # a clocked circuit sees each word after another one
    inputs = {port: np.concatenate([values, values[:, order]]) for port, values in words.items()}
    found = compare(circuit, inputs)
    assert (found.compared, found.wrong) == (2 * count, 0), found.first


@pytest.mark.parametrize(("name", "given"), REAL)
def test_random_streams(name, given):
    circuit = circuit_of(CIRCUITS[name], given)
    found = compare(circuit, random(circuit, cases=CASES, clocks=20 if circuit.clocked else 1))
    assert found.compared >= CASES
    assert found.wrong == 0, found.first


@pytest.mark.parametrize("name", CIRCUITS)
def test_twins_keep_to_their_ports(name):
    circuit = CIRCUITS[name]()
    found = circuit.model(random(circuit, cases=1000, clocks=10))
    for port in circuit.ports().outputs:
        assert found[port.name].min() >= port.smallest
        assert found[port.name].max() <= port.largest


@pytest.mark.parametrize("name", CIRCUITS)
def test_ports_can_be_named_in_verilog(name):
    for given in CIRCUITS[name].configurations.values():
        ports = circuit_of(CIRCUITS[name], given).ports()
        assert not {signal for port in (*ports.inputs, *ports.outputs) for signal in port.names} & set(KEYWORDS.split())


def test_a_fault_in_the_rtl_is_found():
    class Faulty(MultiplyAccumulate):
        def build(self, m, io):
            super().build(m, io)
            m.d.comb += io.sum[3].eq(0)

    found = compare(Faulty(), random(Faulty(), cases=1000, clocks=10))
    assert 300 < found.wrong < 700
    assert found.first.startswith("sum in clock 1 of stream ")


def test_parameters_are_checked():
    with pytest.raises(InputError, match="parameter x_bits of multiply-accumulate is 0, but it should be"):
        circuit_of(MultiplyAccumulate, {"x_bits": 0})
    with pytest.raises(InputError, match=r"unknown parameter of multiply-accumulate 'rows'.* Known: .*x_bits"):
        circuit_of(MultiplyAccumulate, {"rows": 2})
