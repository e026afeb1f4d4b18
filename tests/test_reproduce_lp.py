"""Reproduction of LPA: figures against separate simulations, or against products and areas by hand."""

import dataclasses
import io
import itertools
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

from bitwright import technology
from bitwright.accelerators.precision_scalable import Lpa, compute_area_um2
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.networks.load import load
from bitwright.networks.network import Network
from bitwright.networks.sites import Site
from bitwright.reports.files import to_json
from bitwright.reports.lp import _box
from bitwright.reports.reproductions import print_reproduction, reproduction_record
from bitwright.studies.provenance import provenance
from bitwright.studies.reproduce import lp
from bitwright.studies.reproduce.claims import NOT_MEASURED
from bitwright.studies.reproduce.lp.arrays import EQUAL, EQUAL_AREA, MACHINES, SMALL, grouped
from bitwright.studies.reproduce.lp.claims import CHARTED, CLAIMS, ENERGY, ERRORS, LATENCY, OF_THROUGHPUT, RESNET50, VIT
from bitwright.studies.reproduce.lp.errors import error_claims, weight_errors
from bitwright.studies.reproduce.lp.mixes import EIGHT, FOUR, MIXED, MIXES, MixOptions, plan_of, spread, widths_of
from bitwright.studies.reproduce.systems import find_system
from bitwright.studies.simulate import simulate

ARRAYS = (SMALL, EQUAL_AREA, "common")


def reproduced(networks, *, options=None, settings=None, substrate="common"):
    return lp.reproduce(
        networks,
        lp.machines(settings or {}, substrate),
        settings=lp.Settings(options=options or {}),
        provenance=provenance("a test", 0),
        substrate=substrate,
    )


def site(index, macs, *, static_weight=True):
    return Site(
        name=f"layer{index}",
        op="linear",
        m=macs,
        k=1,
        n=1,
        x_elements=macs,
        w_elements=1,
        static_weight=static_weight,
    )


def named(name, products):
    """A network of products, under the name that claims are about."""
    first = load(f"gemm:{products[0]}")
    sites = tuple(
        dataclasses.replace(load(f"gemm:{product}").sites[0], name=f"layer{i}") for i, product in enumerate(products)
    )
    return dataclasses.replace(first, name=name, sites=sites)


PRODUCTS = ("64x64x64", "128x256x64", "64x128x128", "196x64x256", "49x512x64")


@pytest.fixture(scope="module")
def found():
    """Both networks that claims are about, small."""
    return reproduced([named(RESNET50, PRODUCTS), named(VIT, PRODUCTS[::-1])])


class TestMixes:
    @given(
        macs=st.lists(st.integers(1, 50), min_size=1, max_size=40),
        share=st.floats(0, 1),
    )
    def test_a_share_is_met_within_half_a_site(self, macs, share):
        sites = [site(i, each) for i, each in enumerate(macs)]
        taken = spread(sites, share)
        got = sum(each.macs for each in sites if each.name in taken)
        assert abs(got - share * sum(macs)) <= max(macs) / 2 + 1e-9

    def test_shares_are_spread_over_the_network(self):
        sites = [site(i, 10) for i in range(12)]
        assert spread(sites, 0) == set()
        assert spread(sites, 1) == {each.name for each in sites}
        places = sorted(int(name.removeprefix("layer")) for name in spread(sites, 1 / 3))
        assert [b - a for a, b in itertools.pairwise(places)] == [3, 3, 3]

    def test_widths_of_every_machine(self):
        sites = [*(site(i, 10) for i in range(20)), site(20, 10, static_weight=False)]
        options = MixOptions()

        def widths(machine, mix):
            return widths_of(machine, mix, sites, options, "some network")

        assert all(set(widths(machine, EIGHT).values()) == {(8, 8)} for machine in MACHINES)
        assert set(widths("adaptivfloat", MIXED).values()) == {(8, 8)}
        assert set(widths("ant", FOUR).values()) == set(widths("bitfusion", FOUR).values()) == {(4, 4)}
        assert widths("lpa", FOUR) == {each.name: (8, 4) if each.static_weight else (8, 8) for each in sites}
        mixed = list(widths("lpa", MIXED).values())
        assert [mixed.count(each) for each in ((4, 2), (8, 4), (8, 8))] == [5, 13, 2 + 1]
        assert list(widths("ant", MIXED).values()).count((8, 8)) == 2

    def test_bitfusion_has_the_artifact_s_share_where_there_is_one(self):
        options = MixOptions()
        assert [options.bitfusion_share(name) for name in (RESNET50, VIT, "another")] == [0.58, 0.96, 0.5]
        assert MixOptions(bitfusion_wide=0.1).bitfusion_share(RESNET50) == 0.1

    def test_all_of_lpa_can_be_narrow_or_wide(self):
        sites = [site(i, 10) for i in range(4)]
        for options, expected in ((MixOptions(lpa_narrow=1, lpa_wide=0), 2), (MixOptions(lpa_narrow=0, lpa_wide=1), 8)):
            found = widths_of("lpa", MIXED, sites, options, "n")
            assert {w for _, w in found.values()} == {expected}


class TestArrays:
    def test_three_sets_or_two_on_the_native_substrate(self):
        arrays = grouped(lp.machines({}, "common"))
        assert tuple(arrays) == ARRAYS
        assert all(tuple(machines) == MACHINES for machines in arrays.values())
        assert tuple(grouped(lp.machines({}, "native"))) == ARRAYS[:2]
        assert {(each.rows, each.cols) for each in arrays[SMALL].values()} == {(8, 8)}
        assert {each.peak_macs_per_cycle for each in arrays["common"].values()} == {768}

    def test_equal_area_is_that_of_the_artifact_s_arrays(self):
        # SPARK (HPCA 2024): 0.326 mm2 of 4-bit PEs, 0.327 mm2 of AdaptivFloat's. LPA's rows are 32, as AdaptivFloat's.
        arrays, prices = grouped(lp.machines({}, "common"))[EQUAL_AREA], technology.load(28)
        for machine in arrays.values():
            assert machine.area().components_um2["pe_array"] == pytest.approx(0.3265e6, rel=0.003)
        columns = 4096 * prices.price("pe_int4").area() / prices.price("pe_lpa").area() / EQUAL["lpa"]["rows"]
        assert EQUAL["lpa"]["cols"] == round(columns)

    def test_sizes_cannot_be_set_but_the_rest_can(self):
        with pytest.raises(InputError, match=r"lpa\.rows cannot be set"):
            lp.machines({"lpa.rows": 16}, "common")
        machines = lp.machines({"lpa.psum_bits": 9, "output_sram_kib": 64}, "common")
        assert {each.output_sram_kib for each in machines.values()} == {64}
        assert {each.psum_bits for each in machines.values() if isinstance(each, Lpa)} == {9}


class TestLines:
    def test_every_array_and_mix(self, found):
        for network in found.networks:
            assert [(line.arrays, line.mix) for line in network.lines] == [(a, m) for a in ARRAYS for m in MIXES]
            assert all(tuple(line.runs) == MACHINES for line in network.lines)

    @pytest.mark.parametrize(("arrays", "mix"), [(SMALL, FOUR), (EQUAL_AREA, MIXED), ("common", EIGHT)])
    def test_figures_are_those_of_separate_simulations(self, found, arrays, mix):
        network = named(RESNET50, PRODUCTS)
        line = found.networks[0].line(arrays, mix)
        costs, others = {}, {}
        for name, machine in grouped(lp.machines({}, "common"))[arrays].items():
            plan = plan_of(name, mix, widths_of(name, mix, network.sites, MixOptions(), RESNET50))
            by_parts = type(machine)(**{**machine.parameters(), "priced_by": "parts"})
            costs[name] = simulate(network, plan, {name: machine})[name].cost
            others[name] = simulate(network, plan, {name: by_parts})[name].cost
        for name in MACHINES:
            assert line.runs[name].cycles == costs[name].cycles
            assert line.runs[name].energy_pj == costs[name].total_energy_pj
            assert line.latency(name) == pytest.approx(costs[name].cycles / costs["adaptivfloat"].cycles)
            ratio = others[name].total_energy_pj / others["adaptivfloat"].total_energy_pj
            assert line.energy_otherwise(name) == pytest.approx(ratio)

    def test_rates_by_hand(self, found):
        line = found.networks[0].line(SMALL, FOUR)
        rates = {name: run.rate for name, run in line.runs.items()}
        assert rates == pytest.approx({"lpa": 2, "ant": 1, "bitfusion": 1, "adaptivfloat": 1})
        # 64 PEs x 2 operations x 0.5 GHz.
        assert line.runs["lpa"].gops == pytest.approx(128)
        assert line.runs["lpa"].tops_per_mm2 == pytest.approx(128 / 1000 / (64 * 188.8e-6))
        assert line.runs["adaptivfloat"].gops == pytest.approx(CHARTED["adaptivfloat"].gops)
        mixed = found.networks[0].line(SMALL, MIXED).runs["lpa"]
        cycles = sum(each.site.macs * each.plan.w_bits / 8 / 64 for each in mixed.simulation.sites)
        assert mixed.peak_cycles == pytest.approx(cycles)
        assert mixed.rate == pytest.approx(mixed.simulation.cost.macs_dense / cycles / 64)

    def test_no_array_is_faster_than_its_pes(self, found):
        for network in found.networks:
            for line in network.lines:
                assert all(0 < run.utilization <= 1 for run in line.runs.values())

    def test_shares_of_energy_are_of_all(self, found):
        run = found.networks[0].lines[0].runs["lpa"]
        assert run.share(*run.simulation.cost.energy_pj) == pytest.approx(1)


class TestClaims:
    def test_all_are_there_in_order(self, found):
        of_weights = {claim.claim for claim in ERRORS.values()}  # the networks have shapes only
        assert [claim.claim for claim in found.claims] == [c.claim for c in CLAIMS if c.claim not in of_weights]
        assert len({claim.claim for claim in CLAIMS}) == len(CLAIMS) == 39
        for claim in found.claims:
            assert claim.reason != NOT_MEASURED
            assert claim.source
            assert claim.conditions["arrays"]

    def test_published_figures_agree_with_one_another(self):
        for each in CHARTED.values():
            assert each.gops / each.area_mm2 / 1000 == pytest.approx(each.tops_per_mm2, rel=0.005)
        by_claim = {claim.claim: claim.published for claim in CLAIMS}
        for network, figures in ENERGY.items():
            ratio = figures["lpa"] / figures["ant"]
            assert by_claim[f"energy of LPA by that of ANT, {network}"] == pytest.approx(ratio, rel=0.01)
        areas = CHARTED["lpa"].area_mm2 / CHARTED["ant"].area_mm2
        assert by_claim["compute area of LPA by that of ANT"] == pytest.approx(areas, rel=0.01)

    def test_what_is_measured(self, found):
        measured = {claim.claim: claim.measured for claim in found.claims}
        arrays = grouped(lp.machines({}, "common"))
        small = found.networks[0].line(SMALL, MIXED)
        assert measured["compute area of ANT"] == compute_area_um2(arrays[SMALL]["ant"]) / 1e6
        assert measured["throughput of BitFusion"] == small.runs["bitfusion"].gops
        assert measured["throughput of LPA by its compute area"] == small.runs["lpa"].tops_per_mm2
        for network in found.networks:
            line = network.line(EQUAL_AREA, MIXED)
            for name, words in (("lpa", "LPA"), ("ant", "ANT"), ("bitfusion", "BitFusion")):
                of = f"of {words} by that of AdaptivFloat, {network.network}"
                assert measured[f"latency {of}"] == line.latency(name)
                assert measured[f"energy {of}"] == line.energy(name)
            assert measured[f"energy of LPA by that of ANT, {network.network}"] == line.energy("lpa") / line.energy(
                "ant"
            )
        # 256 GOPS with 2-bit weights, 64 with 8-bit ones, by 64 x 188.8 um2.
        assert measured["throughput by compute area of LPA-2 PEs"] == pytest.approx(0.256 / (64 * 188.8e-6))
        assert measured["throughput by compute area of LPA-8 PEs"] == pytest.approx(0.064 / (64 * 188.8e-6))
        assert measured["throughput by compute area of Posit-2/4/8 PEs"] is None

    def test_means_over_rivals_and_networks(self, found):
        by_claim = {claim.claim: claim for claim in found.claims}
        lines = [network.line(EQUAL_AREA, MIXED) for network in found.networks]
        rivals = ("ant", "bitfusion", "adaptivfloat")
        energy = [line.energy(rival) / line.energy("lpa") for line in lines for rival in rivals]
        time = [100 * (1 - line.latency("lpa") / line.latency(rival)) for line in lines for rival in rivals]
        efficiency = by_claim["energy efficiency of LPA by that of the others, mean over machines and networks"]
        assert efficiency.measured == pytest.approx(sum(energy) / 6)
        reduction = by_claim["latency that LPA saves, mean over the others and networks"]
        assert reduction.measured == pytest.approx(sum(time) / 6)
        # The poster's own: (0.41 + 0.60 + 1) / 0.48 and (0.47 + 0.93 + 1) / 0.50, by six.
        assert f"{((0.41 + 0.60 + 1) / 0.48 + (0.47 + 0.93 + 1) / 0.50) / 6:.2f} in the same mean" in efficiency.reason
        assert f"{1 / 0.48:.2f} at most" in efficiency.reason

    def test_what_charted_rates_imply(self, found):
        reasons = {claim.claim: claim.reason for claim in found.claims}
        # 203.4 GOPS by 64: 3.178 = 1 / (s / 4 + (1 - s) / 2); 45.1: 0.705 = 1 / (4 s + 1 - s).
        narrow, wide = 0.741, 0.14
        assert pytest.approx(203.4 / 64, rel=0.001) == 1 / (narrow / 4 + (1 - narrow) / 2)
        assert "in at least 74 % of the products" in reasons["throughput of LPA"]
        assert pytest.approx(45.1 / 64, rel=0.01) == 1 / (4 * wide + 1 - wide)
        assert "as if 14 % of the products were 8 by 8 bits" in reasons["throughput of ANT"]

    def test_reasons_tell_the_tension(self, found):
        for claim in found.claims:
            if claim.claim.startswith("energy of LPA by that of ANT"):
                assert "LPA above ANT in both networks, at 2.4 times its area" in claim.reason
            if claim.claim.startswith("energy of LPA by that of Adaptiv"):
                assert "lpa.psum_bits=9" in claim.reason
            if claim.claim.startswith(("energy of", "latency of")):
                assert claim.reason.count(SMALL) == len(MIXES)
                assert "mixed: shares of products" in claim.conditions["mix"]
        assert "by construction" in found.claims[0].reason

    def test_other_networks_have_the_claims_about_machines_alone(self):
        found = reproduced([load("gemm:64x32x16")])
        assert len(found.claims) == 4 + 3
        some = reproduced([named(VIT, PRODUCTS[:2])])
        assert len(some.claims) == 4 + 3 + len(LATENCY[VIT]) + len(ENERGY[VIT]) + 1

    def test_a_network_that_fails_is_said_in_its_claims(self):
        networks = [named(RESNET50, PRODUCTS[:1]), named(VIT, PRODUCTS[:1])]
        found = reproduced(networks, settings={"output_sram_kib": 1, "psum_bits": 10000})
        assert all(network.failed for network in found.networks)
        about_machines = 4 + 3
        missing = [claim for claim in found.claims if claim.measured is None]
        assert len(missing) == len(CLAIMS) - len(ERRORS) - about_machines + 1  # posits have no machine anyway
        assert any("output SRAM holds 1024 bytes" in claim.reason for claim in missing)
        out = io.StringIO()
        print_reproduction(found, Console(file=out, width=300), sites=True)
        assert "resnet50: failed: " in out.getvalue()

    def test_parts_can_be_the_price_and_then_area_is_the_other(self):
        own = reproduced([load("gemm:64x32x16")])
        other = reproduced([load("gemm:64x32x16")], settings={"priced_by": "parts"})
        a, b = (each.networks[0].lines[0] for each in (own, other))
        for name in MACHINES:
            assert a.energy_otherwise(name) == pytest.approx(b.energy(name))
            assert b.energy_otherwise(name) == pytest.approx(a.energy(name))
        assert "as was asked for" in other.claims[0].reason

    def test_a_node_without_published_areas_has_no_other_price(self):
        found = reproduced([load("gemm:64x32x16")], settings={"priced_by": "parts", "node_nm": "45"})
        assert found.networks[0].lines[0].energy_otherwise("lpa") is None
        assert len(OF_THROUGHPUT) == 11


class TestWeightErrors:
    def errors(self, weight):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight.data = weight
        ones = torch.ones(1, weight.shape[1])
        return weight_errors(Network(name="layer", kind="tensor", module=layer, example=lambda shape: {"input": ones}))

    def test_integers_are_the_textbook_ones(self):
        weight = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
        found = {(each.kind, each.bits): each for each in self.errors(weight)}
        step = weight.abs().max() / 7
        expected = float(((weight / step).round() * step - weight).square().mean().sqrt())
        assert found["integer", 4].rmse == pytest.approx(expected, rel=1e-5)
        assert found["integer", 4].relative == pytest.approx(expected / float(weight.square().mean().sqrt()), rel=1e-5)

    def test_what_a_format_holds_loses_nothing(self):
        powers = 2.0 ** torch.arange(-3, 4).repeat(4).view(4, 7)  # LP<4, 1, 2> is these seven and zero
        found = {(each.kind, each.bits): each.rmse for each in self.errors(powers)}
        assert found["LP", 4] == found["LNS", 4] == 0
        assert found["integer", 4] > 0

    def test_claims_are_medians_of_all_layers(self):
        weights = [torch.randn(8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
        errors = [("layer", each) for weight in weights for each in self.errors(weight)]
        claims = {claim.claim: claim for claim in error_claims(errors)}
        rmse = sorted(each.rmse for _, each in errors if (each.kind, each.bits) == ("posit", 6))
        assert claims["RMSE of weights in posit, median"].measured == pytest.approx(rmse[1])

    def test_networks_of_shapes_have_none(self):
        assert weight_errors(load("gemm:8x8x8")) == ()

    def test_box_plots_share_an_axis(self):
        assert _box((1, 1, 1, 1, 1), (1, 100)).startswith("│ ")
        wide = _box((1, 10, 10, 10, 100), (1, 100))
        assert wide.index("│") in (29, 30)
        assert wide[0] == wide[-1] == "─"


class TestSystem:
    def test_default_networks_are_those_of_the_charts(self):
        assert tuple(find_system("lp").models)[:2] == (RESNET50, VIT) == tuple(LATENCY) == tuple(ENERGY)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"lpa_narow": 0.5}, "unknown option of lp 'lpa_narow'. Did you mean 'lpa_narrow'"),
            ({"ant_wide": 2}, "option ant_wide of lp: 2 was given"),
            ({"lpa_narrow": 0.7, "lpa_wide": 0.7}, "shares of one whole"),
            ({"sites": {"*": {"ant_wide": 1}}}, "leave the glob out"),
        ],
    )
    def test_impossible_options(self, options, message):
        with pytest.raises(InputError, match=message):
            reproduced([load("gemm:8x8x8")], options=options)


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["reproduce", "lp", *arguments])

    def test_tables(self):
        result = self.run("--models", "gemm:196x64x256", "--sites", "--option", "ant_wide=0.5")
        assert result.exit_code == 0, result.stderr
        for said in (
            "gemm:196x64x256 on the given sizes: latency and energy by those of AdaptivFloat",
            "Widths of gemm:196x64x256, mixed",
            "compute area of LPA",
            "Arrays equal area: lpa 32 x 54, ant 64 x 64",
            "stated and not fitted: lpa_narrow=0.25, lpa_wide=0.1, ant_wide=0.5",
        ):
            assert said in result.stdout, said

    def test_json(self):
        result = self.run("--models", "gemm:196x64x256", "--json")
        assert result.exit_code == 0, result.stderr
        record = json.loads(result.stdout)
        assert set(record) == {
            *("system", "rows", "networks", "parameters", "mixes", "substrate", "options", "provenance"),
            *("schema_version", "$schema"),
        }
        assert set(record["rows"][0]) == {"claim", "source", "published", "measured", "unit", "conditions", "reason"}
        machine = record["networks"][0]["lines"][0]["machines"]["lpa"]
        assert machine["pes"] == 64
        assert machine["energy_pj"] == pytest.approx(sum(machine["energy_by_component_pj"].values()))
        assert record["parameters"]["lpa, equal area"]["cols"] == 54
        assert record["options"]["bitfusion_wide"] is None

    def test_record_of_everything(self, found):
        record = json.loads(to_json("reproduce", reproduction_record(found)))
        assert record["system"] == "lp"
        assert len(record["rows"]) == len(CLAIMS) - len(ERRORS)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--task", "top1"], "has no use for task"),
            (["--distribution", "gaussian"], "leave the distribution out"),
            (["--set", "cols=8"], "cols cannot be set"),
            (["--option", "mixed=1"], "unknown option of lp"),
            (["--technology", "45"], "'pe_lpa'"),
        ],
    )
    def test_bad_input_is_one_sentence(self, arguments, said):
        result = self.run("--models", "gemm:8x8x8", *arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert said in result.stderr
