"""Reproduction of Drift: bounds by hand, cycles against closed forms, steps against separate calibrations."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.methods.classes import Classes
from bitwright.methods.drift.conversion import expected_error
from bitwright.methods.execution import CLASSES, Execution
from bitwright.networks.load import load
from bitwright.networks.trace import trace
from bitwright.reports.files import to_json
from bitwright.reports.reproductions import reproduction_record
from bitwright.studies.machines import build_accelerators
from bitwright.studies.provenance import provenance
from bitwright.studies.reproduce import drift
from bitwright.studies.reproduce.drift.arrays import DATAFLOWS, ROW_GROUPS, TIMINGS, drq_name, key
from bitwright.studies.reproduce.drift.bounds import EnergyParts, equal_share, fluid_speedup
from bitwright.studies.reproduce.drift.claims import OF_SHAPES, OF_WEIGHTS, RIVALS, SAVING, SPEEDUP
from bitwright.studies.reproduce.drift.distortion import (
    SubTensors,
    _sub_tensors,
    binned,
    formula_errors,
    laplace_draws,
)
from bitwright.studies.reproduce.drift.judged import ClassMacs
from bitwright.studies.reproduce.drift.ladder import DRQ, INT8, KINDS, MIXED, RAW, STEPS
from bitwright.studies.reproduce.drift.options import StudyOptions
from bitwright.studies.reproduce.drift.runs import MACHINES, PRICES
from bitwright.studies.reproduce.systems import find_system
from bitwright.studies.simulate import simulate
from bitwright.tasks.calibrate import calibrate_method
from toys import network_of

MCYCLES = {  # by an independent script of closed forms: INT8, DRQ at G = 1 and 4, drift, each at .8/.8
    "resnet50": (4.07, 1.63, 2.82, 1.85),
    "vit-base": (17.17, 6.87, 11.89, 6.74),
    "bert-base": (10.94, 4.38, 7.58, 4.30),
}


def reproduced(networks, *, options=None, settings=None, count=None):
    return drift.reproduce(
        networks,
        drift.machines(settings or {}),
        settings=drift.Settings(options=options or {}, calibration_count=count),
        provenance=provenance("a test", 0),
    )


def toy():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        *(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 64)),
        *(torch.nn.GELU(), torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 16)),
    )
    return network_of(module, torch.randn(32, 64))


@pytest.fixture(scope="module")
def shapes():
    return reproduced([load("gemm:196x512x512"), load("gemm:64x256x384")], options={"narrow_ends": True})


@pytest.fixture(scope="module")
def weights():
    return reproduced([toy()], count=16, options={"narrow_ends": True, "budget": 0.02})


class TestBounds:
    def test_the_notes(self):
        assert fluid_speedup(0.8, 0.8) == pytest.approx(2.78, abs=0.005)
        assert equal_share(SPEEDUP) == pytest.approx(0.815, abs=5e-4)
        assert fluid_speedup(0.90, 0.72) == pytest.approx(SPEEDUP, rel=0.01)

    @pytest.mark.parametrize("speedup", [1.0, 2.0, SPEEDUP, SAVING, 4.0])
    def test_a_share_gives_back_its_speedup(self, speedup):
        share = equal_share(speedup)
        assert fluid_speedup(share, share) == pytest.approx(speedup)

    def test_a_share_gives_back_its_saving(self):
        parts = EnergyParts.of({"mac": 5.0, "leakage": 1.0, "dram": 1.0, "sram_output": 0.1})
        assert (parts.timed, parts.moved, parts.kept) == pytest.approx((6.0, 1.0, 0.1))
        share = parts.share_for(2.5)
        assert parts.best_saving(share) == pytest.approx(2.5)
        assert share > equal_share(2.5)
        assert parts.share_for(4) is None


class TestArrays:
    def test_as_many_multipliers_each(self):
        machines = drift.machines({})
        for name, machine in machines.items():
            if name != "eyeriss":
                assert machine.multipliers_4b == 4096, name
        assert len(machines) == len(DATAFLOWS) * (2 + len(ROW_GROUPS)) + 2
        assert (machines["eyeriss"].rows, machines["eyeriss"].cols) == (12, 14)

    def test_sizes_are_bit_groups_of_all(self):
        machines = drift.machines({"rows": 24, "cols": 33})
        assert {machine.multipliers_4b for name, machine in machines.items() if name != "eyeriss"} == {4 * 792}

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"dataflow": "os"}, "cannot be set"),
            ({"drq.row_groups": 3}, "cannot be set"),
            ({"drift.rows": 8}, "cannot be set"),
            ({"rows": 1}, "at least 2"),
            ({"rows": "8"}, "at least 2"),
        ],
    )
    def test_what_is_measured_side_by_side_cannot_be_set(self, settings, said):
        with pytest.raises(InputError, match=said):
            drift.machines(settings)


class TestNotes:
    @pytest.mark.parametrize("name", list(MCYCLES))
    def test_cycles_of_section_6(self, name):
        """Closed forms of whole streams, all layers with .8 of rows and columns narrow; the notes' layers are ours.

        A row there has one precision in convolutions too, though it reads a pixel for each position of the kernel.
        """
        network = load(name)
        sites = trace(network).sites
        shapes = dataclasses.replace(network, module=None, sites=sites)
        shares = {"narrow_ends": True, "x_share": 0.8}
        plans = {
            INT8: calibrate_method(shapes, INT8),
            "drift": calibrate_method(shapes, "drift-rows", options={**shares, "w_share": 0.8}),
            "drq": calibrate_method(shapes, "drq", options=shares),
        }
        machines, found = drift.machines({}), []
        runs = ((INT8, "seq"), ("drq", drq_name(1)), ("drq", drq_name(4)), ("drift", "drift"))
        for plan, machine in runs:
            array = machines[key(machine, "ws-double")]
            cost = {}
            for site in sites:
                shape = dataclasses.replace(site, name="")
                if shape not in cost:
                    row = dataclasses.replace(site, conv=None)
                    classes = array.classes(Execution(site=row, plan=plans[plan].site(site.name)))
                    cost[shape] = int(array.place(classes).spent.sum())
            found.append(sum(cost[dataclasses.replace(site, name="")] for site in sites) / 1e6)
        assert found == pytest.approx(MCYCLES[name], rel=0.03)


class TestShapes:
    def test_every_claim_in_order(self, shapes):
        assert [claim.claim for claim in shapes.claims] == [claim.claim for claim in OF_SHAPES]
        assert all(claim.reason for claim in shapes.claims)

    def test_figures_are_those_of_separate_simulations(self, shapes):
        network = load("gemm:196x512x512")
        options = {"x_share": 0.8, "w_share": 0.8, "narrow_ends": True}
        plans = {
            "drift": calibrate_method(network, "drift-rows", options=options),
            "drift in blocks": calibrate_method(network, "drift", options=options),
        }
        for (name, plan), dataflow in itertools.product(plans.items(), DATAFLOWS):
            for price, pj in PRICES.items():
                settings = {"rows": 32, "cols": 32, **TIMINGS[dataflow], "dram_pj_per_bit": pj}
                cost = simulate(network, plan, build_accelerators(["drift"], settings))["drift"].cost
                run = shapes.networks[0].stated.run(name, dataflow)
                assert run.energy_pj[price] == pytest.approx(cost.total_energy_pj)
                assert price != "list" or (run.compute_cycles, run.cycles) == (cost.compute_cycles, cost.cycles)

    def test_every_run_adds_up(self, shapes):
        for network in shapes.networks:
            assert len(network.stated.runs) == len(MACHINES) * len(DATAFLOWS)
            assert network.stated.fluid == pytest.approx(fluid_speedup(0.8, 0.8), rel=0.01)
            for run in network.stated.runs:
                assert run.compute_cycles <= run.cycles
                assert run.energy_pj["4"] < run.energy_pj["15"]
                for price in PRICES:
                    assert sum(run.parts_pj[price].values()) == pytest.approx(run.energy_pj[price])

    def test_means_over_networks(self, shapes):
        stated = [network.stated for network in shapes.networks]
        for i, rival in enumerate(RIVALS):
            ratios = [each.speedup(rival, "ws-double") for each in stated]
            assert shapes.claims[i].measured == pytest.approx(math.sqrt(math.prod(ratios)))
            assert shapes.claims[i].published == SPEEDUP
            assert shapes.claims[len(RIVALS) + i].published == SAVING

    def test_no_speedup_is_above_the_bound(self, shapes):
        for network in shapes.networks:
            for dataflow in DATAFLOWS:
                fluid = network.stated.run("drift", dataflow).compute_cycles * network.stated.fluid
                assert fluid >= 196 * 512 * 512 / 1024 or network.network != "gemm:196x512x512"

    def test_equal_shapes_are_costed_once(self, monkeypatch):
        first = load("gemm:64x128x64").sites[0]
        sites = tuple(dataclasses.replace(first, name=f"layer{i}") for i in range(3))
        network = dataclasses.replace(load("gemm:64x128x64"), sites=sites)
        (machine,) = build_accelerators(["seq"]).values()
        ran = []
        run = type(machine).run
        monkeypatch.setattr(type(machine), "run", lambda self, work: (ran.append(work.site.name), run(self, work))[1])
        found = simulate(network, calibrate_method(network, INT8), {"seq": machine})["seq"]
        assert ran == ["layer0"]
        assert found.cost.cycles == 3 * found.sites[0].cost.cycles

    def test_a_network_that_fails_is_said_in_its_claims(self):
        found = reproduced([load("gemm:256x256x256")], settings={"output_sram_kib": 1, "psum_bits": 10000})
        assert found.networks[0].failed
        assert all(claim.measured is None and claim.reason for claim in found.claims)


class TestLadder:
    def test_every_step(self, weights):
        ladder = weights.networks[0].ladder
        assert [rung.name for rung in ladder.rungs] == [INT8, *STEPS, DRQ, MIXED]
        assert not [rung.reason for rung in ladder.rungs if rung.reason]
        for rung in ladder.rungs:
            assert sum(rung.shares.values()) == pytest.approx(1)
            wide = {"a8w8": 1.0, "a8w4": 0.5, "a4w8": 0.5, "a4w4": 0.25}
            assert rung.time == pytest.approx(sum(wide[name] * share for name, share in rung.shares.items()))
            assert rung.loss <= 0.02 + 1e-6
        assert ladder.rung(INT8).time == 1
        assert ladder.rung(KINDS).time < 1

    @pytest.mark.parametrize(("name", "method"), [(KINDS, "drift"), (RAW, "drift-rows")])
    def test_deltas_are_those_of_the_method_itself(self, weights, name, method):
        from bitwright.tasks.samples import default_samples

        network = toy()
        samples = default_samples(network, count=16, seed=0)
        options = {"narrow_ends": True, "budget": 0.02, **STEPS[name][1]}
        plan = calibrate_method(network, method, options=options, count=16)
        assert samples.count == 16
        found = set(weights.networks[0].ladder.rung(name).found.values())
        kept = {getattr(made.precision, f"{side}_delta") for made in plan.sites.values() for side in "xw"}
        assert found == kept

    def test_claims_of_weights(self, weights):
        said = [claim.claim for claim in weights.claims]
        assert said == [claim.claim for claim in (*OF_SHAPES, *OF_WEIGHTS)]
        last = weights.networks[0].ladder.rung(KINDS)
        budget, share = weights.claims[len(OF_SHAPES)], weights.claims[len(OF_SHAPES) + 1]
        assert budget.measured == pytest.approx(1 / last.time)
        assert share.measured == pytest.approx(100 * equal_share(1 / last.time))
        assert share.published == pytest.approx(81.5, abs=0.05)

    def test_without_the_ladder_all_are_shapes(self):
        found = reproduced([toy()], options={"ladder": False})
        assert found.networks[0].ladder is None
        assert [claim.claim for claim in found.claims] == [claim.claim for claim in OF_SHAPES]

    def test_counts_by_hand(self):
        counted = ClassMacs()
        classes = Classes(
            m=4,
            n=2,
            k=np.array([8]),
            m_narrow=np.array([[1]]),
            n_narrow=np.array([[1]]),
            x_narrow=0.25,
            w_narrow=0.5,
        )
        work = Execution(site=load("gemm:4x8x2").sites[0], plan=None)
        assert work.memo(CLASSES, lambda: classes) is work.classes
        counted(work)
        assert counted.shares == {"a8w8": 0.375, "a8w4": 0.375, "a4w8": 0.125, "a4w4": 0.125}
        assert counted.time == pytest.approx(0.375 + 0.1875 + 0.0625 + 0.03125)


class TestDistortion:
    def test_rounding_alone_is_the_formula(self):
        """Laplace data of many codes per step, rounded by hand: no test chooses the step by their tails."""
        codes = np.rint(np.random.default_rng(0).laplace(0, 40, 200_000))
        for step in (16, 40, 80):
            lost = (np.rint(codes / step) * step - codes) ** 2
            assert lost.sum() / (codes**2).sum() == pytest.approx(expected_error(40 / step), rel=0.02)

    def test_draws_are_sorted_by_the_range_test(self):
        found = SubTensors(
            shift=np.full(20_000, 3.0),
            delta=np.random.default_rng(0).uniform(0.5, 1.75, 20_000),
            error=np.ones(20_000),
            variance=np.ones(20_000),
        )
        draws = laplace_draws(32, found)
        ratios = {each.low: each.measured / each.predicted for each in binned("x", [draws], 32)}
        assert ratios[0.75] < 1 < ratios[1.5] < 1.6
        assert {each.drawn is not None for each in binned("x", [draws], 32) if 0.5 <= each.low < 2} == {True}

    def test_errors_by_hand(self):
        before = torch.tensor([[3, -5, 0, 2], [1, 1, 1, 1]], dtype=torch.int8)
        after = torch.tensor([[4, -4, 0, 2], [1, 1, 1, 1]], dtype=torch.int8)
        found = _sub_tensors(before, after, torch.tensor([[1], [0]]), 0)
        assert found.error.tolist() == [2.0]  # the second lost nothing and is left out
        assert found.delta.tolist() == [1.25]  # mean |c| of 10 by 4, the mean is 0, by 2
        assert found.variance.tolist() == [38.0]

    def test_predictions(self):
        delta = np.array([0.02, 0.5, 1.0, 2.0, 8.0])
        assert formula_errors(delta) == pytest.approx([expected_error(each) for each in delta], rel=1e-3)

    def test_bins_weigh_by_variance(self):
        found = SubTensors(
            shift=np.array([2.0, 2.0]),
            delta=np.array([1.1, 1.2]),
            error=np.array([1.0, 2.0]),
            variance=np.array([10.0, 90.0]),
        )
        (only,) = binned("w", [found], 32)
        assert (only.operand, only.low, only.count, only.measured) == ("w", 1.0, 2, 0.03)
        expected = (10 * expected_error(1.1) + 90 * expected_error(1.2)) / 100
        assert only.predicted == pytest.approx(expected, rel=1e-3)

    def test_a_network_has_both_operands(self, weights):
        assert {each.operand for each in weights.networks[0].distortions} == {"x", "w"}
        assert all(each.measured > 0 and each.count for each in weights.networks[0].distortions)


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["reproduce", "drift", "--models", "gemm:64x128x64", *arguments])

    def test_tables(self):
        result = self.run("--option", "x_share=0.5", "--wide")
        assert result.exit_code == 0, result.stderr
        for said in (
            "gemm:64x128x64 on the given sizes, at stated shares",
            "speed-up over static INT8 on the same bit groups",
            "energy saving over DRQ at G = 8",
            "32 x 32 bit groups, 4,096 4-bit multipliers",
            "x_share=0.5, w_share=0.8",
            "no energy or area table of the paper is public",
        ):
            assert said in result.stdout, said

    def test_json(self):
        result = self.run("--json", "--set", "rows=16", "--set", "cols=16")
        assert result.exit_code == 0, result.stderr
        record = json.loads(result.stdout)
        assert len(record["rows"]) == len(OF_SHAPES)
        assert set(record["rows"][0]) == {"claim", "source", "published", "measured", "unit", "conditions", "reason"}
        assert record["parameters"]["drift, ws-double"]["rows"] == 16
        assert record["options"]["budget"] == 0.01

    def test_record_of_everything(self, weights):
        record = json.loads(to_json("reproduce", reproduction_record(weights)))
        assert record["networks"][0]["ladder"]["steps"][1]["name"] == RAW
        assert record["networks"][0]["distortions"]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--option", "x_share=1.5"], "option x_share of drift: 1.5 was given"),
            (["--option", "w_share=-0.1"], "option w_share of drift: -0.1 was given"),
            (["--option", "w_share=most"], "option w_share of drift"),
            (["--option", "budget=0"], "option budget of drift"),
            (["--option", "x_shar=1"], "Did you mean 'x_share'"),
            (["--option", "*:x_share=1"], "leave the glob out"),
            (["--set", "dataflow=ws"], "cannot be set"),
            (["--task", "top1"], "has no use for task"),
            (["--distribution", "gaussian"], "leave the distribution out"),
        ],
    )
    def test_bad_input_is_one_sentence(self, arguments, said):
        result = self.run(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert said in result.stderr

    def test_default_networks(self):
        system = find_system("drift")
        assert tuple(system.models)[:4] == ("resnet50", "vit-base", "bert-base", "opt-6.7b")
        assert system.models["opt-6.7b"] == {"sequence_length": 2048}
        assert StudyOptions().in_words.startswith("x_share=0.8, w_share=0.8")
