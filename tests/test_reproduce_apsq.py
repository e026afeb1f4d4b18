"""Reproduction of APSQ: figures against separate simulations, or against counts and bytes by hand."""

import dataclasses
import io
import json

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from bitwright.accelerators.events import partial_sum_pj
from bitwright.accelerators.partial_sums import Apsq
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.methods.execution import Execution
from bitwright.networks.load import load
from bitwright.reports.files import to_json
from bitwright.reports.reproductions import print_reproduction, reproduction_record
from bitwright.studies.provenance import provenance
from bitwright.studies.reproduce import apsq
from bitwright.studies.reproduce.apsq.arrays import LANGUAGE, RECOLLECTED, arrays_of, described
from bitwright.studies.reproduce.apsq.claims import CLAIMS, QUESTIONS, THREE
from bitwright.studies.reproduce.apsq.fit import ALL, DRAM_BYTE, LISTED, MAC
from bitwright.studies.reproduce.apsq.runs import DATAFLOWS, NARROW, SUMS, VARIANTS, WIDE
from bitwright.studies.reproduce.claims import NOT_MEASURED
from bitwright.studies.reproduce.shapes import as_shapes
from bitwright.studies.reproduce.systems import SYSTEMS, find_system
from bitwright.studies.simulate import simulate
from bitwright.tasks.calibrate import calibrate_method
from toys import network_of, normal

NAMES = (*THREE, "llama2-7b")
BOTH = (RECOLLECTED, "common")


def reproduced(networks, *, options=None, settings=None, substrate="common"):
    return apsq.reproduce(
        networks,
        apsq.machines(settings or {}, substrate),
        settings=apsq.Settings(options=options or {}),
        provenance=provenance("a test", 0),
        substrate=substrate,
    )


def line_of(network, dataflow, variant, array=RECOLLECTED):
    return next(
        line for line in network.lines if (line.array, line.dataflow, line.variant) == (array, dataflow, variant)
    )


def simulated(network, machine, sums):
    """What a network takes on a machine with partial sums of that kind, by itself."""
    return simulate(network, calibrate_method(network, SUMS[sums]), {"apsq": machine})["apsq"].cost


def named(name, product, kind="image"):
    """A network that is one product, with the name that claims are about."""
    return dataclasses.replace(load(f"gemm:{product}"), name=name, kind=kind)


@pytest.fixture(scope="module")
def small():
    """64 x 32 by 32 x 16: on 16 x 8 x 8, nm = 4, np = 4, no = 2. It fits everywhere."""
    return reproduced([load("gemm:64x32x16")]).networks[0]


@pytest.fixture(scope="module")
def tall():
    """16,384 rows, whose partial sums of 8 columns are 512 KiB at 32 bits."""
    return reproduced([load("gemm:16384x64x8")]).networks[0]


@pytest.fixture(scope="module")
def deep():
    """A module, traced by the study: convolutions of all kinds, and attention."""
    torch.manual_seed(0)
    layers = (
        torch.nn.Conv2d(3, 24, 3, padding=1),
        torch.nn.Conv2d(24, 24, 3, padding=1, groups=24),
        torch.nn.Conv2d(24, 40, 1, groups=2),
        torch.nn.Flatten(2),
        torch.nn.Linear(256, 70),
    )
    network = network_of(torch.nn.Sequential(*layers), normal(1, 3, 16, 16))
    return network, reproduced([network]).networks[0]


@pytest.fixture(scope="module")
def all_claims():
    """Four products under the names of the networks that claims are about."""
    products = ("128x64x64", "16384x64x8", "1024x32x64", "4096x64x64")
    kinds = ("sentence", "image", "image", "language")
    return reproduced([named(*each) for each in zip(NAMES, products, kinds, strict=True)])


class TestLines:
    def test_every_dataflow_variant_and_width_on_both_arrays(self, small):
        found = [(line.array, line.dataflow, line.variant) for line in small.lines]
        assert found == [(array, flow, variant) for array in BOTH for flow in DATAFLOWS for variant in VARIANTS]
        assert all(list(line.runs) == list(SUMS) for line in small.lines)
        assert DATAFLOWS == ("is", "ws", "os")
        assert list(VARIANTS) == ["published", "mapped"]
        assert list(SUMS) == ["INT32", "INT16", "INT8 gs1", "INT8 gs2", "INT8 gs3", "INT8 gs4"]

    @pytest.mark.parametrize(
        ("array", "own", "dataflow", "variant"),
        [
            (RECOLLECTED, Apsq.native, "is", "published"),
            (RECOLLECTED, Apsq.native, "ws", "mapped"),
            ("common", {}, "is", "mapped"),
            ("common", {}, "os", "published"),
        ],
    )
    def test_figures_are_those_of_separate_simulations(self, deep, array, own, dataflow, variant):
        network, measured = deep
        machine = Apsq(**own, dataflow=dataflow, variant=variant)
        line = line_of(measured, dataflow, variant, array)
        for sums in (WIDE, "INT16", NARROW, "INT8 gs4"):
            cost = simulated(as_shapes(network)[0], machine, sums)
            run = line.runs[sums]
            assert run.energy_pj == pytest.approx(cost.total_energy_pj, rel=1e-12)
            assert run.psum_share == pytest.approx(partial_sum_pj(cost) / cost.total_energy_pj)
            assert run.simulation.cost.cycles == cost.cycles

    @pytest.mark.parametrize(
        "sums",
        [
            WIDE,
            NARROW,
        ],
    )
    @pytest.mark.parametrize("dataflow", ["is", "ws"])
    def test_shapes_cost_what_the_network_does(self, deep, dataflow, sums):
        network, measured = deep
        for variant in VARIANTS:
            cost = simulated(network, Apsq(**Apsq.native, dataflow=dataflow, variant=variant), sums)
            run = line_of(measured, dataflow, variant).runs[sums]
            assert run.energy_pj == pytest.approx(cost.total_energy_pj, rel=1e-12)

    def test_energies_are_normalised_to_wide_sums(self, small, tall):
        for network in (small, tall):
            for line in network.lines:
                assert line.normalised(WIDE) == 1
                assert line.normalised(NARROW) == line.narrow.energy_pj / line.wide.energy_pj
                assert line.figures.saving == pytest.approx(100 * (1 - line.normalised(NARROW)))
                assert line.figures.ratio == pytest.approx(1 / line.normalised(NARROW))
                assert line.figures.share == pytest.approx(100 * line.wide.psum_share)
                if line.variant == "published":  # mapped, constants of centred codes are moved too
                    assert (line.normalised("INT16") < 1) == (line.dataflow != "os")

    def test_sums_that_rest_in_the_array_cost_nothing(self, small):
        for variant in VARIANTS:
            line = line_of(small, "os", variant)
            assert line.wide.psum_share == 0
            assert all(line.normalised(sums) == 1 for sums in SUMS)

    def test_the_cliff(self, tall):
        published, mapped = line_of(tall, "ws", "published"), line_of(tall, "ws", "mapped")
        # 256 KiB hold the 4 bytes of 8 columns of 8,192 rows; 8-bit sums spill for being three or four of an output.
        assert [run.spilling for run in published.runs.values()] == [1, 0, 0, 0, 1, 1]
        assert [run.live_bytes for run in published.runs.values()] == [16384 * 8 * each for each in (4, 2, 1, 2, 3, 4)]
        assert published.normalised("INT8 gs1") == published.normalised("INT8 gs2") < published.normalised("INT8 gs3")
        assert published.normalised("INT8 gs3") < 1
        # Mapped, rows are cut so that the sums of a tile stay.
        assert {run.spilling for run in mapped.runs.values()} == {0}
        for run, kept in zip(mapped.runs.values(), (4, 2, 1, 2, 3, 4), strict=True):
            (ran,) = run.ran
            assert run.live_bytes == kept * ran.mapping.tile_m * ran.mapping.tile_n <= 256 * 1024
        assert published.figures.saving > mapped.figures.saving > 0
        stays = line_of(tall, "is", "published")
        assert {run.spilling for run in stays.runs.values()} == {0}
        assert stays.wide.live_bytes == 16 * 8 * 4

    def test_passes_count_what_is_read_again(self):
        # 256 KiB hold 256 rows of 1,024 inputs, 252 of them are whole tiles of 12: inputs pass once, weights with each
        # of 17 tiles of rows. Weights have a scale of 4 bytes per column.
        measured = reproduced([load("gemm:4096x1024x1024")]).networks[0]
        line = line_of(measured, "os", "mapped", "common")
        x, w, y = 4096 * 1024, 1024 * 1024 + 4 * 1024, 4096 * 1024
        assert line.wide.passes == pytest.approx((x + 17 * w + y) / (x + w + y))
        assert line_of(measured, "os", "published", "common").wide.passes == 1

    def test_sites_add_up(self, small):
        for line in small.lines:
            entries = list(line.sites())
            assert sum(each.wide_pj for each in entries) == pytest.approx(line.wide.energy_pj)
            assert sum(each.narrow_pj for each in entries) == pytest.approx(line.narrow.energy_pj)


class TestFit:
    """Bytes by hand: what a published-style fit weighs."""

    def weighed(self, network, dataflow, layers=ALL):
        key = (layers, dataflow, "published")
        return next(each.figures for each in network.weighed if (each.layers, each.dataflow, each.variant) == key)

    @pytest.mark.parametrize("dataflow", ["is", "ws"])
    def test_by_hand(self, small, dataflow):
        x, w, y, macs = 64 * 32, 32 * 16 + 4 * 16, 64 * 16, 64 * 32 * 16  # weights with a scale per column
        operands = {"is": x + 4 * w, "ws": 2 * x + w}[dataflow] + y + 22.5 * (x + w + y) + 0.08 * macs
        psums = 2 * 3 * 64 * 16  # written and read, each a byte when narrow
        found = self.weighed(small, dataflow)
        assert found.wide == pytest.approx(operands + 4 * psums)
        assert found.narrow == pytest.approx(operands + psums)
        assert found.share == pytest.approx(100 * 4 * psums / found.wide)
        assert found.saving == pytest.approx(100 * 3 * psums / found.wide)

    def test_what_spills_passes_dram(self, tall):
        x, w, y, macs = 16384 * 64, 64 * 8 + 4 * 8, 16384 * 8, 16384 * 64 * 8
        operands = x + w + y + 22.5 * (x + w + y) + 0.08 * macs
        psums = 2 * 7 * 16384 * 8
        found = self.weighed(tall, "ws")
        assert found.wide == pytest.approx(operands + (1 + 22.5) * 4 * psums)
        assert found.narrow == pytest.approx(operands + psums)

    def test_constants_are_those_of_the_reconstruction(self):
        assert (DRAM_BYTE, MAC) == (22.5, 0.08)

    def test_depthwise_convolutions_are_none_of_the_reconstructions_layers(self, deep):
        measured = deep[1]
        assert measured.layers == "4 sites, of which others' reconstruction leaves out 1 depthwise convolution"
        kept, whole = self.weighed(measured, "ws", LISTED), self.weighed(measured, "ws")
        # 24 groups of 256 x 9 by 9 x 1: an input byte is read once, and there are two tiles of eight.
        x, w, y, macs = 24 * 256 * 9, 24 * 9 + 4 * 24, 24 * 256, 24 * 256 * 9
        psums = 2 * 24 * 256
        separate = x + w + y + 22.5 * (24 * 256 + w + y) + 0.08 * macs + 4 * psums
        assert whole.wide - kept.wide == pytest.approx(separate)

    def test_layers_left_out_by_name(self):
        network = dataclasses.replace(load("gemm:8x8x8"), name="segformer-b0")
        site = network.sites[0]
        sites = (site, dataclasses.replace(site, name="decode_head.classifier"))
        measured = reproduced([dataclasses.replace(network, sites=sites)]).networks[0]
        assert self.weighed(measured, "ws").wide == 2 * self.weighed(measured, "ws", LISTED).wide
        assert "decode_head.*" in measured.layers


class TestClaims:
    def test_all_are_there_in_order(self, all_claims):
        assert [claim.claim for claim in all_claims.claims] == [claim.claim for claim in CLAIMS]
        assert len(CLAIMS) == 2 * 5 + 1
        published = [claim.published for claim in all_claims.claims]
        assert published == [figure for figure in (28, 42, 87, 31.7, 69) for _ in VARIANTS] + [3.21]
        assert {claim.unit for claim in all_claims.claims} == {"%", "x"}

    def test_measured_is_the_least_or_the_most_of_the_networks(self, all_claims):
        networks = dict(zip(NAMES, all_claims.networks, strict=True))
        own = dict.fromkeys(THREE, RECOLLECTED) | {"llama2-7b": LANGUAGE}

        def figures(names, dataflow, variant):
            return [line_of(networks[name], dataflow, variant, own[name]).figures for name in names]

        expected = []
        for get in (min, max):
            expected += [get(each.saving for each in figures(THREE, "is", variant)) for variant in VARIANTS]
        expected += [max(each.saving for each in figures(THREE[1:], "ws", variant)) for variant in VARIANTS]
        expected += [figures(["llama2-7b"], "ws", variant)[0].ratio for variant in VARIANTS]
        expected += [
            max(each.share for flow in ("is", "ws") for each in figures(THREE, flow, variant)) for variant in VARIANTS
        ]
        assert [claim.measured for claim in all_claims.claims[:-1]] == pytest.approx(expected)

    def test_reasons_and_conditions(self, all_claims):
        for claim in all_claims.claims:
            assert claim.reason != NOT_MEASURED
            assert claim.source
            assert "Po x Pci x Pco" in claim.conditions["array"]
        for claim in all_claims.claims[:-1]:
            # 14 pJ of DRAM per bit, 8 bits; others' fit; the buffer and what spills.
            for said in ("22.5 times", "112 pJ", "256 KiB", "spill at", "On the common array"):
                assert said in claim.reason, said
            assert claim.conditions["variant"].split(":")[0] in VARIANTS
        language = all_claims.claims[6].conditions["array"]
        assert "1 x 32 x 32" in language
        assert "16 x 8 x 8" in all_claims.claims[0].conditions["array"]
        assert "abstract" in all_claims.claims[4].source
        assert all("secondary" in all_claims.claims[i].source for i in (0, 2, 6, 10))

    def test_spill_is_said(self, all_claims):
        published, mapped = all_claims.claims[4:6]  # one site, 512 and 128 KiB
        assert "take up to 512 and 128 of 256 KiB of SRAM and spill at 1 and 0 of 1 site: 1 stop" in published.reason
        assert "spill at 0 and 0 of 1 site: none stops spilling" in mapped.reason

    def test_area_of_the_engine(self, small, all_claims):
        claim, machine = all_claims.claims[-1], Apsq(**Apsq.native)
        prices = machine.technology
        added = 128 * (3 * prices.price("add_int32").area() + 5 * prices.price("shift_int32").area())
        assert claim.measured == pytest.approx(100 * added / (machine.area().total_um2 - added))
        assert "2.69 mm2" in claim.reason  # 86,410 um2 by 3.21 %
        assert [engine.lanes for engine in all_claims.engines] == [128, 32, 96]

    def test_other_networks_have_no_claims_but_the_area(self):
        found = reproduced([load("gemm:64x32x16")])
        assert [claim.claim for claim in found.claims] == [CLAIMS[-1].claim]
        some = reproduced([named(name, "64x32x16") for name in THREE[1:]])
        asked = [question for question in QUESTIONS if set(question.networks) <= set(THREE[1:])]
        assert len(some.claims) == 2 * len(asked) + 1 == 3

    def test_a_network_that_fails_is_said_in_its_claims(self):
        found = reproduced([named(name, "64x32x16") for name in THREE], options={"x_bits": 16})
        assert all(network.failed for network in found.networks)
        for claim in found.claims[:-1]:
            assert claim.measured is None
            assert "x is uint16 and the array multiplies int8" in claim.reason
        out = io.StringIO()
        print_reproduction(found, Console(file=out, width=300), sites=True)
        assert "bert-base: failed: " in out.getvalue()


class TestArrays:
    def test_language_models_have_an_array_of_their_own(self):
        machines = apsq.machines({}, "common")
        shapes = {name: (machine.po, machine.pci, machine.pco) for name, machine in machines.items()}
        assert shapes == {RECOLLECTED: (16, 8, 8), LANGUAGE: (1, 32, 32), "common": (12, 8, 8)}
        kinds = {kind: list(arrays_of(named("n", "8x8x8", kind), machines)) for kind in ("image", "gemms", "language")}
        assert kinds["image"] == kinds["gemms"] == [RECOLLECTED, "common"]
        assert kinds["language"] == [LANGUAGE, "common"]

    def test_on_the_native_substrate_there_are_those_alone(self):
        assert list(apsq.machines({}, "native")) == [RECOLLECTED, LANGUAGE]
        found = reproduced([load("gemm:64x32x16")], substrate="native")
        assert len(found.networks[0].lines) == 6

    def test_what_is_set_is_set_everywhere_and_said(self):
        machines = apsq.machines({"apsq.pci": 16, "output_sram_kib": 64}, "common")
        assert {(machine.pci, machine.output_sram_kib) for machine in machines.values()} == {(16, 64)}
        assert "recollected but for output_sram_kib=64, pci=16" in described(RECOLLECTED, machines[RECOLLECTED])
        assert "but for" not in described(LANGUAGE, apsq.machines({}, "common")[LANGUAGE])

    def test_tiles_are_as_wide_as_the_array_adds(self):
        line = reproduced([load("gemm:64x64x16")], settings={"pci": 16}).networks[0].lines[0]
        entry = line.narrow.simulation.sites[0]
        assert entry.plan.accumulation.tile == 16
        assert line.narrow.machine.explain(Execution(site=entry.site, plan=entry.plan))["np"] == 4

    def test_options_reach_the_methods_that_have_them(self):
        found = reproduced([load("gemm:64x64x16")], options={"x_symmetric": True, "phase": "tail"})
        line = found.networks[0].lines[0]
        assert {run.simulation.sites[0].plan.x_type for run in line.runs.values()} == {"int8"}
        assert line.narrow.simulation.sites[0].plan.accumulation.phase == "tail"


class TestSystem:
    def test_default_networks_have_the_sizes_of_the_claims(self):
        system = find_system("apsq")
        assert tuple(system.models) == NAMES
        assert system.models["llama2-7b"] == {"sequence_length": 4096}
        assert SYSTEMS["panacea"].models["minilm-l6"] == {}

    def test_settings_are_what_a_system_has(self):
        assert find_system("apsq").settings_from({"options": {}, "task": None, "seed": 0}) == apsq.Settings()
        with pytest.raises(InputError, match="reproducing apsq has no use for task and batch size"):
            find_system("apsq").settings_from({"task": "top1", "batch_size": 2})


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["reproduce", "apsq", *arguments])

    def test_tables(self):
        result = self.run("--models", "gemm:16384x64x8", "--sites")
        assert result.exit_code == 0, result.stderr
        for said in (
            "gemm:16384x64x8 on the given sizes, 1 site: energy by that of INT32",
            "Sites of gemm:16384x64x8, ws, on the recollected array",
            "1 of 1 site",
            "What a published-style fit gives",
            "not our prices",
            "Area of the RAE",
            "86,410 um2",
            "3.21%",
            "Variant mapped: ",
        ):
            assert said in result.stdout, said

    def test_json(self):
        result = self.run("--models", "gemm:64x32x16", "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert set(found) == {
            *("system", "rows", "networks", "areas", "parameters", "variants", "methods"),
            *("substrate", "options", "provenance", "schema_version", "$schema"),
        }
        assert set(found["rows"][0]) == {
            *("claim", "source", "published", "measured", "unit", "conditions", "reason"),
        }
        network = found["networks"][0]
        assert set(network) == {
            "network",
            "input",
            "layers",
            "reason",
            "lines",
            "published_style_fit",
            "sites",
            "notes",
        }
        line = network["lines"][0]
        assert (line["array"], line["dataflow"], line["variant"]) == (RECOLLECTED, "is", "published")
        assert line["partial_sums"]["INT32"]["normalised"] == 1
        assert set(line["partial_sums"]["INT8 gs1"]) == {
            *("energy_pj", "psum_energy_share", "spilling_sites", "sites", "live_psum_bytes"),
            *("dram_passes", "dram_bytes", "cycles", "normalised"),
        }
        assert len(network["published_style_fit"]) == 2 * 6
        assert [each["dataflow"] for each in network["sites"]] == ["is"] * 2 + ["ws"] * 2

    def test_record_of_everything(self, all_claims):
        record = json.loads(to_json("reproduce", reproduction_record(all_claims)))
        assert record["system"] == "apsq"
        assert len(record["rows"]) == len(CLAIMS)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--task", "top1"], "has no use for task"),
            (["--data", ".", "--limit", "3"], "has no use for data and limit"),
            (["--calibration", "4"], "has no use for calibration count"),
            (["--distribution", "gaussian"], "leave the distribution out"),
            (["--option", "group_size=2"], "option group_size is decided here"),
            (["--option", "gemm:psum_tile=4"], "option psum_tile is decided here"),
            (["--option", "phse=tail"], "Did you mean 'phase'"),
            (["--set", "dataflow=ws"], "dataflow cannot be set"),
            (["--set", "apsq.psum_bits=16"], "apsq.psum_bits cannot be set"),
            (["--set", "pcii=8"], "Did you mean 'pci'"),
            (["--substrate", "mine"], "unknown substrate"),
            (["--models", "gemm:8x8x8"], "--models is given 2 times and takes one value"),
        ],
    )
    def test_bad_input_is_one_sentence(self, arguments, said):
        result = self.run("--models", "gemm:8x8x8", *arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert said in result.stderr
