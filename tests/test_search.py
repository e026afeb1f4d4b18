"""The search for log posits: prefixes, processes, logs that were cut, caps, and what is refused."""

import contextlib
import dataclasses
import functools
import importlib
import json
import math
import os
import random
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bitwright
from bitwright.errors import InputError
from bitwright.formats import LogPosit, RegimeRule
from bitwright.methods.executor import Executor, composition_of, prepare
from bitwright.methods.lpq.fields import Fields
from bitwright.methods.lpq.options import LpqOptions
from bitwright.methods.lpq.search import SearchSettings, search
from bitwright.methods.lpq.search.candidates import canonical
from bitwright.methods.lpq.search.judge import Judge
from bitwright.methods.lpq.search.log import opened, sealed
from bitwright.methods.lpq.search.objective import judge, pooled
from bitwright.methods.lpq.search.settings import search_settings
from bitwright.methods.lpq.search.workers import judges
from bitwright.methods.lpq.sites import Sites
from bitwright.methods.plan import Plan
from bitwright.methods.refine import Refiner
from bitwright.methods.tabled.method import encode
from bitwright.methods.tabled.observe import observe_values
from bitwright.methods.tabled.tally import Tally
from bitwright.networks.blocks import chain_of
from bitwright.networks.trace import observe
from bitwright.studies.search import search_network
from test_cli import refused
from toys import network_of, normal

loop = importlib.import_module("bitwright.methods.lpq.search.run")
SHORT = SearchSettings(population=3, passes=1, cycles=1, random_parents=2, objective="mse")


def in_one_sentence(error):
    assert "\n" not in str(error)


class Block(nn.Module):
    """A residual block with a product of two activations."""

    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width, bias=False)

    def forward(self, x):
        h = torch.relu(self.up(x))
        return x + self.down(torch.softmax(h @ h.transpose(1, 2), -1) @ h)


class Whole(nn.Module):
    """A stem, blocks, and a head: sites before, in and after the chain."""

    def __init__(self, blocks, width=6):
        super().__init__()
        self.stem, self.blocks, self.head = nn.Linear(width, width), blocks, nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean(1))


BATCHES = [{"input_0": normal(5, 3, 6, seed=seed)} for seed in range(2)]


def network(make=lambda: [Block(6) for _ in range(3)], seed=0, around=Whole):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return network_of(around(nn.Sequential(*make())), BATCHES[0]["input_0"])


def parts_of(net, options=None):
    sites = Sites(observe_values(net, BATCHES), options or LpqOptions())
    return chain_of(net, BATCHES[0], list(sites.seen)), sites


HEADER = {"network": "n", "fingerprint": {"w": "f"}, "options": {"a": 1}, "settings": {"b": 2}, "samples": "s"}

LEAST = {}  # least_error is a function of its arguments alone, and the same few tensors are searched again and again


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What least_error found is remembered from test to test."""
    room = importlib.import_module(Sites.__module__)
    good = room.least_error

    def remembered(values, n, *, max_es, rule):
        tally = values if isinstance(values, Tally) else Tally.of(values)
        key = (tally.values.numpy().tobytes(), tally.counts.numpy().tobytes(), n, max_es, rule)
        if key not in LEAST:
            LEAST[key] = good(values, n, max_es=max_es, rule=rule)
        return LEAST[key]

    monkeypatch.setattr(room, "least_error", remembered)


@pytest.fixture
def alone(monkeypatch):
    """One judge, in this process: many short searches take no time to start."""
    monkeypatch.setattr(loop, "judges", lambda make, *, workers, forked: judges(make, workers=workers, forked=False))


def run(log=None, *, net=None, settings=SHORT, options=None, **others):
    options = options or LpqOptions()
    plan = Plan(method="lpq", options={"lpq": options.model_dump(mode="json")})
    return search(net or network(), BATCHES, options, settings, plan, log=log, **others)


class Doubling(nn.Module):
    """Writes into its input."""

    def forward(self, x):
        return x.mul_(2)


def with_shared_layer():
    blocks = [Block(6) for _ in range(3)]
    blocks[2].up = blocks[0].up
    return blocks


class Rescaled(Whole):
    """Writes into what the last block returned."""

    def forward(self, x):
        return self.blocks(self.stem(x)).mul_(0.5)


class TestChain:
    @pytest.mark.parametrize("objective", ["mse", "global", "global-local"])
    def test_prefixes_change_no_bit(self, objective):
        net, rng = network(), np.random.default_rng(0)
        chain, sites = parts_of(net)
        assert chain.blocks == ("blocks.0", "blocks.1", "blocks.2")
        assert (chain.index["stem"], chain.index["blocks.1.up"], chain.index["head"]) == (0, 1, 3)
        settings = SHORT.model_copy(update={"objective": objective})
        kept, candidate = (
            Judge(chain, sites, BATCHES, settings),
            {name: sites.least(name, 6) for name in sites.weighted},
        )
        for step in range(10):
            if step != 5:  # the same one twice
                for name in rng.choice(sites.weighted, int(rng.integers(1, 3)), replace=False):
                    candidate = {**candidate, name: sites.least(name, int(rng.integers(2, 9)))}
            fresh = Judge(chain, sites, BATCHES, settings)
            assert kept.loss(candidate) == fresh.loss(candidate, whole=True)
        assert kept.blocks_run < 10 * chain.count

    def test_room_for_no_prefix(self, monkeypatch):
        monkeypatch.setattr(importlib.import_module(Judge.__module__), "PREFIX_BYTES", 0)
        chain, sites = parts_of(network())
        forgetful = Judge(chain, sites, BATCHES, SHORT)
        candidate = {name: sites.least(name, 4) for name in sites.weighted}
        assert forgetful.loss(candidate) == forgetful.loss(candidate)
        assert forgetful.blocks_run == 2 * chain.count

    @pytest.mark.parametrize(
        ("make", "around"),
        [
            (lambda: [Block(6), Doubling(), Block(6)], Whole),
            (with_shared_layer, Whole),
            (lambda: [Block(6), Block(6), Block(6)], Rescaled),
        ],
        ids=["a block writes into its input", "a layer in two blocks", "the network writes into a block's output"],
    )
    def test_networks_that_are_no_chain(self, make, around):
        """They fall back to whole runs, and losses do not depend on what was judged before."""
        net = network(make, around=around)
        chain, sites = parts_of(net)
        assert chain.blocks == ()
        assert set(chain.index.values()) == {0}
        kept = Judge(chain, sites, BATCHES, SHORT)
        for name in reversed(sites.weighted):
            candidate = {each: sites.least(each, 3 if each == name else 8) for each in sites.weighted}
            assert kept.loss(candidate) == Judge(chain, sites, BATCHES, SHORT).loss(candidate)

    def test_writing_the_same_again_is_no_harm(self):
        net = network(lambda: [nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 6), nn.ReLU(inplace=True)])
        assert len(parts_of(net)[0].blocks) == 4

    def test_blocks_whose_writes_are_not_counted(self):
        """Inference tensors: every block is tried."""

        class Inference(Whole):
            def forward(self, x):
                with torch.inference_mode():
                    return super().forward(x)

        assert len(parts_of(network(around=Inference))[0].blocks) == 3
        assert parts_of(network(lambda: [Block(6), Doubling(), Block(6)], around=Inference))[0].blocks == ()

    def test_a_network_without_blocks(self):
        net = network_of(nn.Linear(6, 4), BATCHES[0]["input_0"])
        assert parts_of(net)[0].blocks == ()


class TestJudgedWeights:
    """The judge's weights are those that calibration gives the plan, from the same samples."""

    def parts(self, options=None, biased=False):
        options = options or LpqOptions(bias_correction=biased)
        net = network()
        chain, sites = parts_of(net, options)
        chosen = {name: sites.least(name, 3) for name in sites.weighted}
        plan = Plan(method="lpq", options={"lpq": options.model_dump(mode="json")}, sites=sites.plans(chosen))
        refiner = Refiner(net, BATCHES, plan, composition_of(plan), options)
        return net, chain, sites, chosen, plan, refiner

    @pytest.mark.parametrize("biased", [True, False])
    def test_they_are_calibrations(self, biased):
        _, _, sites, chosen, plan, refiner = self.parts(biased=biased)
        rounder = refiner.rounder()
        assert set(rounder.sites) == set(sites.weighted)
        weights = refiner.weights(plan, sites.weighted, refiner.trial.seen, centred=biased)
        for name in chosen:
            target = refiner.targets[name]
            assert torch.equal(rounder.weight(name, plan.site(name).w), target.view(weights[target.parameter]))

    def test_the_loss_is_that_of_executing_the_plan(self):
        """Judged on samples that did not round the weights."""
        net, chain, sites, chosen, plan, refiner = self.parts(LpqOptions(bias_correction=False, attention=False))
        judges = refiner.trial.judges
        weights = refiner.weights(plan, sites.weighted, refiner.trial.seen, centred=False)
        assert sum(len(batch["input_0"]) for batch in judges) < 10
        found = Judge(chain, sites, judges, SHORT, refiner.rounder()).loss(chosen)

        def product(site, view):
            """As the plan's execution does it, but for the converter's error; its words stand for the very weights."""
            operands = plan.site(site.name)
            if operands.x is None:
                return view.float_result()
            assert torch.equal(encode(view.w, operands.w).dequantize(), view.w)
            return view.finished(view.product(encode(view.x, operands.x).dequantize(), view.w))

        work = prepare(net, dataclasses.replace(plan, weights=weights))
        outputs = torch.cat([observe(work, batch, product) for batch in judges])
        with torch.no_grad():
            floats = torch.cat([net.forward(batch) for batch in judges])
        assert found == pytest.approx(judge("mse", outputs, [], floats, [], temperature=1.0), rel=1e-5)
        assert found != pytest.approx(Judge(chain, sites, judges, SHORT).loss(chosen), rel=1e-3)

    def test_wide_and_unwilling_weights_are_the_nearest(self):
        for options in (LpqOptions(w_rounding="nearest"), LpqOptions()):
            _, chain, sites, _, _, refiner = self.parts(options)
            chosen = {name: sites.least(name, 8) for name in sites.weighted}
            judges, rounder = refiner.trial.judges, refiner.rounder()
            losses = [Judge(chain, sites, judges, SHORT, by).loss(chosen) for by in (rounder, None)]
            assert losses[0] == losses[1]

    def test_weights_are_rounded_once_while_there_is_room(self, monkeypatch):
        _, chain, sites, chosen, _, refiner = self.parts()
        judged, made = Judge(chain, sites, refiner.trial.judges, SHORT, refiner.rounder()), []
        good = judged._rounded
        monkeypatch.setattr(judged, "_rounded", lambda *of: made.append(of[0]) or good(*of))
        other = {**chosen, "head": sites.least("head", 2)}
        first = [judged.loss(each) for each in (chosen, other)]
        assert made == [*sites.weighted, "head"]
        assert [judged.loss(each, whole=True) for each in (chosen, other)] == first
        assert len(made) == len(sites.weighted) + 1
        judged._room = 0
        assert [judged.loss(each, whole=True) for each in (chosen, other)] == first


class TestWhoRounds:
    """It is decided once, at 4 bits; the judge and the plan keep to it."""

    @pytest.mark.parametrize("better", [True, False])
    def test_the_plan_keeps_to_it(self, alone, monkeypatch, better):
        by, good = [], Judge.loss

        def loss(judge, candidate, **how):
            by.append(judge.rounder is not None)
            return good(judge, candidate, **how) + (10 if by[-1] != better else 0)

        monkeypatch.setattr(Judge, "loss", loss)
        found = run(settings=SHORT.model_copy(update={"mean_bits": 4}))
        assert by[:2] == [True, False]
        assert set(by[2:]) == {better}
        assert better or loop.NEAREST in found.plan.notes
        assert better or not any(name.endswith("weight") for name in found.plan.weights)

    def test_nobody_asked(self, alone, monkeypatch):
        monkeypatch.setattr(Refiner, "rounder", lambda _: pytest.fail("not asked for"))
        assert run(options=LpqOptions(w_rounding="nearest")).plan.sites

    def test_no_rotation(self):
        with pytest.raises(InputError, match="a search rotates nothing, and rotation is all; leave that out"):
            search_network(network(), "lpq", SHORT, options={"rotation": "all"})


class TestObjective:
    def test_kurtosis(self):
        h = normal(2, 3, 4, 5)
        for i, j in np.ndindex(2, 3):
            values = h[i, j].double().flatten()
            z = (values - values.mean()) / values.std(correction=0)
            assert float(pooled(h)[i, j]) == pytest.approx(float((z**4).mean() - 3), abs=1e-4)
        tokens = h.flatten(2).transpose(1, 2)
        assert torch.allclose(pooled(tokens), pooled(h), atol=1e-5)
        assert not pooled(torch.ones(2, 3, 4, 4)).any()

    @pytest.mark.parametrize("objective", ["mse", "kl"])
    def test_nothing_lost(self, objective):
        y = normal(4, 5)
        assert judge(objective, y, [], y, [], temperature=0.1) == 0
        assert judge(objective, y + normal(4, 5, seed=1), [], y, [], temperature=0.1) > 0

    @pytest.mark.parametrize("objective", ["mse", "kl", "global", "global-local"])
    def test_what_is_not_finite_is_infinitely_bad(self, objective):
        y, zeros = normal(4, 5), torch.zeros(4, 5)
        assert judge(objective, y * math.nan, [y], y, [y], temperature=0.1) == math.inf
        assert judge("mse", zeros, [], zeros, [], temperature=0.1) == math.inf
        assert judge("global-local", y, [y * math.nan], y, [y], temperature=0.1) == math.inf


class TestRuns:
    def test_processes_change_nothing(self, tmp_path):
        found = [run(tmp_path / str(workers), workers=workers) for workers in (1, 2)]
        assert found[0].fields == found[1].fields
        assert found[0].history == found[1].history
        assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()

    def test_a_process_that_dies(self, monkeypatch):
        monkeypatch.setattr(Judge, "loss", lambda *_, **__: os._exit(1))
        with pytest.raises(InputError, match="use fewer --workers or a smaller --calibration"):
            run(workers=2, options=LpqOptions(w_rounding="nearest"))  # which judges nothing in this process

    def test_cut_at_any_line(self, tmp_path, alone):
        """Few candidates are possible, so that the same one is often made twice in a step."""
        few = SHORT.model_copy(update={"widths": "hardware", "refit": 1.0, "passes": 3, "mean_bits": 4, "sf_step": 0})
        net = network(lambda: [Block(6), Block(6)])
        log = tmp_path / "log"
        plain = LpqOptions(w_rounding="nearest", bias_correction=False)  # how weights are rounded, no log tells
        whole = run(log, net=net, settings=few, options=plain)
        assert whole.remembered
        content = log.read_bytes()
        lines = content.splitlines(keepends=True)
        assert len({line.split(b'"genes"')[1].split(b"]]")[0] for line in lines[1:]}) == len(lines) - 1
        assert whole.evaluations == len(lines) - 1
        for kept in range(1, len(lines) + 1):
            cut = lines[kept] if kept < len(lines) else b""
            rest = (b"", cut[: len(cut) // 2], cut[:-1])[kept % 3]
            log.write_bytes(b"".join(lines[:kept]) + rest)
            again = run(log, net=net, settings=few, options=plain, resume=True)
            assert again.evaluations == len(lines) - kept
            assert again.history == whole.history
            assert again.fields == whole.fields
            assert log.read_bytes() == content

    def test_a_header_that_was_cut(self, tmp_path, alone):
        """Nothing was judged yet: the search begins, and the log is whole."""
        run(tmp_path / "log")
        content = (tmp_path / "log").read_bytes()
        for rest in (b"", content[:20], content[:200]):
            (tmp_path / "log").write_bytes(rest)
            run(tmp_path / "log", resume=True)
            assert (tmp_path / "log").read_bytes() == content

    def test_a_line_of_something_else_is_kept(self, tmp_path, alone):
        (tmp_path / "log").write_bytes(b"dear diary")
        with pytest.raises(InputError, match="is no search log"):
            run(tmp_path / "log", resume=True)
        assert (tmp_path / "log").read_bytes() == b"dear diary"

    def test_infinite_losses_are_remembered(self, tmp_path, alone, monkeypatch):
        monkeypatch.setattr(Judge, "loss", lambda *_, **__: math.inf)
        whole = run(tmp_path / "log")
        again = run(tmp_path / "log", resume=True)
        assert again.evaluations == 0
        assert (again.fields, again.history) == (whole.fields, whole.history)

    @pytest.mark.parametrize("widths", ["free", "hardware"])
    @pytest.mark.parametrize("cap", [2, 2.5, 4, 7.9])
    @pytest.mark.parametrize("profile", [True, False])
    def test_the_cap_holds(self, alone, widths, cap, profile):
        settings = SHORT.model_copy(update={"widths": widths, "mean_bits": cap, "profile": profile})
        found = run(settings=settings)
        elements = found.elements
        mean = sum(f.n * elements[name] for name, f in found.fields.items()) / sum(elements.values())
        assert mean == pytest.approx(found.history[-1].mean_bits)
        assert all(each.mean_bits <= cap for each in found.history)
        assert {f.n for f in found.fields.values()} <= set(settings.allowed)
        fitness = [each.fitness for each in found.history]
        assert fitness == sorted(fitness, reverse=True)
        assert {name: site.w.format.n for name, site in found.plan.sites.items() if name in found.fields} == {
            name: f.n for name, f in found.fields.items()
        }

    def test_every_made_table_exists(self, alone):
        """Regimes with a terminator have two bits at least; random tables and children keep to it."""
        options = LpqOptions(regime=RegimeRule.TERMINATED, sites={"head": {"regime": "capped", "max_es": 0}})
        found = run(options=options, settings=SHORT.model_copy(update={"refit": 0.0, "passes": 4, "profile": False}))
        rules = {site.w.format.rule for name, site in found.plan.sites.items() if name != "head"}
        assert rules == {RegimeRule.TERMINATED}
        assert found.plan.sites["head"].w.format.es == 0

    def test_the_plan_runs_exactly(self, alone):
        found = run(settings=SHORT.model_copy(update={"mean_bits": 5}))
        assert Executor(network(), found.plan, exact=True).audit(BATCHES[0]) == 0

    def test_no_time(self, alone):
        found = run(minutes=0)
        assert found.stopped == "minutes"
        assert set(found.plan.sites) >= set(found.fields)

    def test_ctrl_c_keeps_the_best(self, tmp_path, alone):
        def progress(stage, done, total):
            if stage.startswith("searching") and done == 2:
                raise KeyboardInterrupt

        cut = run(tmp_path / "log", progress=progress)
        assert cut.stopped == "interrupted"
        again, whole = run(tmp_path / "log", resume=True), run()
        assert (again.fields, again.history) == (whole.fields, whole.history)
        assert again.evaluations == whole.evaluations - cut.evaluations


class TestCanonical:
    @pytest.mark.parametrize("n", range(2, 9))
    def test_the_same_values(self, n):
        for es in range(6):
            for rs in range(1, n):
                fields = canonical(Fields(n=n, es=es, rs=rs, sf=0.5))
                assert fields.sf == 0.5
                tables = [
                    LogPosit(n=n, es=f.es, rs=f.rs).table().nan_to_num(0).sort().values
                    for f in (fields, Fields(n=n, es=es, rs=rs, sf=0))
                ]
                assert torch.equal(*tables)
                assert canonical(fields) == fields


class TestRefusals:
    @pytest.mark.parametrize(
        ("others", "said"),
        [
            ({"net": functools.partial(network, seed=1)}, "is the log of another network"),
            ({"net": lambda: network(lambda: [Block(6)] * 1 + [Block(6)])}, "is the log of another network"),
            ({"settings": SHORT.model_copy(update={"cycles": 2})}, "was searched with cycles=1, not 2"),
            ({"options": LpqOptions(x_bits=6)}, "was searched with x_bits=derived, not 6"),
            ({"samples": "others"}, "was judged on these, not on others"),
        ],
    )
    def test_a_log_of_something_else(self, tmp_path, alone, others, said):
        log = tmp_path / "log"
        run(log, samples="these")
        before = log.read_bytes()
        given = {"samples": "these", **others}
        if "net" in given:
            given["net"] = given["net"]()
        with pytest.raises(InputError, match=said) as refusal:
            run(log, resume=True, **given)
        assert "\n" not in str(refusal.value)
        assert log.read_bytes() == before

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "x",
            "[]",
            "{}",
            '{"genes":3,"loss":1}',
            '{"genes":[[1,2]],"loss":1}',
            '{"genes":[[Infinity,0,1,0]],"loss":1}',
            sealed({}),
            sealed({"genes": 3, "loss": 1}),
            sealed({"genes": [[1, 2]], "loss": 1}),
            sealed({"genes": [[math.inf, 0, 1, 0]], "loss": 1}),
            sealed({"genes": [[8.0, 0, 1, 0]], "loss": 1}),
            sealed({"genes": [[8, 0, 9, 0]], "loss": 1}),
            sealed({"genes": [[8, 0, 1, math.nan]], "loss": 1}),
            sealed({"genes": [[8, 0, 1, 0]], "loss": math.nan}),
            sealed({"genes": [[8, 0, 1, 0]], "loss": -1}),
            sealed({"genes": [[8, 0, 1, 0]], "loss": "1"}),
            sealed({"genes": [[8, 0, 1, 0]]}),
            "[" * 100_000,
        ],
    )
    def test_a_damaged_line_is_named(self, tmp_path, line):
        path = tmp_path / "log"
        with opened(path, HEADER, resume=False) as log:
            for n in range(3, 7):
                log.add((Fields(n=n, es=1, rs=2, sf=0.5),), 1.0 / n)
        lines = path.read_text().splitlines()
        lines[3] = line.removesuffix("\n")
        path.write_text("\n".join(lines) + "\n")
        named = pytest.raises(InputError, match="log, line 4 is damaged; remove that line and resume")
        with named, opened(path, HEADER, resume=True):
            pass

    def test_a_search_without_its_damaged_line_measures_it_again(self, tmp_path, alone):
        log = tmp_path / "log"
        run(log)
        lines = log.read_text().splitlines()
        log.write_text("\n".join([*lines[:3], "x", *lines[4:]]) + "\n")
        with pytest.raises(InputError, match="log, line 4 is damaged"):
            run(log, resume=True)
        log.write_text("\n".join([*lines[:3], *lines[4:]]) + "\n")
        assert run(log, resume=True).evaluations == 1

    def test_every_byte_counts(self, tmp_path):
        """Whichever byte of a log is another one, a loss is what was measured, or is measured again, or all is refused.

        A line feed that is gone cuts the last line, or makes one of two, which is no line that was written.
        """
        path = tmp_path / "log"
        losses = {(Fields(n=n, es=1, rs=2, sf=0.5),): 1.0 / n for n in range(3, 7)}
        with opened(path, HEADER, resume=False) as log:
            for key, loss in losses.items():
                log.add(key, loss, fitness=1.5)
        content, draw, kept = path.read_bytes(), random.Random(0), Counter()  # noqa: S311
        for index, byte in enumerate(content):
            path.write_bytes(content[:index] + bytes([byte ^ draw.randrange(1, 256)]) + content[index + 1 :])
            try:
                with opened(path, HEADER, resume=True) as log:
                    assert log.losses.items() <= losses.items()
                    kept[len(log.losses)] += 1
            except InputError as error:
                in_one_sentence(error)
        assert kept[4] == 0
        assert kept.total() < 4

    @pytest.mark.parametrize(
        "change",
        [[], {"fingerprint": []}, {"fingerprint": {"w": ["f"]}}, {"options": 3}, {"settings": None}, {"samples": {}}],
    )
    def test_headers_of_something_else(self, tmp_path, change):
        path = tmp_path / "log"
        written = {"bitwright_search": 3, **HEADER, **change} if isinstance(change, dict) else {"bitwright_search": 3}
        path.write_text(sealed(written))
        with pytest.raises(InputError, match="name another --log"), opened(path, HEADER, resume=True):
            pass

    def test_what_is_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
            with pytest.raises(InputError, match="cannot read the search log"), opened(path, {}, resume=True):
                pass

    def test_files(self, tmp_path, alone):
        log = tmp_path / "log"
        with pytest.raises(InputError, match=r"no search log .* to resume; leave --resume out"):
            run(log, resume=True)
        assert not log.exists()
        log.write_text(json.dumps({"bitwright_search": 99}) + "\n")
        with pytest.raises(InputError, match="of version 99, and this reads 3; name another --log"):
            run(log)
        with pytest.raises(InputError, match="of version 99, and this reads 3; name another --log"):
            run(log, resume=True)
        with pytest.raises(InputError, match="cannot be written"):
            run(tmp_path / "nowhere" / "log")

    def test_objectives(self, tmp_path):
        kl = SHORT.model_copy(update={"objective": "kl"})
        with pytest.raises(InputError, match="no logits to take a KL divergence of; use --objective mse"):
            run(tmp_path / "log", settings=kl)
        assert not (tmp_path / "log").exists()

    def test_nothing_to_search(self):
        class Nothing(nn.Module):
            def forward(self, x):
                return x @ x.transpose(1, 2)

        with pytest.raises(InputError, match="no layer with weights"):
            run(net=network_of(Nothing(), BATCHES[0]["input_0"]))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("objective", "best"), ("widths", "wide"), ("mean_bits", 1.9), ("mean_bits", 8.1), ("population", 1),
            ("passes", 0), ("cycles", 0), ("random_parents", 0), ("temperature", 0), ("compression", -1),
            ("floor", -1), ("sf_step", -1), ("refit", 1.1), ("profile", "perhaps"), ("seed", -1), ("nothing", 1),
        ],
    )  # fmt: skip
    def test_settings(self, name, value):
        with pytest.raises(InputError, match=f"^{name} = {value!r}: ") as refusal:
            search_settings({name: value})
        assert "\n" not in str(refusal.value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with networks to name."""
    (tmp_path / "searched.py").write_text(
        textwrap.dedent("""
            import torch

            def small(value=None):
                module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
                module.example_inputs = torch.ones(2, 4)
                if value is not None:
                    module[0].weight.data[0, 0] = value
                return module

            def poisoned():
                return small(float("nan"))
        """)
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    with contextlib.suppress(KeyError):
        del importlib.import_module("sys").modules["searched"]


class TestCommandLine:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--save-plan", "nowhere/plan"], "the folder nowhere of plan does not exist"),
            (["--save-plan", "."], ". is a folder; name a file in it"),
            (["--save-plan", "p", "--log", "."], ". is a folder; name a file in it"),
            (["--save-plan", "p", "--log", "searched.py"], "searched.py is no search log; name another --log"),
            (["--save-plan", "p", "--log", "searched.py", "--resume"], "is no search log"),
            (["--save-plan", "p", "--log", "l", "--objective", "kl"], "no logits"),
            (["--save-plan", "p", "--log", "l", "--objective", "best"], "objective = 'best'"),
            (["--save-plan", "p", "--log", "l", "--widths", "odd"], "widths = 'odd'"),
            (["--save-plan", "p", "--log", "l", "--mean-bits", "1"], "mean_bits = 1"),
            (["--save-plan", "p", "--log", "l", "--set", "population=1"], "population = 1"),
            (["--save-plan", "p", "--log", "l", "--set", "population"], "population"),
            (["--save-plan", "p", "--log", "l", "--option", "w_bits=9"], "w_bits"),
            (["--save-plan", "p", "--log", "l", "-m", "lpq+apsq"], "has no search; bitwright search takes"),
            (["--save-plan", "p", "--log", "l", "-m", "nothing"], "nothing"),
            (["--save-plan", "p", "--log", "l", "--option", 'sites={"no.*": {"w_bits": 4}}'], "matches no site"),
        ],
    )
    def test_bad_input(self, folder, arguments, said):
        before = (folder / "searched.py").read_bytes()
        assert said in refused("search", "searched:small", "--workers", "1", *arguments)
        assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == ["searched.py"]
        assert (folder / "searched.py").read_bytes() == before

    @pytest.mark.parametrize(
        ("model", "said"), [("searched:poisoned", "NaN or infinity"), ("gemm:8x8x8", "shapes only")]
    )
    def test_networks_that_cannot_be_searched(self, folder, model, said):
        assert said in refused("search", model, "--save-plan", "p", "--log", "l", "--workers", "1")
        assert not (folder / "p").exists()
        assert not (folder / "l").exists()


class TestJudging:
    @pytest.mark.parametrize(
        ("wrong", "why"),
        [(RuntimeError("out of luck"), "RuntimeError: out of luck"), (KeyboardInterrupt(), "interrupted")],
    )
    def test_a_plan_that_cannot_be_judged_is_not_lost(self, wrong, why, monkeypatch):
        def fails(*given, **named):
            raise wrong

        monkeypatch.setattr("bitwright.studies.judging.evaluate", fails)
        layer = torch.nn.Linear(8, 4)
        layer.example_inputs = torch.rand(2, 8)
        found = bitwright.train(layer, "int8", steps=2, every=1, options={"smoothing": "none"})
        assert found.judged == why
        assert found.plan.site("linear").quantized
