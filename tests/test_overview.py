"""`reproduce` without a system: the headlines of all in one table; what stops one system does not stop the others."""

import dataclasses
import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bitwright import api
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.reports.files import to_json
from bitwright.reports.overview import overview_record, print_overview
from bitwright.studies.provenance import provenance
from bitwright.studies.reproduce import systems
from bitwright.studies.reproduce.overview import overview
from bitwright.studies.reproduce.systems import SYSTEMS

PRODUCT = "gemm:64x64x64"
BRIEFS = {
    "panacea": {PRODUCT: {"distribution": "laplace"}},
    "apsq": {PRODUCT: {}},
    "lp": {PRODUCT: {}},
}
SMALL = [dataclasses.replace(SYSTEMS[name], brief=brief, samples={}) for name, brief in BRIEFS.items()]


def seen(chosen=SMALL, load=api.load, **options):
    return overview(chosen, load, provenance=provenance("a test", 0), **options)


@pytest.fixture(scope="module")
def found():
    return seen()


def printed(found):
    out = io.StringIO()
    print_overview(found, Console(file=out, width=250))
    return out.getvalue()


def test_rows_are_the_headlines_of_each_system_alone(found):
    for section, system in zip(found.sections, SMALL, strict=True):
        alone = system.reproduce(
            [api.load(name, **sizes) for name, sizes in system.brief.items()],
            system.machines({}, "common"),
            settings=system.settings(),
            provenance=provenance("a test", 0),
        )
        headlines = [claim for claim in alone.claims if claim.headline]
        assert list(section.headlines) == [*headlines, *system.unmeasured]
        assert section.others == len(alone.claims) - len(headlines)
    assert not found.failed


def test_record_and_table_say_the_same(found):
    record = json.loads(to_json("reproduce", overview_record(found)))
    assert set(record) == {"schema_version", "$schema", "rows", "systems", "substrate", "full", "provenance"}
    names = {"system", "claim", "source", "published", "measured", "unit", "conditions", "reason"}
    assert all(set(row) == names for row in record["rows"])
    assert {row["system"] for row in record["rows"]} == set(BRIEFS)
    text = printed(found)
    assert f"({len(record['rows'])}) " in text
    assert all(f"bitwright reproduce {name}" in text for name in BRIEFS)
    assert "--full" in text
    assert "Measured on: network: gemm" in text
    assert "1.97x" in text


def test_every_row_says_why(found):
    for section in found.sections:
        for claim in section.headlines:
            assert claim.reason
            assert claim.source
            assert claim.published is not None or claim.measured is not None or claim.reason


def test_no_weights_no_accuracy():
    unmeasured = [claim for system in SYSTEMS.values() for claim in system.unmeasured]
    assert unmeasured
    assert all(claim.measured is None and "trained" in claim.reason for claim in unmeasured)


def test_one_failure_leaves_the_others(found):
    def load(name, **sizes):
        if "distribution" in sizes:
            raise InputError("no such package; install it")
        return api.load(name, **sizes)

    partly = seen(load=load)
    panacea, *others = partly.sections
    assert partly.failed
    assert panacea.failures == ("no such package; install it",)
    assert panacea.headlines[0].published == 1.97
    assert all(claim.measured is None and claim.reason == panacea.failures[0] for claim in panacea.headlines)
    assert tuple(others) == found.sections[1:]
    assert "panacea: failed: no such package" in printed(partly)


def test_a_network_that_fails_in_its_system():
    system = dataclasses.replace(SMALL[0], brief={PRODUCT: {}})  # no numbers, and skipping needs them
    (section,) = seen([system]).sections
    assert section.failures
    assert section.failures[0].startswith("64x64x64") or "gemm" in section.failures[0]


def test_full_takes_the_systems_own_networks():
    system = dataclasses.replace(SMALL[1], models={"gemm:16x16x16": {}})
    (section,) = seen([system], full=True).sections
    assert section.networks == ("gemm:16x16x16",)


def test_a_system_of_somebody_else_joins_by_itself():
    """Nothing but what `reproduce SYSTEM` needs anyway."""
    plain = SYSTEMS["apsq"]
    other = systems.System(
        name="other",
        models={PRODUCT: {}},
        machines=plain.machines,
        settings=plain.settings,
        reproduce=plain.reproduce,
    )
    (section,) = seen([other], given={"limit": 3, "seed": 1}).sections
    assert (section.system, section.networks, section.failures) == ("other", (PRODUCT,), ())


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["reproduce", *arguments])

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(systems, "SYSTEMS", {system.name: system for system in SMALL})

    def test_without_a_system(self):
        result = self.run("--json")
        assert result.exit_code == 0, result.stderr
        assert {row["system"] for row in json.loads(result.stdout)["rows"]} == set(BRIEFS)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--models", "resnet18"], "name a system for --models"),
            (["--option", "x_bits=4", "--task", "top1"], "name a system for --task and --option"),
            (["--substrate", "commn"], "substrate"),
            (["apsq", "--full"], "--full is for all systems"),
        ],
    )
    def test_bad_input_is_one_sentence(self, arguments, said):
        result = self.run(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert said in result.stderr
