"""The conformance kits: built-in methods and accelerators keep every promise, and so do a toy of each from outside;
toys that break one promise each are caught.
"""

import dataclasses
import importlib
import sys
import textwrap
from typing import ClassVar

import pytest
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from bitwright import registry
from bitwright.accelerators.cost import Area, Cost, Event
from bitwright.accelerators.systolic import OutputStationary, Simd, WeightStationary
from bitwright.errors import InputError
from bitwright.methods.executor import Executor
from bitwright.methods.floating import METHOD as FLOAT
from bitwright.methods.integer import METHOD as INTEGER
from bitwright.methods.protocol import compose, method_names
from bitwright.testing import check_accelerator, check_method, toy_networks
from bitwright.testing.networks import shape_only
from toys import network_of, normal

TOY_METHOD = '''
    """Sums are kept in a register of a few bits that wraps around: an accumulation rule."""

    import dataclasses
    from typing import ClassVar

    import torch
    from pydantic import BaseModel, ConfigDict, Field

    from bitwright.formats import Saturation, saturate
    from bitwright.methods.plan import Part
    from bitwright.methods.products import integer_product


    @dataclasses.dataclass(frozen=True, kw_only=True)
    class WrappingSums:
        name: ClassVar[str] = "wrap"
        bits: int


    class Options(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid")
        sum_bits: int = Field(20, ge=8, le=24)


    class Wrapping:
        summary = "sums wrap around in a narrow register"
        fills = frozenset({Part.ACCUMULATION})
        provides = frozenset()
        on = ""
        options = Options
        recipes = {"wrap12": {"sum_bits": 12}}

        def calibrate(self, network, samples, options, plan):
            rule = WrappingSums(bits=options.sum_bits)
            sites = {name: dataclasses.replace(site, accumulation=rule) for name, site in plan.sites.items()}
            return dataclasses.replace(plan, sites=sites)

        def sums(self, view, x, w, plan):
            return self.wrapped(integer_product(view, x, w), plan)

        def fast_sums(self, view, x, w, plan):
            return self.wrapped(view.product(x.centred(), w.centred()), plan)

        def wrapped(self, sums, plan):
            limit = 2 ** (plan.accumulation.bits - 1)
            return saturate(sums.double(), -limit, limit - 1, Saturation.WRAP).float()


    METHOD = Wrapping()
'''

TOY_ACCELERATOR = '''
    """One multiplier that skips zeros in x: its cost depends on the codes."""

    from typing import ClassVar

    from pydantic import BaseModel, ConfigDict, Field

    from bitwright.accelerators.cost import Area, Cost, Event
    from bitwright.errors import InputError

    SOURCE = "the toy's own book"


    class Skipping(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid")
        summary: ClassVar[str] = "one multiplier that skips zeros"
        needs_codes: ClassVar[bool] = True
        clock_mhz: float = Field(default=100, gt=0)

        @property
        def peak_macs_per_cycle(self):
            return 1

        def supports(self, plan):
            plain = plan.plain
            fits = plan.quantized and plan.x_bits <= 8 and plan.w_bits <= 8
            return None if plain and fits else "it multiplies integers of at most 8 bits; choose such a method"

        def run(self, work):
            reason = self.supports(work.plan)
            if reason or work.x is None:
                raise InputError(f"{work.site.name} cannot run here: {reason or 'it has no codes'}")
            site, dense = work.site, work.site.macs
            executed = round(dense * float((work.x.centred() != 0).float().mean()))
            bits = site.x_elements * work.plan.x_bits + site.w_elements * work.plan.w_bits
            read, write = -(-bits // 8), site.y_elements
            prices = [("mac", executed, "operation", 0.2), ("dram", 8 * (read + write), "bit", 4.0)]
            return Cost(
                cycles=max(executed, 1),
                compute_cycles=max(executed, 1),
                macs_dense=dense,
                macs_executed=executed,
                macs_skipped=dense - executed,
                traffic_bytes={"dram_read": read, "dram_write": write},
                unique_bytes=read + write,
                events=tuple(
                    Event(component=name, name=name, count=count, unit=unit, price_pj=price, source=SOURCE)
                    for name, count, unit, price in prices
                ),
            )

        def area(self):
            return Area(components_um2={"mac": 300.0}, sources={"mac": SOURCE})

        def parameters(self):
            return self.model_dump()
'''


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A distribution as pip would install it: modules, and a dist-info folder with entry points."""
    (tmp_path / "toy_method.py").write_text(textwrap.dedent(TOY_METHOD))
    (tmp_path / "toy_accelerator.py").write_text(textwrap.dedent(TOY_ACCELERATOR))
    info = tmp_path / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[bitwright.methods]\ntoy = toy_method:METHOD\nbroken = toy_nothing:METHOD\n"
        "[bitwright.accelerators]\nskipping = toy_accelerator:Skipping\n"
        "[bitwright.rules]\nwrap = toy_method:WrappingSums\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.refresh()
    yield importlib.import_module("toy_method")
    monkeypatch.undo()
    registry.refresh()
    for name in ("toy_method", "toy_accelerator"):
        sys.modules.pop(name, None)


CHECKED = ["float", "int8", "int8-token", "int8-sym", "int7-sym", "w4a8", "sibia", "aqs", "aqs-w4"]
CHECKED += [
    "apsq",
    "apsq-gs1",
    "apsq-gs2",
    "apsq-gs3",
    "apsq-gs4",
    "psq",
    "psum-block",
    "psum16",
    "psum32",
    "aqs+apsq",
    "narrow",
]
DROPPED = {"x_share": 0.5, "w_share": 0.5, "delta": 0.5}
PRECISION = {
    "drift": DROPPED,
    "drift-rows": DROPPED,
    "drift+apsq": DROPPED,
    "drq": {"x_share": 0.5, "threshold": 8.0},
    "mixed": {"budget": 0.2},
}
TABLED = ["lpq", "lp8", "lp6", "lp5", "lp4", "ant", "ant-w4a8", "ant8", "adaptivfloat", "af8", "af6", "af5", "af4"]
TABLED += ["mx", "mxfp8", "mxfp6", "mxfp4", "mxint8", "nvfp4", "fp8"]


class TestBuiltIn:
    @pytest.mark.parametrize("name", TABLED)
    def test_methods_of_tabled_formats(self, name):
        logarithmic = name.startswith("lp")  # its converter is a table: at most 2^(1/2) instead of 1.5, 6.1 %
        check_method(name, product_error=1.5 / 2**0.5 - 1 if logarithmic else 0)

    def test_compositions_of_log_posits(self):
        check_method("lpq+narrow")

    @pytest.mark.parametrize("name", CHECKED)
    def test_methods(self, name):
        assert set(name.split("+")) <= set(method_names())
        check_method(name, options={} if name in ("float", "int8-token") else {"smoothing": "none"})

    @pytest.mark.parametrize("name", PRECISION)
    def test_methods_of_two_precisions(self, name):
        check_method(name, options={"smoothing": "none", **PRECISION[name]})

    def test_smoothing_is_part_of_the_promise(self):
        check_method("int8", options={"smoothing": 0.5, "ends": "both8", "x_bits": 6, "calibrator": "mse"})

    def test_objects_and_the_users_own_network(self):
        network = network_of(nn.Sequential(nn.Linear(6, 4)), normal(3, 6))
        check_method(FLOAT, network)
        check_method(INTEGER, network, options={"smoothing": "none"})

    def test_every_method_is_checked(self):
        assert set(method_names()) == {*"+".join((*CHECKED, *PRECISION)).split("+"), *TABLED, "int", "file"}
        machines = ["adaptivfloat", "ant", "apsq", "apsq-is", "apsq-os", "bitfusion", "drift", "drq", "eyeriss", "lpa"]
        machines += ["panacea", "seq", "sibia", "simd", "systolic-os", "systolic-ws"]
        assert registry.names("bitwright.accelerators") == machines

    @pytest.mark.parametrize(
        "accelerator", [WeightStationary, OutputStationary, Simd, WeightStationary(rows=8, cols=16)]
    )
    def test_accelerators(self, accelerator):
        check_accelerator(accelerator)

    def test_float_arrays(self):
        check_accelerator(OutputStationary(mac="float32", rows=4, cols=4))


class TestToyMethod:
    def test_conforms(self, toys):
        check_method("toy")  # on top of int8
        check_method(toys.METHOD, options={"sum_bits": 15})
        check_method("int8-sym+wrap12", options={"smoothing": "none"})

    @pytest.mark.parametrize("name", ["int8+toy", "toy+int8"])
    def test_composes_in_any_order(self, toys, name):
        network, samples = toy_networks()["linear"]
        plan = compose(name, {"smoothing": "none", "sum_bits": 9}).calibrate(network, samples)
        plain = compose("int8", {"smoothing": "none"}).calibrate(network, samples)
        for site, decided in plan.sites.items():
            assert decided.accumulation.name == "wrap"
            assert decided.accumulation.bits == 9
            assert torch.equal(decided.x.scale, plain.site(site).x.scale)
        assert not torch.equal(Executor(network, plan).run(samples[0]), Executor(network, plain).run(samples[0]))

    def test_a_register_that_is_wide_enough_changes_nothing(self, toys):
        network, samples = toy_networks()["conv"]
        outputs = [
            Executor(network, compose(name).calibrate(network, samples)).run(samples[0])
            for name in ("int8", "int8+toy")
        ]
        assert torch.equal(*outputs)

    def test_options_go_where_they_belong(self, toys):
        (_, _, integer), (_, _, toy) = compose("int8+toy", {"sum_bits": 9, "x_bits": 5}).methods
        assert (integer.x_bits, toy.sum_bits) == (5, 9)
        with pytest.raises(InputError, match=r"unknown option of int8\+toy 'sum_bit'.*Did you mean 'sum_bits'"):
            compose("int8+toy", {"sum_bit": 9})

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("int8+int8-sym", "int8 and int8-sym both decide the operands"),
            ("int8+toy+wrap12", "toy and wrap12 both decide the accumulation"),
            ("float+int8", "float and int8 both decide the operands"),
            ("int8+tor", "unknown method 'tor'. Did you mean 'toy'"),
            ("int8+", "unknown method ''"),
        ],
    )
    def test_refuses(self, toys, name, message):
        with pytest.raises(InputError, match=message.replace("+", r"\+")):
            compose(name)

    def test_a_rule_without_operands_cannot_run(self, toys):
        with pytest.raises(InputError, match="toy: no method fills the operands; compose it with one that does"):
            compose("toy").encoder()

    def test_a_plain_array_refuses_what_it_cannot_add_up(self, toys):
        network, _ = toy_networks()["linear"]
        plan = compose("int8+toy").calibrate(shape_only(network), [])
        reason = WeightStationary().supports(plan.site("first"))
        assert "partial sums are quantized (wrap)" in reason


def without(cls, **members):
    """A subclass of a good toy, broken in one way."""
    return type(cls.__name__, (cls,), members)


class Loose(BaseModel):
    sum_bits: int = 20


BROKEN_METHODS = {
    "summary": ({"summary": ""}, "has no summary"),
    "long summary": ({"summary": "a\nb"}, "longer than one line"),
    "no part": ({"fills": frozenset()}, "fills is not a frozenset of parts of a plan"),
    "options": ({"options": Loose}, "accept unknown keys"),
    "thawed": ({"options": type("Thawed", (Loose,), {"model_config": ConfigDict(extra="forbid")})}, "can be changed"),
    "recipes": ({"recipes": {"bad": {"sum_bits": 99}}}, "recipe 'bad' has options that it refuses"),
    "fast": ({"fast_sums": lambda self, *a: self.sums(*a) + 3}, "fast differs from gemm by 3 steps"),
    "nan": ({"wrapped": lambda self, sums, plan: sums * torch.nan}, "what first gives is not finite"),
    "type": ({"wrapped": lambda self, sums, plan: sums[None].float()}, r"first gives \(1, 4, 20\), not \(4, 20\)"),
}


class TestBrokenMethods:
    """One promise broken at a time: the negative control of `check_method`."""

    def check(self, toys, monkeypatch, members, message):
        broken = without(type(toys.METHOD), **members)()
        monkeypatch.setattr(toys, "METHOD", broken)
        with pytest.raises((AssertionError, InputError), match=message):  # the second: before it is run
            check_method("toy", options={"smoothing": "none", "rotation": "none", "bias_correction": False})

    @pytest.mark.parametrize("kind", BROKEN_METHODS)
    def test_is_caught(self, toys, monkeypatch, kind):
        self.check(toys, monkeypatch, *BROKEN_METHODS[kind])

    def test_that_changes_the_network(self, toys, monkeypatch):
        good = toys.METHOD.calibrate

        def calibrate(self, network, samples, options, plan):
            next(network.module.parameters()).data.add_(1)
            return good(network, samples, options, plan)

        self.check(toys, monkeypatch, {"calibrate": calibrate}, "changed the network itself")

    def test_that_is_random(self, toys, monkeypatch):
        good, calls = toys.METHOD.calibrate, []

        def calibrate(self, network, samples, options, plan):
            calls.append(0)
            return good(network, samples, options.model_copy(update={"sum_bits": 20 + len(calls) % 2}), plan)

        self.check(toys, monkeypatch, {"calibrate": calibrate}, "gives another plan")

    def test_that_forgets_in_the_file(self, toys, monkeypatch):
        """What is not in the plan cannot be in its file."""
        memory = {}
        good = type(toys.METHOD).wrapped

        def wrapped(self, sums, plan):
            key = id(plan)
            memory.setdefault(key, len(memory))
            return good(self, sums, plan) + memory[key]

        self.check(toys, monkeypatch, {"wrapped": wrapped}, "saved and loaded gives other outputs")

    def test_codes_outside_the_format(self, monkeypatch):
        good = type(INTEGER).encode_x

        def encode(self, view, plan):
            operand = good(self, view, plan)
            return dataclasses.replace(operand, codes=operand.codes.float() + 1)

        monkeypatch.setattr(type(INTEGER), "encode_x", encode)
        with pytest.raises(AssertionError, match=r"code 256\.0 is above uint8's highest, 255"):
            check_method("int8", options={"smoothing": "none"})

    def test_products_of_other_numbers(self, monkeypatch):
        good = type(INTEGER).gemm
        for name in ("gemm", "fast"):
            monkeypatch.setattr(type(INTEGER), name, lambda self, *a: good(self, *a) * 1.001)
        with pytest.raises(AssertionError, match="the product of the codes is off by"):
            check_method("int8", options={"smoothing": "none"})

    def test_an_object_that_nobody_can_find(self):
        with pytest.raises(AssertionError, match="is not registered under the entry point group"):
            check_method(type(INTEGER)())

    def test_a_plug_in_that_cannot_be_imported(self, toys):
        with pytest.raises(InputError, match=r"the plug-in 'broken' \(toy_nothing:METHOD\).*cannot be imported"):
            registry.lookup("bitwright.methods", "broken")


class TestToyAccelerator:
    def test_conforms(self, toys):
        accelerator = registry.lookup("bitwright.accelerators", "skipping")
        check_accelerator(accelerator)
        check_accelerator(accelerator(clock_mhz=7))

    def test_a_machine_that_sees_values_may_compress_them(self, toys):
        check_accelerator(stored_as(0.25)())
        with pytest.raises(AssertionError, match="0 distinct bytes"):
            check_accelerator(stored_as(0)())

    def test_skips(self, toys):
        """Half of the codes are zero: half of the products are skipped."""
        x = torch.tensor([[0.0, 1.0, 0.0, -1.0]])
        network = network_of(nn.Sequential(nn.Linear(4, 3)), x)
        works = []
        plan = compose("int8-sym", {"smoothing": "none"}).calibrate(network, [{"x": x}])
        Executor(network, plan, listeners=[works.append]).run({"x": x})
        cost = registry.lookup("bitwright.accelerators", "skipping")().run(works[0])
        assert (cost.macs_dense, cost.macs_executed, cost.macs_skipped) == (12, 6, 6)
        assert cost.total_energy_pj == pytest.approx(6 * 0.2 + 8 * (4 + 12 + 3) * 4)


def stored_as(share):
    """The skipping toy, whose operands and outputs take that share of their bytes."""
    good = registry.lookup("bitwright.accelerators", "skipping")

    def run(self, work):
        cost = good.run(self, work)
        moved = {place: share * count for place, count in cost.traffic_bytes.items()}
        return dataclasses.replace(cost, traffic_bytes=moved, unique_bytes=int(share * cost.unique_bytes))

    return without(good, __module__=__name__, run=run)


def broken_array(**members):
    """A systolic array with some members replaced."""
    annotations = {"summary": ClassVar[str]} if "summary" in members else {}
    return type("Broken", (WeightStationary,), {"__module__": __name__, "__annotations__": annotations, **members})


def cost_with(**changes):
    """A `run` whose cost is changed by functions of it."""

    def run(self, work):
        cost = WeightStationary.run(self, work)
        return dataclasses.replace(cost, **{key: change(cost) for key, change in changes.items()})

    return {"run": run}


def free(cost):
    return tuple(dataclasses.replace(event, price_pj=0) for event in cost.events)


def unsourced(cost):
    return tuple(dataclasses.replace(event, source="") for event in cost.events)


BROKEN_ACCELERATORS = {
    "dense": (cost_with(macs_dense=lambda c: c.macs_dense + 1), "dense MACs, the site has"),
    "lost": (cost_with(macs_executed=lambda c: c.macs_executed - 1), "executed and skipped MACs are not all"),
    "cycles": (cost_with(cycles=lambda c: c.compute_cycles - 1), "fewer cycles in all than compute cycles"),
    "too fast": (cost_with(compute_cycles=lambda c: 1, cycles=lambda c: 1), "the peak allows"),
    "traffic": (cost_with(unique_bytes=lambda c: c.unique_bytes + 10**6), "bytes of DRAM traffic for"),
    "unique": (cost_with(unique_bytes=lambda c: 0), "the operands alone are"),
    "free": (cost_with(events=free), "nothing is free"),
    "nothing": (cost_with(events=lambda c: ()), "nothing has a price"),
    "unsourced": (cost_with(events=unsourced), "the price has no source"),
    "supports all": ({"supports": lambda self, plan: None}, "supports a rule that it cannot know"),
    "supports none": ({"supports": lambda self, plan: "no"}, "supports neither"),
    "no reason": ({"supports": lambda self, plan: False}, "supports answers False"),
    "area": (
        {"area": lambda self: Area(components_um2={"array": 0.0}, sources={"array": "x"})},
        "the area of array is 0",
    ),
    "area source": ({"area": lambda self: Area(components_um2={"array": 1.0})}, "area of array has no source"),
    "no area": ({"area": lambda self: Area(components_um2={})}, "has no area"),
    "summary": ({"summary": " "}, "has no summary"),
    "thawed": ({"model_config": ConfigDict(frozen=False)}, "can be changed after construction"),
    "any": ({"model_config": ConfigDict(extra="ignore")}, "accepts an unknown parameter"),
    "peeks": (
        {"run": lambda self, work: WeightStationary.run(self, work) + Cost(cycles=work.x is not None)},
        "depends on codes, though needs_codes is False",
    ),
}


class TestBrokenAccelerators:
    """One promise broken at a time: the negative control of `check_accelerator`."""

    @pytest.mark.parametrize("kind", BROKEN_ACCELERATORS)
    def test_is_caught(self, kind):
        members, message = BROKEN_ACCELERATORS[kind]
        with pytest.raises(AssertionError, match=message):
            check_accelerator(broken_array(**members))

    def test_costs_that_do_not_repeat(self):
        counter = iter(range(10**9))
        members = cost_with(cycles=lambda c: c.cycles + next(counter))
        with pytest.raises(AssertionError, match="costs something else the second time"):
            check_accelerator(broken_array(**members))

    def test_costs_that_shrink(self):
        members = cost_with(cycles=lambda c: c.cycles + 10**9 // c.macs_dense)
        with pytest.raises(AssertionError, match=r"falls from .* doubles"):
            check_accelerator(broken_array(**members))

    def test_what_is_not_supported_is_not_costed(self):
        def run(self, work):
            return Cost(cycles=1, compute_cycles=1, events=(EVENT,))

        with pytest.raises(AssertionError, match="not supported, but run"):
            check_accelerator(broken_array(run=run))


EVENT = Event(component="mac", name="mac", count=1, unit="operation", price_pj=1.0, source="none")
