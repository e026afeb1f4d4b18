"""Systems at equal accuracy: losses, fronts against all pairs, choices within a budget, and what is shared."""

import dataclasses
import io
import itertools
import json
import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.toys import network_of, normal

import bitwright
from bitwright.errors import InputError
from bitwright.methods.integer import calibrate as integers
from bitwright.methods.plan import same_plan
from bitwright.methods.plan_file import save_plan
from bitwright.methods.protocol import compose
from bitwright.methods.sharing import once, sharing
from bitwright.reports.files import plain
from bitwright.reports.frontier import frontier_record, print_frontier
from bitwright.reports.page import page_of
from bitwright.studies.frontier import OperatingPoint, parse_budget, parse_share, systems_of
from bitwright.studies.frontier.halves import Verdict
from bitwright.studies.frontier.standings import compared, front, standings
from bitwright.studies.machines import accelerator_names, build_accelerators
from bitwright.studies.objectives import Objective
from bitwright.studies.row import Row
from bitwright.studies.systems import STATIC, SYSTEMS
from bitwright.tasks import Interval, get_task
from bitwright.tasks.budget import MISSED, RATIO, UNDECIDED, WITHIN, Budget
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import evaluate_many
from bitwright.tasks.float_outputs import FloatOutputs
from bitwright.tasks.relative_loss import Judged, meaning, relative_loss
from bitwright.tasks.statistics import mean_of

INT8 = STATIC[0]
ITSELF = Objective(name="energy", title="energy", unit="J", power=0, of=lambda cost: cost)


def toy():
    torch.manual_seed(0)
    return network_of(
        torch.nn.Sequential(torch.nn.Linear(32, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8)), normal(8, 32)
    )


ONE = Budget(limit=0.01)


def point(system, cost, loss, *, spread=0.0, chose=None, sure=None):
    """A point that loses `loss` on the samples that report, and `chose` (the same) on those that choose."""
    row = Row(network="toy", method="m", accelerator="a", evaluation=None, simulation=cost, status="ok", reason="")
    lost = Judged(value=loss, interval=Interval(low=loss - spread, high=loss + spread))
    before, around = loss if chose is None else chose, spread if sure is None else sure
    by = Judged(value=before, interval=Interval(low=before - around, high=before + around))
    found = Verdict(
        chosen_by=by, judged=lost, loss=lost, sqnr=None, state=ONE.state(lost), separated=ONE.separated(lost)
    )
    return OperatingPoint(system=system, row=row, options={}, verdict=found, comparable=True)


class TestBudget:
    @pytest.mark.parametrize(("text", "share"), [("1%", 0.01), (" 0.5 %", 0.005), ("99.9%", 0.999)])
    def test_percentages(self, text, share):
        assert parse_budget(text).limit == pytest.approx(share)
        assert parse_share(text) == pytest.approx(share)

    @pytest.mark.parametrize(("text", "ratio"), [("20dB", 20), (" 12.5dB ", 12.5), ("1e1dB", 10)])
    def test_decibels(self, text, ratio):
        assert parse_budget(text) == Budget(limit=ratio, constraint=RATIO)
        with pytest.raises(InputError, match="write a percentage"):
            parse_share(text)

    @pytest.mark.parametrize(
        "text",
        [
            *("", "0", "1", "0%", "-1%", "100%", "150%", "abc", "abc%", "nan%", "inf%", "1%%", "%"),
            *("20 dB", "-3dB", "0dB", "nandB", "infdB", "dB", "20db", "20", "20dB%", "nan"),
        ],
    )
    def test_what_is_none(self, text):
        with pytest.raises(InputError, match=r"write a percentage .* such as 1%, .* or decibels .* such as 20dB"):
            parse_budget(text)

    @pytest.mark.parametrize("share", [0, 1, -0.1, math.nan])
    def test_shares(self, share):
        with pytest.raises(InputError, match=r"0\.01 for 1%"):
            bitwright.compare("gemm:8x8x8", budget=share)


@dataclasses.dataclass(frozen=True)
class Judge:
    higher_is_better: bool
    needs_reference: bool = False
    metric: str = "points"
    score: object = mean_of(0)
    further: tuple = ()
    counted: None = None


class TestLoss:
    def test_of_labels(self):
        quantized, exact = np.array([[1.0], [1.0], [0.0], [1.0]]), np.ones((4, 1))
        assert relative_loss(Judge(True), quantized, exact).value == pytest.approx(0.25)
        assert relative_loss(Judge(False), 1.2 * exact, exact).value == pytest.approx(0.2)
        assert relative_loss(Judge(True), -1.1 * exact, -exact).value == pytest.approx(0.1)
        assert "rise of points" in meaning(Judge(False))

    def test_pairs_are_resampled_together(self):
        exact = np.array([[1.0], [5.0], [9.0]])
        found = relative_loss(Judge(True), 0.9 * exact, exact)
        assert found.interval.low == pytest.approx(0.1)
        assert found.interval.high == pytest.approx(0.1)

    def test_of_fidelity_is_one_minus_cosine(self):
        network = toy()
        task = get_task(None, network=network, limit=8)
        plan = calibrate_method(network, "int8", task=task)
        floating = calibrate_method(network, "float", task=task)
        found = evaluate_many(network, {"q": plan, "f": floating}, task)
        cosine = next(each.value for each in found["q"].score.measures if each.name == "cosine")
        assert relative_loss(task, found["q"].statistics, found["f"].statistics).value == pytest.approx(1 - cosine)
        assert relative_loss(task, found["f"].statistics, found["f"].statistics).value == pytest.approx(0, abs=1e-12)

    def test_nothing_is_within_that_is_not_a_number(self):
        assert not Judged(value=math.nan, interval=Interval(low=math.nan, high=math.nan)).within(0.5)

    @pytest.mark.parametrize(("low", "high", "separated"), [(0, 0.01, True), (0, 0.02, False), (0.011, 0.02, True)])
    def test_what_the_samples_decide(self, low, high, separated):
        assert Judged(value=0.01, interval=Interval(low=low, high=high)).separated(0.01) is separated


class TestFront:
    @given(st.lists(st.tuples(st.integers(1, 6), st.integers(-3, 3)), max_size=12))
    def test_is_what_no_pair_beats(self, pairs):
        points = [point("s", cost, loss) for cost, loss in pairs]
        expected = [
            (cost, loss)
            for cost, loss in pairs
            if not any(a <= cost and b <= loss and (a, b) != (cost, loss) for a, b in pairs)
        ]
        found = [(each.row.simulation, each.judged.value) for each in front(points, ITSELF)]
        assert found == sorted(expected)

    def test_standings_by_hand(self, monkeypatch):
        monkeypatch.setattr("bitwright.studies.frontier.standings.OBJECTIVES", (ITSELF,))
        points = [
            point(INT8, 10.0, 0.001),
            point(INT8, 8.0, 0.02),
            point("good", 4.0, 0.005, spread=0.004),
            point("good", 3.0, 0.005, spread=0.01),
            point("good", 2.0, 0.5),
            point("bad", 1.0, 0.3),
        ]
        found = {each.system: each for each in standings("toy", points, ONE)}
        assert found["good"].best is points[2]
        assert not points[3].keeps  # its interval reaches 1.5 %
        assert (found["good"].gain, found["good"].rank) == (2.5, 1)
        assert (found[INT8].gain, found[INT8].rank) == (1, 2)
        assert (found["bad"].best, found["bad"].rank, found["bad"].gain) == (None, None, None)
        assert "the least loss there is 30 % (m)" in found["bad"].reason

    def test_the_samples_that_report_have_no_say_in_the_choice(self, monkeypatch):
        monkeypatch.setattr("bitwright.studies.frontier.standings.OBJECTIVES", (ITSELF,))
        points = [
            point(INT8, 10.0, 0.001),
            point("lucky", 2.0, 0.03, chose=0.001),  # misses what it promised
            point("lucky", 5.0, 0.001),
            point("hidden", 1.0, 0.0, chose=0.02),  # nobody could know
            point("hidden", 4.0, 0.008, spread=0.005, chose=0.001, sure=0.0),
            point("unsure", 3.0, 0.0, chose=0.009, sure=0.005),  # by its estimate alone
            point("surer", 3.0, 0.0, chose=0.009, sure=0.005),
            point("surer", 6.0, 0.0, chose=0.002, sure=0.001),
        ]
        found = {each.system: each for each in standings("toy", points, ONE)}
        chosen = {
            name: (each.best.row.simulation, each.best.state, each.gain, each.rank) for name, each in found.items()
        }
        assert chosen == {
            INT8: (10.0, WITHIN, 1, 3),
            "lucky": (2.0, MISSED, None, None),
            "hidden": (4.0, UNDECIDED, None, None),
            "unsure": (3.0, WITHIN, pytest.approx(10 / 3), 1),
            "surer": (6.0, WITHIN, pytest.approx(10 / 6), 2),
        }

    @pytest.mark.parametrize(("loss", "spread"), [(0.2, 0.0), (0.009, 0.002)])
    def test_a_baseline_that_does_not_keep_the_budget_is_no_yardstick(self, loss, spread, monkeypatch):
        monkeypatch.setattr("bitwright.studies.frontier.standings.OBJECTIVES", (ITSELF,))
        points = [point(INT8, 6.0, loss, spread=spread), point("s", 3.0, 0.0)]
        found = {each.system: each for each in standings("toy", points, ONE)}
        assert (found["s"].gain, found["s"].rank) == (None, 1)
        assert (found[INT8].gain, found[INT8].rank) == (None, None)
        if loss > 0.01:
            assert found[INT8].best is None
            assert "no point keeps the budget on the samples that choose" in found[INT8].reason
        else:
            assert found[INT8].best.state == UNDECIDED

    def test_four_bit_weights_on_a_static_machine_are_a_yardstick_too(self, monkeypatch):
        monkeypatch.setattr("bitwright.studies.frontier.standings.OBJECTIVES", (ITSELF,))
        points = [point(INT8, 10.0, 0.001), point(STATIC[1], 6.0, 0.001), point("s", 3.0, 0.0)]
        found = {each.system: each for each in standings("toy", points, ONE)}
        assert (found["s"].gain, found[INT8].gain, found[STATIC[1]].gain) == (2, 0.6, 1)


class TestSystems:
    def test_methods_and_machines_exist(self):
        for system, kind in itertools.product(SYSTEMS.values(), ("image", "language")):
            assert set(system.machines) <= set(accelerator_names())
            for method, options in system.offered(0.01, kind):
                compose(method, options)

    def test_budgets_are_the_users(self):
        assert SYSTEMS["drift"].offered(0.02, "image") == (("drift", {"budget": 0.01}), ("drift", {"budget": 0.04}))
        assert SYSTEMS["drq"].offered(0.02, "language") == (("int8-token+drq", {"budget": 0.02}),)
        assert SYSTEMS["mixed"].offered(0.95, "image") == (("mixed", {"budget": 0.9}),)
        assert SYSTEMS["apsq"].offered(0.02, "image") == SYSTEMS["apsq"].choices

    def test_large_networks_get_the_ends_of_a_system(self):
        found = [method for method, _ in SYSTEMS["apsq"].offered(0.02, "language")]
        assert found == ["int8+apsq-gs1", "int8+apsq-gs4"]
        assert SYSTEMS["int8-token"].offered(0.02, "language") == (("int8-token", {}),)

    def test_the_baseline_is_always_there_and_machines_are_narrowed(self):
        found = systems_of(["panacea", "int8+psq"], ["panacea", "simd"])
        assert list(found) == [*STATIC, "panacea", "int8+psq"]
        assert found[INT8].machines == ("simd",)
        assert found["int8+psq"].machines == ("panacea", "simd")

    def test_names_that_are_none(self):
        with pytest.raises(InputError, match="Did you mean 'panacea'"):
            systems_of(["panacae"], ["panacea"])
        with pytest.raises(InputError, match="no system has its machine"):
            systems_of(["panacea"], ["lpa"])


SHARED = [
    *((name, {}) for name in ("int8+apsq-gs1", "int8+apsq-gs2", "int8", "w4a8", "aqs", "aqs+apsq", "mixed", "drq")),
    ("aqs", {"dbs": False}),
    *(("drift", {"budget": budget}) for budget in (0.01, 0.03)),
]


class TestSharing:
    def test_compositions_that_begin_alike_have_equal_plans(self, monkeypatch):
        """And so have those that observe and search alike; every one is as if it had been alone."""
        network = toy()
        unrotated = [(method, {**options, "rotation": "none"}) for method, options in SHARED]
        alone = [calibrate_method(network, method, options=options) for method, options in unrotated]
        watched = []
        for call in (integers.choose_strengths, integers.histograms_of):

            def counting(*given, call=call):
                watched.append(call.__name__)
                return call(*given)

            monkeypatch.setattr(integers, call.__name__, counting)
        with sharing():
            found = [calibrate_method(network, method, options=options) for method, options in unrotated]
        for (method, _), one, other in zip(unrotated, found, alone, strict=True):
            assert same_plan(one, other), method
        assert watched.count("choose_strengths") == 3  # int8's, w4a8's, aqs's
        assert watched.count("histograms_of") == 2  # aqs's and mixed's

    def test_what_was_made_of_a_copy_goes_with_the_copy(self):
        """Searches transform many copies of a network, which together would fill a computer's memory."""

        class Copy:
            pass

        made, batch = [], {"x": torch.zeros(1)}
        with sharing():
            for _ in range(3):
                copy = Copy()
                gone = weakref.ref(copy)
                for _ in range(2):
                    once("ranges", (copy, batch), lambda: made.append(1))
                del copy
                assert gone() is None
        assert len(made) == 3

    def test_rotations_are_those_of_a_method_alone(self):
        network, some = toy(), ("int8", "int8+apsq-gs2", "aqs")
        alone = [calibrate_method(network, method) for method in some]
        with sharing():
            found = [calibrate_method(network, method) for method in some]
        assert all(same_plan(one, other) for one, other in zip(found, alone, strict=True))

    def test_equal_options_of_methods_with_other_rules_share_nothing(self, monkeypatch):
        """`aqs` keeps keys and values wider than `int` where the options of both are the same."""
        network, calls = toy(), []
        search = integers.choose_strengths
        monkeypatch.setattr(integers, "choose_strengths", lambda *given: calls.append(1) or search(*given))
        with sharing():
            for method in ("int", "aqs"):
                options = {"w_bits": 4, "w_granularity": "channel", "ends": "same", "rotation": "none"}
                calibrate_method(network, method, options=options)
        assert len(calls) == 2

    def test_the_float_network_runs_once_per_batch(self):
        network, runs = toy(), []
        counting = dataclasses.replace(network, run=lambda module, batch: runs.append(1) or module(*batch.values()))
        plan = calibrate_method(network, "float")
        task = get_task(None, network=network, limit=8)
        outputs = FloatOutputs(counting)
        first, second = (evaluate_many(counting, {"f": plan}, task, batch_size=4, outputs=outputs) for _ in range(2))
        assert len(runs) == 2
        assert np.array_equal(first["f"].statistics, second["f"].statistics)
        assert len(FloatOutputs(counting, kept_bytes=0)._kept) == 0

    def test_outputs_beyond_the_limit_run_again(self):
        runs = []
        network = dataclasses.replace(toy(), run=lambda module, batch: runs.append(1) or module(*batch.values()))
        outputs = FloatOutputs(network, kept_bytes=8 * 8 * 4)
        for _ in range(2):
            for index in range(2):
                outputs.of(index, {"x": normal(8, 32)})
        assert len(runs) == 3


@pytest.fixture(scope="module")
def found():
    return bitwright.compare(
        toy(), ["panacea", "combined"], ["simd", "systolic-ws", "panacea", "apsq"], budget="5%", limit=8
    )


class TestStudy:
    def test_every_choice_has_its_points(self, found):
        static = [INT8] * 6 + [STATIC[1]] * 4
        assert [point.system for point in found.points] == static + ["panacea"] * 5 + ["combined"] * 2
        assert {point.row.method for point in found.points} >= {"aqs dbs=false", "aqs-w4 dbs=true", "lpq+apsq"}

    def test_refusals_of_the_seam_are_stated(self, found):
        refused = next(point for point in found.points if point.row.method == "lpq+apsq")
        assert refused.row.status == "refused"
        assert "integers are needed" in refused.row.reason
        assert not refused.comparable
        assert refused.fronts == ()

    def test_standings_follow_from_the_frame(self, found):
        frame = found.frame()
        for standing in found.standings:
            column = {"energy": "total_energy_pj", "latency": "latency_us"}.get(standing.objective)
            column = column or "energy_delay_area_j_s_mm2"
            sure = frame[frame["choosing_high"].fillna(1) <= found.budget.limit]
            assert set(sure["system"]) >= {INT8, "panacea"}
            ordered = sure[sure["system"] == standing.system].astype({column: float})
            least = ordered.sort_values([column, "choosing"]).iloc[0]
            assert (least["method"], least["accelerator"]) == (standing.best.row.method, standing.best.row.accelerator)
            assert standing.best.keeps == (least["relative_loss_high"] <= found.budget.limit)
            if standing.best.keeps:
                yardstick = min(sure[sure["system"] == name][column].min() for name in STATIC)
                assert standing.gain == pytest.approx(yardstick / least[column])
        product = frame["total_energy_pj"] * frame["latency_us"] * frame["area_um2"] * 1e-24
        assert np.allclose(product.dropna().astype(float), frame["energy_delay_area_j_s_mm2"].dropna().astype(float))

    def test_plot_shows_points_and_front(self, found):
        figure = found.plot(objective="latency")
        names = [trace.name for trace in figure.data]
        assert [name for name in names if name != STATIC[1]] == ["Pareto front", INT8, "panacea", "combined"]
        assert len(figure.data[1].x) == 6  # two methods on simd, systolic-ws and apsq
        with pytest.raises(InputError, match="Did you mean 'energy'"):
            found.plot(objective="enrgy")

    def test_a_machine_that_leaves_more_out_is_on_no_front(self, found):
        costed = [point for point in found.points if point.comparable]
        fewer = dataclasses.replace(costed[0].row.simulation, macs=2 * costed[0].row.simulation.macs)
        cut = dataclasses.replace(costed[0], row=dataclasses.replace(costed[0].row, simulation=fewer))
        again = compared([cut, *costed[1:]])
        assert [point.comparable for point in again] == [False, *[True] * (len(costed) - 1)]

    def test_record_and_table(self, found):
        record = plain(frontier_record(found))
        assert json.loads(json.dumps(record)) == record
        assert record["budget"] == 0.05
        assert (record["budget_unit"], record["budget_constrains"]) == ("share of 1", "a loss of at most 5 %")
        assert {row["budget_constrains"] for row in record["rows"]} == {"a loss of at most 5 %"}
        assert record["halves"]["toy"].endswith("chosen on 32 of 64 independent samples and reported on the other 32")
        assert len(record["rows"]) == len(found.points)
        assert record["standings"][0]["system"] == INT8
        console = Console(file=io.StringIO(), width=10_000)
        print_frontier(found, console)
        said = console.file.getvalue()
        assert "toy at a loss of at most 5 % (1 - cosine" in said
        assert "Least energy: " in said
        assert "Operating points are chosen on 32 of 64 independent samples and reported on the other 32." in said
        assert "lpq+apsq on apsq: refused: integers are needed" in said

    def test_of_an_sqnr(self, found):
        """The same points by what they keep of the signal: more is better, and all that is said says so."""
        loud = bitwright.compare(toy(), ["panacea"], ["simd", "systolic-ws", "panacea"], budget="20dB", limit=8)
        assert loud.budget == Budget(limit=20, constraint=RATIO)
        for each in loud.points:
            verdict = each.verdict
            assert verdict.judged == verdict.sqnr
            assert (verdict.state == WITHIN) == (verdict.sqnr.interval.low >= 20)
        frame = loud.frame()
        assert set(frame["budget_unit"]) == {"dB"}
        assert set(frame["budget_constrains"]) == {"an SQNR of at least 20 dB"}
        kept = frame[frame["within_budget"]]
        assert (kept["sqnr_db_low"] >= 20).all()
        assert len(kept)
        for objective in ("energy", "latency"):
            ordered = [each.judged.value for each in loud.front("toy", objective)]
            assert ordered == sorted(ordered)  # what costs more must keep more
        figure = loud.plot()
        assert figure.layout.yaxis.title.text == "SQNR [dB]"
        assert any("upper left is better" in each.text for each in figure.layout.annotations)
        page = page_of(loud)
        assert "an SQNR of at least 20 dB" in page
        assert "relative_loss" not in page
        console = Console(file=io.StringIO(), width=10_000)
        print_frontier(loud, console)
        assert "toy at an SQNR of at least 20 dB (SQNR of the outputs" in console.file.getvalue()
        assert "[dB]" in console.file.getvalue()

    def test_per_site_shares_are_kept(self, found):
        panacea = next(point for point in found.points if point.row.accelerator == "panacea")
        shares = [entry.shares for entry in panacea.row.simulation.sites]
        assert all(0 <= each.x_skipped <= 1 and 0 <= each.w_skipped <= 1 for each in shares)
        assert all(sum(each.classes.values()) == pytest.approx(1) for each in shares)
        dense = next(point for point in found.points if point.row.accelerator == "simd")
        assert {entry.shares.x_skipped for entry in dense.row.simulation.sites} == {None}
        assert {tuple(entry.shares.classes) for entry in dense.row.simulation.sites} == {("8 x 8",)}

    def test_saved_plans_join(self, tmp_path):
        network = toy()
        plan = calibrate_method(network, "int8-sym")
        save_plan(plan, tmp_path / "mine")
        result = bitwright.compare(network, [INT8], ["simd"], budget=0.05, limit=8, plans={"mine": tmp_path / "mine"})
        assert [point.system for point in result.points] == [INT8, INT8, STATIC[1], STATIC[1], "mine"]
        assert result.points[-1].comparable

    def test_shapes_have_no_accuracy(self):
        with pytest.raises(InputError, match="cannot be evaluated"):
            bitwright.compare("gemm:8x8x8", budget="1%")


def test_machines_of_systems_build():
    assert build_accelerators({name for system in SYSTEMS.values() for name in system.machines})
