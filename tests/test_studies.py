"""Studies on toy networks and toy machines: conservation, what is not supported, comparisons that lose no row."""

import dataclasses
import io
from typing import ClassVar

import pydantic
import pytest
import torch
from rich.console import Console
from tests.toys import Calling, network_of, normal

from bitwright.accelerators.cost import Area, Cost, Event
from bitwright.accelerators.substrate import Substrate
from bitwright.errors import BitwrightError, InputError
from bitwright.files import write_atomic
from bitwright.methods.executor import Executor
from bitwright.networks.load import load
from bitwright.networks.network import InputShape
from bitwright.reports.comparison import print_comparison
from bitwright.reports.files import plain
from bitwright.reports.records import comparison_record, simulation_record
from bitwright.reports.scores import difference
from bitwright.studies.compare import Settings, compare, options_of
from bitwright.studies.conservation import check_site, check_total
from bitwright.studies.explain import explain
from bitwright.studies.inputs import simulation_input
from bitwright.studies.machines import Difference, accelerator_names, build_accelerators, footing
from bitwright.studies.provenance import provenance
from bitwright.studies.simulate import simulate
from bitwright.tasks import Interval, get_task
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import evaluate, evaluate_many
from bitwright.units import exponent, number, scaled

IDEALS = {"weight_loading", "fold_pipelining"}
PRICE = {"component": "mac", "name": "mac", "unit": "operation", "price_pj": 0.5, "source": "a test"}


class Honest(pydantic.BaseModel):
    """One multiplier; a cycle and 0.5 pJ per multiply-accumulate."""

    model_config = pydantic.ConfigDict(frozen=True)
    summary: ClassVar[str] = "one multiplier"
    needs_codes: ClassVar[bool] = False
    clock_mhz: float = 2
    peak_macs_per_cycle: float = 1

    def supports(self, plan):
        return None if plan.quantized else "it multiplies integers; quantize the site"

    def run(self, work):
        macs = work.site.macs
        bytes_ = work.site.x_elements + work.site.w_elements + work.site.y_elements
        return Cost(
            cycles=macs,
            compute_cycles=macs,
            macs_dense=macs,
            macs_executed=macs,
            traffic_bytes={"dram_read": bytes_, "dram_write": 0},
            unique_bytes=bytes_,
            events=(Event(count=macs, **PRICE),),
        )

    def area(self):
        return Area(components_um2={"multiplier": 10.0}, sources={"multiplier": "a test"})

    def parameters(self):
        return self.model_dump()


def lying(**wrong):
    """A machine whose costs are changed."""

    class Lying(Honest):
        def run(self, work):
            return dataclasses.replace(super().run(work), **wrong)

    return Lying()


class NeedsCodes(Honest):
    needs_codes: ClassVar[bool] = True


def two_layers():
    torch.manual_seed(0)
    network = network_of(torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)))
    return dataclasses.replace(network, example=lambda shape: {"x": normal(3 * shape.batch, 6)})


def mixed():
    """A 1-D convolution (192 x 8 MACs per pair), a linear layer, an einsum and an outer product."""

    def run(self, x):
        y = self.fc(self.conv(x))
        z = torch.einsum("bij,bkj->bik", y, y)
        return torch.bmm(z[..., :1], z[:, :1])

    torch.manual_seed(0)
    return network_of(
        Calling(run, conv=torch.nn.Conv1d(4, 8, 3, padding=1), fc=torch.nn.Linear(16, 10)), normal(2, 4, 16)
    )


PLAIN = {"smoothing": "none", "rotation": "none"}


def plan_of(network, method="int8", **options):
    return calibrate_method(network, method, options={**PLAIN, **options} if method != "float" else {})


def simulated(network, machine, method="int8", **options):
    return simulate(network, plan_of(network, method, **options), {"toy": machine})["toy"]


class TestSimulate:
    def test_totals_follow_from_the_shapes(self):
        found = simulated(two_layers(), Honest())
        macs = 3 * (6 * 4 + 4 * 2)
        assert (found.macs, found.cost.macs_dense, found.cost.cycles) == (macs, macs, macs)
        assert found.latency_us == macs / 2
        assert found.cost.total_energy_pj == macs / 2
        assert found.tops_per_watt == 2 * macs / (macs / 2)
        assert found.utilization == 1
        assert found.supported_share == 1
        assert [entry.site.name for entry in found.sites] == ["0", "2"]
        assert [(other.name, other.elements) for other in found.others] == [("relu", 12)]

    def test_machines_hear_the_codes_that_are_multiplied(self):
        network, heard = two_layers(), []

        class Listening(Honest):
            def run(self, work):
                heard.append(work)
                return super().run(work)

        plan = plan_of(network)
        batch = {"x": normal(3, 6, seed=5)}
        simulate(network, plan, {"toy": Listening()}, batch=batch)
        expected = []
        Executor(network, plan, listeners=[expected.append]).run(batch)
        assert [work.site for work in heard] == [work.site for work in expected]
        assert all(torch.equal(a.x.codes, b.x.codes) for a, b in zip(heard, expected, strict=True))

    def test_products_that_are_no_sites_are_listed_with_share_and_reason(self):
        found = simulated(mixed(), Honest())
        conv, linear, einsum, outer = 2 * 8 * 16 * 4 * 3, 2 * 8 * 16 * 10, 2 * 8 * 8 * 10, 2 * 8 * 8
        assert [entry.site.macs for entry in found.sites] == [conv, linear, einsum]
        assert found.macs == conv + linear + einsum + outer
        assert found.cost.macs_dense == conv + linear + einsum
        assert found.refusal is None
        (entry,) = found.unsupported
        assert (entry.kind, entry.macs, entry.share) == ("operation", outer, outer / found.macs)
        assert entry.reason.split(";")[0] == "outer product, nothing to reduce"

    def test_a_refused_site_is_listed_and_the_rest_is_costed(self):
        found = simulated(two_layers(), Honest(), ends="float", sites={})
        assert found.refusal == "it multiplies integers; quantize the site"
        found = simulated(mixed(), Honest(), method="float")
        assert found.refusal == "it multiplies integers; quantize the site"
        assert {entry.kind for entry in found.unsupported} == {"site", "operation"}
        assert found.cost.cycles == 0
        assert simulation_record(found)["cycles"] is None

    def test_a_machine_that_needs_values_refuses_shapes(self):
        found = simulated(load("gemm:4x5x6"), NeedsCodes())
        assert "load a network with weights" in found.refusal
        assert simulated(two_layers(), NeedsCodes()).refusal is None

    def test_shapes_only(self):
        found = simulated(load("gemm:3x4x5x6"), Honest())
        assert found.cost.macs_dense == 3 * 4 * 5 * 6


class TestConservation:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"macs_executed": 1}, "1 executed"),
            ({"macs_dense": 1, "macs_executed": 1}, "1 dense MACs of a product of 72"),
            ({"compute_cycles": 10**9}, "compute cycles of 72 cycles"),
            ({"compute_cycles": 0, "cycles": 0}, "0 compute cycles"),
            ({"unique_bytes": 10**9}, "DRAM moves"),
            ({"events": (Event(count=float("nan"), **PRICE),)}, "nan mac"),
            ({"events": (Event(count=-1, **PRICE),)}, "-1 mac at 0.5 pJ"),
        ],
    )
    def test_a_machine_that_breaks_it_is_caught(self, wrong, message):
        with pytest.raises(BitwrightError, match=f"toy broke conservation at 0: .*{message}") as caught:
            simulated(two_layers(), lying(**wrong))
        assert not isinstance(caught.value, InputError)

    def test_energy_that_is_not_that_of_the_events(self):
        class Discount(Cost):
            @property
            def total_energy_pj(self):
                return 0.5 * super().total_energy_pj

        site = load("gemm:2x2x2").sites[0]
        fields = {"cycles": 8, "compute_cycles": 8, "macs_dense": 8, "macs_executed": 8}
        check_site("toy", site, Cost(events=(Event(count=8, **PRICE),), **fields))
        with pytest.raises(BitwrightError, match=r"energy by component add up to 4\.0, the total says 2\.0"):
            check_site("toy", site, Discount(events=(Event(count=8, **PRICE),), **fields))

    def test_sites_that_do_not_add_up(self):
        with pytest.raises(BitwrightError, match="cycles of the sites add up to 2, the total says 3"):
            check_total("toy", [Cost(cycles=1), Cost(cycles=1)], Cost(cycles=3))


class TestMachines:
    def test_a_setting_goes_to_whoever_has_it_or_to_the_one_named(self):
        both = build_accelerators(["systolic-ws", "systolic-os"], {"rows": 8, "systolic-os.cols": 16})
        assert {name: (m.rows, m.cols) for name, m in both.items()} == {"systolic-ws": (8, 32), "systolic-os": (8, 16)}

    def test_machines_are_built_as_published_below_the_users_settings(self):
        names = ["systolic-ws", "systolic-os", "simd"]
        machines = build_accelerators(names, {"systolic-os.rows": 8}, "native")
        assert {name: machine.rows for name, machine in machines.items()} == {
            "systolic-ws": 32,
            "systolic-os": 8,
            "simd": 24,
        }
        found = footing(machines, "native")
        assert found.name == "native"
        timed = {
            "weight_loading": Difference(value="exposed", common="hidden"),
            "fold_pipelining": Difference(value=False, common=True),
            "dram_bytes_per_cycle": Difference(value=128, common=None),
        }
        assert found.differences == {
            "systolic-ws": {"rows": Difference(value=32, common=24), **timed},
            "systolic-os": {"rows": Difference(value=8, common=24), **timed},
        }

    def test_all_machines_have_as_many_multipliers_on_the_common_substrate(self):
        machines = build_accelerators(accelerator_names())
        by_area = {
            "eyeriss"
        }  # multiplies 16 bits: as much area as 3,072 4-bit PEs instead (tests/test_drift_rivals.py)
        assert {machine.multipliers_4b for name, machine in machines.items() if name not in by_area} == {3072}
        common = {key: field.default for key, field in Substrate.model_fields.items()}
        for name, machine in machines.items():
            own, lacks = machine.parameters(), IDEALS if name == "eyeriss" else set()  # in its utilization
            assert {key: own[key] for key in own if key in common} == {
                key: value for key, value in common.items() if key not in lacks
            }
        assert footing(machines).differences == {}

    def test_an_unknown_substrate(self):
        with pytest.raises(InputError, match=r"unknown substrate 'nativ'; it is common .* or native"):
            build_accelerators(["systolic-ws"], substrate="nativ")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"row": 8}, "Did you mean 'rows'"),
            ({"rows": 0}, "parameter rows of systolic-ws is 0, but it should be an integer above 0"),
            ({"mac": "int9"}, "parameter mac of systolic-ws is 'int9'"),
            ({"systolic-os.rows": 8}, "unknown accelerator among those asked for 'systolic-os'"),
            ({"node_nm": 29}, "unknown technology node '29'"),
        ],
    )
    def test_bad_settings(self, settings, message):
        with pytest.raises(InputError, match=message):
            build_accelerators(["systolic-ws"], settings)

    def test_no_accelerator(self):
        with pytest.raises(InputError, match="no accelerator is named"):
            build_accelerators([])


class TestInputs:
    def test_the_input_has_the_shape_that_was_asked_for(self):
        network = load("resnet18", shape=InputShape(batch=2, image_size=64))
        batch, described = simulation_input(network)
        assert batch["pixel_values"].shape == (2, 3, 64, 64)
        assert described == "shapes only: pixel_values 2x3x64x64"

    def test_noise_of_the_example_shape(self):
        batch, described = simulation_input(two_layers(), seed=3)
        assert batch["x"].shape == (3, 6)
        assert "noise input (seed 3)" in described


class TestExplain:
    def test_cycles_by_cause_add_up(self):
        network = load("gemm:841x576x128")
        found = explain(
            network,
            plan_of(network),
            "systolic-ws",
            "gemm",
            parameters={"rows": 32, "cols": 32, "objective": "latency"},
        )
        assert found.cycles["busy"] == 841 * 576 * 128 / 1024
        assert found.cycles["busy"] + found.cycles["array"] == 72 * 841 + 94  # folds, then filling and draining
        assert sum(found.cycles.values()) == found.entry.cost.cycles == found.mapping["cycles"]

    def test_unknown_site(self):
        with pytest.raises(InputError, match=r"unknown site '1' of toy, which has 2 sites; the nearest are"):
            explain(two_layers(), plan_of(two_layers()), "systolic-ws", "1")

    def test_a_site_the_machine_does_not_run(self):
        with pytest.raises(InputError, match="systolic-ws does not run 0: x is float32"):
            explain(two_layers(), plan_of(two_layers(), "float"), "systolic-ws", "0")


class TestEvaluate:
    def test_float_is_its_own_reference(self):
        network = two_layers()
        task = get_task(None, network=network, limit=8)
        found = evaluate(network, "float", task)
        assert found.off_by is None
        assert found.seconds == found.float_seconds
        assert found.score.value == float("inf")
        assert found.score.calibrated_on == "nothing"

    def test_exact_and_fast_agree(self):
        network = two_layers()
        task = get_task(None, network=network, limit=8)
        plan = plan_of(network)
        exact, fast = (evaluate(network, plan, task, exact=exact) for exact in (True, False))
        assert exact.off_by == fast.off_by == 0
        assert exact.off_by_site is None
        assert exact.score.value == pytest.approx(fast.score.value)
        assert exact.score.value > 20  # dB, where 8 bits give about 40

    def test_the_audit_is_not_listened_to(self):
        network, heard = two_layers(), []
        task = get_task(None, network=network, limit=8)
        evaluate(network, "int8", task, listeners=[heard.append])
        assert [work.site.name for work in heard] == ["0", "2"]  # one batch

    def test_progress_counts_the_samples(self):
        network, told = two_layers(), []
        task = get_task(None, network=network, limit=8)
        evaluate(network, "int8", task, progress=lambda *state: told.append(state))
        assert told[0] == ("calibrating", 0, 0)
        assert told[-1][0] == "evaluating"
        assert told[-1][1] >= told[-1][2] == 8

    def test_one_plan_that_fails_does_not_stop_the_others(self):
        network = two_layers()
        task = get_task(None, network=network, limit=8)
        good = plan_of(network)
        bad = dataclasses.replace(good, sites={"0": good.sites["0"]})
        found = evaluate_many(network, {"good": good, "bad": bad}, task)
        assert found["good"].score.calibrated_on == good.calibrated_on
        assert "'2' is not in the plan" in str(found["bad"])

    def test_float_plans_of_shapes_cannot_be_judged(self):
        with pytest.raises(InputError, match="gemm:2x2x2 has shapes but no numbers"):
            evaluate(load("gemm:2x2x2"), "int8", None)


def compared(networks, methods=("float", "int8"), machines=None, **settings):
    return compare(
        networks,
        machines or {"toy": Honest()},
        settings=Settings(methods=tuple(methods), **settings),
        limit=8,
        provenance=provenance("a test", 0),
    )


class TestCompare:
    def test_a_row_for_every_cell(self):
        found = compared([two_layers(), load("gemm:4x4x4")], machines={"a": Honest(), "b": Honest()})
        assert len(found.rows) == 2 * 2 * 2
        assert [row.status for row in found.rows] == ["unsupported"] * 2 + ["ok"] * 2 + ["unsupported"] * 2 + ["ok"] * 2
        frame = found.frame()
        assert frame["energy_mac_pj"].dropna().unique().tolist() == [3 * (6 * 4 + 4 * 2) / 2, 32.0]
        assert frame["off_by"].dropna().tolist() == [0, 0]

    def test_a_machine_that_fails_keeps_the_others(self):
        found = compared([two_layers()], ["int8"], {"good": Honest(), "bad": lying(macs_executed=1)})
        assert [row.status for row in found.rows] == ["ok", "failed"]
        assert "broke conservation" in found.rows[1].reason
        assert found.rows[1].evaluation is not None

    def test_a_method_that_fails_keeps_the_others(self):
        network = dataclasses.replace(two_layers(), weight_grid=32)
        options = {"w_granularity": "group:32", "smoothing": "none"}
        found = compared([network], ["float", "w4a8", "int8"], options=options)
        assert [row.status for row in found.rows] == ["unsupported", "failed", "ok"]
        assert "would look lossless" in found.rows[1].reason

    def test_options_go_to_the_methods_that_have_them(self):
        methods, options = ("float", "int8"), {"x_bits": 7}
        assert options_of("int8", methods, options) == {"x_bits": 7}
        assert options_of("float", methods, options) == {}
        with pytest.raises(InputError, match="Did you mean 'x_bits'"):
            compared([two_layers()], options={"x_bit": 7})

    def test_data_for_nobody(self, tmp_path):
        with pytest.raises(InputError, match="no network has numbers"):
            compare(
                [load("gemm:2x2x2")],
                {"toy": Honest()},
                settings=Settings(),
                data=tmp_path,
                provenance=provenance("a test", 0),
            )

    def test_the_record_says_what_made_it(self):
        record = plain(comparison_record(compared([two_layers()], ["int8"])))
        assert record["provenance"]["command"] == "a test"
        assert record["parameters"] == {"toy": {"clock_mhz": 2, "peak_macs_per_cycle": 1}}
        assert record["sources"]["toy"] == {"mac: mac": "a test", "area: multiplier": "a test"}
        assert {"torch", "bitwright"} <= set(record["provenance"]["versions"])

    def test_rows_have_the_same_keys(self):
        record = comparison_record(compared([two_layers(), load("gemm:4x4x4")]))
        assert len({tuple(row) for row in record["rows"]}) == 1


class TestReports:
    def test_differences_that_are_not_separated_are_marked(self):
        network = two_layers()
        score = evaluate(network, "int8", get_task(None, network=network, limit=8)).score
        unsure = dataclasses.replace(score, difference=-0.2, interval=Interval(low=-0.8, high=0.6))
        sure = dataclasses.replace(score, difference=-0.7, interval=Interval(low=-0.8, high=-0.6))
        assert difference(unsure) == "-0.200 [-0.800, +0.600] ≈"
        assert difference(sure) == "-0.700 [-0.800, -0.600]"

    def test_numbers(self):
        assert [number(v) for v in (0.0, 1.0, 12345.678, 1e-9, None)] == ["0", "1.000", "12,346", "1.000e-09", "-"]
        assert exponent([0, None, float("inf")], base=-12) == -12
        assert scaled(999.0, "J", base=-12) == "999.0 pJ"
        assert scaled(1500.0, "J", base=-12) == "1.500 nJ"

    @pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 300])
    def test_tables_fit_the_page_with_whole_numbers(self, width):
        found = compared([two_layers()])
        stream = io.StringIO()
        print_comparison(found, Console(file=stream, width=width))
        energy = number(found.rows[1].simulation.cost.total_energy_pj)
        for words in ("0 accumulator steps apart", "int8", f" {energy} "):
            assert words in stream.getvalue()
        assert ("= mac" in stream.getvalue()) == (width >= 100)  # energy = mac + ...
        assert ("--wide shows all" in stream.getvalue()) == (width < 160)
        rows = [line for line in stream.getvalue().splitlines() if line.startswith((" int8 ", " method"))]
        assert max(map(len, rows)) <= width

    def test_json_has_neither_nan_nor_infinity(self):
        values = {"a": float("nan"), "b": [float("inf"), 1], "c": Interval(low=-float("inf"), high=0.5)}
        expected = {"a": None, "b": [None, 1], "c": {"low": None, "high": 0.5, "confidence": 0.95}}
        assert plain(values) == expected

    def test_files_are_whole_or_absent(self, tmp_path, monkeypatch):
        target = tmp_path / "result.json"
        write_atomic(target, b"old")

        def fail(self, other):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("pathlib.Path.replace", fail)
        with pytest.raises(InputError, match="No space left on device"):
            write_atomic(target, b"new")
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("result.json", "old")]
