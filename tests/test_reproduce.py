"""Reproduction of Panacea on a toy network: figures against the studies they come from, or against hand arithmetic."""

import dataclasses
import io
import itertools
import json

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from bitwright.accelerators.bit_slice import Panacea
from bitwright.accelerators.bit_slice.slicing import Slicing
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.methods.vectors import reference_masks
from bitwright.networks.load import load
from bitwright.networks.sites import Site
from bitwright.reports.claims import print_claims
from bitwright.reports.files import to_json
from bitwright.reports.reproductions import print_reproduction, reproduction_record
from bitwright.studies.inputs import simulation_input
from bitwright.studies.machines import build_accelerators
from bitwright.studies.provenance import provenance
from bitwright.studies.reproduce import panacea
from bitwright.studies.reproduce.claims import NOT_MEASURED, Claim
from bitwright.studies.reproduce.panacea.claims import CLAIMS
from bitwright.studies.reproduce.panacea.rates import Rates, SiteRates, ideal_ratio
from bitwright.studies.reproduce.panacea.study import AS_PUBLISHED
from bitwright.studies.reproduce.systems import SYSTEMS, find_system
from bitwright.studies.simulate import run_listening, simulate
from bitwright.tasks.calibrate import calibrate_method
from toys import Calling, network_of, normal

PLAIN = {"smoothing": "none"}


@pytest.fixture(scope="module")
def network():
    """Two layers; what the first reads is heavy-tailed around zero: most of its codes are near its zero point."""
    torch.manual_seed(0)
    first, second = torch.nn.Linear(48, 40), torch.nn.Linear(40, 24)
    module = Calling(lambda self, x: self.second(self.first(x**5).relu()), first=first, second=second)
    return network_of(module, normal(32, 48, seed=1))


@pytest.fixture(scope="module")
def machines():
    return build_accelerators(panacea.MACHINES)


@pytest.fixture(scope="module")
def found(network, machines):
    settings = panacea.Settings(options=PLAIN, calibration_count=32)
    return panacea.reproduce([network], machines, settings=settings, provenance=provenance("a test", 0))


def test_rates_leave_the_products_of_the_derived_table():
    """The derivation's examples: one side .525, both .394 at (.5, .95), a ratio of 1.33; 1.60 at (.75, .95)."""
    site = Site(name="s", op="linear", m=4, k=4, n=4, x_elements=16, w_elements=16)
    slicing = Slicing(x_low=1, x_high=1, w_low=1, w_high=1)
    for w, both, ratio in ((0.5, 0.39375, 1.33), (0.75, 0.328125, 1.6)):
        rates = SiteRates(site=site, slicing=slicing, split=4, zero_point=0, x=0.95, w=w)
        assert rates.two_sided / rates.dense == pytest.approx(both)
        assert rates.one_sided / rates.dense == pytest.approx(0.525)
        assert ideal_ratio([rates], [rates]) == pytest.approx(ratio, abs=0.005)


def test_a_single_weight_slice_is_dense_or_skipped():
    """W4A8: (2 - rho_x) / 2 with the slice dense, (1 - rho_w)(2 - rho_x) / 2 with it skipped."""
    site = Site(name="s", op="linear", m=4, k=4, n=4, x_elements=16, w_elements=16)
    for w_high, left in ((0, 0.55), (1, 0.55 * 0.5)):
        slicing = Slicing(x_low=1, x_high=1, w_low=1 - w_high, w_high=w_high)
        rates = SiteRates(site=site, slicing=slicing, split=4, zero_point=0, x=0.9, w=0.5)
        assert rates.two_sided / rates.dense == pytest.approx(left)


def test_steps_skip_what_the_masks_say(network, found):
    """Rates of the ladder are those of the slow masks of the very codes; zero skipping sees the plan of r skipping."""
    ladder = found.networks[0].ladder
    assert [rung.name for rung in ladder] == ["zero skipping", "r skipping", "+ ZPM", "+ DBS"]
    plan = calibrate_method(network, "aqs", options={**PLAIN, **AS_PUBLISHED, "zpm": False, "dbs": False}, count=32)
    works = []
    run_listening(network, plan, [works.append], simulation_input(network)[0])
    macs = [work.site.macs for work in works]
    masks = [reference_masks(work.site, work.x, work.w) for work in works]
    zeros = [reference_masks(work.site, dataclasses.replace(work.x, zero_point=0), work.w) for work in works]
    for rung, expected in ((ladder[1], masks), (ladder[0], zeros)):
        x = sum(mask.x.double().mean() * m for mask, m in zip(expected, macs, strict=True)) / sum(macs)
        assert rung.x_rate == pytest.approx(float(x), abs=1e-6)
    w = sum(mask.w.double().mean() * m for mask, m in zip(masks, macs, strict=True)) / sum(macs)
    assert ladder[1].w_rate == pytest.approx(float(w), abs=1e-6)
    assert ladder[0].x_rate < ladder[1].x_rate


def test_zero_and_r_skipping_share_a_score(found):
    zeros, frequent, centred, _ = found.networks[0].ladder
    assert zeros.evaluation is frequent.evaluation
    assert frequent.step is None
    difference = centred.evaluation.score.value - frequent.evaluation.score.value
    assert centred.step is None or centred.step.difference == pytest.approx(difference)


def test_ratios_are_those_of_separate_simulations(network, machines, found):
    """Each machine alone, with a plan calibrated alone, gives the same energies."""
    rivals = found.networks[0].rivalry
    batch, _ = simulation_input(network)
    costs = {}
    for name, method in (("panacea", "aqs"), ("sibia", "sibia")):
        plan = calibrate_method(network, method, options={**PLAIN, **AS_PUBLISHED}, count=32)
        costs[name] = simulate(network, plan, {name: machines[name]}, batch=batch)[name].cost
    energies = {name: cost.total_energy_pj for name, cost in costs.items()}
    assert rivals.energy_ratio == pytest.approx(energies["sibia"] / energies["panacea"])
    assert rivals.cycle_ratio == costs["sibia"].cycles / costs["panacea"].cycles
    assert sum(part.panacea_share * part.ratio for part in rivals.parts) == pytest.approx(rivals.energy_ratio)
    assert sum(part.panacea_share for part in rivals.parts) == pytest.approx(1)
    assert sum(part.sibia_share for part in rivals.parts) == pytest.approx(1)


def test_choices_include_the_machines_compared(found):
    rivals = found.networks[0].rivalry
    same = [choice for choice in rivals.choices if choice.as_compared]
    assert len(same) == 4  # operators and their work, tiles in flight, bits of a run, slack
    assert {(choice.energy_ratio, choice.cycle_ratio) for choice in same} == {(rivals.energy_ratio, rivals.cycle_ratio)}


def test_claims_are_measured_in_the_order_of_the_system(found):
    assert [claim.claim for claim in found.claims] == [claim.claim for claim in CLAIMS]
    ladder, rivals = found.networks[0].ladder, found.networks[0].rivalry
    rises = [100 * (after.x_rate - before.x_rate) for before, after in itertools.pairwise(ladder)]
    measured = [rivals.energy_ratio, rivals.sides_ratio, *rises]
    assert [claim.measured for claim in found.claims] == pytest.approx(measured)
    assert rivals.sides_ratio <= 2
    for claim in found.claims:
        assert claim.reason != NOT_MEASURED
        assert claim.conditions["network"] == "toy"


def test_report_and_record(found):
    out = io.StringIO()
    print_reproduction(found, Console(file=out, width=400), sites=True)
    text = out.getvalue()
    for said in ("1.97x", "zero skipping", "+ DBS", "dynamic_operators=4", "Substrate: common", "split"):
        assert said in text
    record = json.loads(to_json("reproduce", reproduction_record(found)))
    assert set(record["rows"][0]) == {"claim", "source", "published", "measured", "unit", "conditions", "reason"}
    assert record["rows"][0]["published"] == 1.97
    assert [step["step"] for step in record["networks"][0]["steps"]] == [rung.name for rung in found.networks[0].ladder]


def test_a_network_without_anything_to_skip_is_said_in_every_claim(machines):
    shapes = load("gemm:8x8x8")
    settings = panacea.Settings()
    found = panacea.reproduce([shapes], machines, settings=settings, provenance=provenance("a test", 0))
    assert found.networks[0].failed
    assert all("--distribution" in claim.reason and claim.measured is None for claim in found.claims)
    out = io.StringIO()
    print_reproduction(found, Console(file=out, width=400), sites=False)
    assert "gemm:8x8x8: failed: " in out.getvalue()


def test_sibia_gets_those_options_that_it_has():
    settings = panacea.Settings(
        options={"zpm": False, "smoothing": "none", "sites": {"*": {"dbs": False, "w_bits": 4}}}
    )
    assert settings.sibia_options == {"smoothing": "none", "sites": {"*": {"w_bits": 4}}, **AS_PUBLISHED}


def test_sites_may_differ_in_their_last_vector(machines):
    """The listener asks the machine how operands are cut and skips what it does not run."""
    rates = Rates(Panacea())
    network = load("gemm:6x8x8", distribution="laplace")
    plan = calibrate_method(network, "int8-sym")
    run_listening(network, plan, [rates])
    assert rates.sites == []  # signed activations


def test_unknown_system():
    assert set(SYSTEMS) >= {"panacea"}
    with pytest.raises(InputError, match=r"unknown system 'panaceas'.*Did you mean 'panacea'"):
        find_system("panaceas")


def test_a_claim_without_a_figure_prints_a_dash():
    out = io.StringIO()
    claim = Claim(claim="faster", source="somebody", published=None, unit="x")
    print_claims([claim.found(2.0, {}, "because.")], Console(file=out, width=200))
    assert "2.00x" in out.getvalue()
    assert " - " in out.getvalue()
    assert "(1) because." in out.getvalue()


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["reproduce", *arguments])

    def test_synthetic_operands_are_said(self):
        result = self.run("panacea", "--models", "gemm:64x64x64", "--distribution", "outliers", "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert found["networks"][0]["steps"][0]["score"] is None
        assert "synthetic" in json.dumps(found["rows"])

    def test_what_fails_is_exit_1(self):
        result = self.run("panacea", "--models", "gemm:8x8x8")
        assert result.exit_code == 1
        assert "--distribution" in result.stdout

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["panacaea"], "Did you mean 'panacea'"),
            (["panacea", "--models", ","], "no model is named"),
            (["panacea", "--models", "gemm:8x8x8", "--option", "zpn=false"], "Did you mean 'zpm'"),
            (["panacea", "--models", "gemm:8x8x8", "--set", "pease=8"], "Did you mean 'peas'"),
            (["panacea", "--models", "gemm:8x8x8", "--data", "."], "no network has numbers"),
        ],
    )
    def test_bad_input_is_one_sentence(self, arguments, said):
        result = self.run(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert said in result.stderr
