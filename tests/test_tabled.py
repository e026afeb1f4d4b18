"""Exact products of tabled formats against integers of Python, and the log posits' search."""

import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bitwright.errors import InputError
from bitwright.formats import AdaptivFloat, Flint, LogPosit, PowerOfTwo, Quantized
from bitwright.methods.lpq.fields import Fields, least_error, squared_error, tables
from bitwright.methods.lpq.options import LpqOptions
from bitwright.methods.lpq.search import SearchSettings, search
from bitwright.methods.lpq.search.candidates import canonical
from bitwright.methods.lpq.search.judge import Judge
from bitwright.methods.lpq.sites import Sites
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose
from bitwright.methods.tabled import observe_values
from bitwright.methods.tabled.products import (
    converter_table,
    dyadic_product,
    exact_sums,
    grouped,
    looked_up,
    pair_of,
    reference_log_product,
    rounded_sum,
)
from bitwright.networks.blocks import chain_of
from bitwright.networks.calls import Call
from bitwright.networks.network import Network


def operand(fmt, shape, seed):
    """Words without NaR."""
    words = torch.randint(0, 2**fmt.bits, shape, generator=torch.Generator().manual_seed(seed))
    if isinstance(fmt, LogPosit):
        words[words == 2 ** (fmt.bits - 1)] = 0
    return Quantized(codes=words.to(torch.uint8), format=fmt, scale=torch.ones(()))


def call_of(x, w, layout="linear", **geometry):
    return Call(layout=layout, op=layout, x=x.codes.float(), w=w.codes.float(), **geometry)


@st.composite
def log_posits(draw):
    n = draw(st.integers(2, 8))
    return LogPosit(n=n, es=draw(st.integers(0, 4)), rs=draw(st.integers(1, n - 1)))


class TestLogProducts:
    @settings(max_examples=60, deadline=None)
    @given(log_posits(), log_posits(), st.integers(1, 40), st.integers(0, 99))
    def test_equal_the_reference(self, x_format, w_format, k, seed):
        x, w = operand(x_format, (3, k), seed), operand(w_format, (2, k), seed + 1)
        call, pair = call_of(x, w), pair_of(x_format, w_format)
        exact = [
            [float(reference_log_product(row.tolist(), column.tolist(), x_format, w_format)) for column in w.codes]
            for row in x.codes
        ]
        expected = torch.tensor(exact, dtype=torch.float64)
        assert torch.equal(grouped(call, x, w, pair), expected)
        assert torch.equal(exact_sums(call, x, w), expected)

    def test_layouts(self):
        fmt = LogPosit(n=5, es=1, rs=3)
        image, pair = operand(LogPosit(n=8, es=1, rs=3), (2, 4, 6, 5), 0), pair_of(LogPosit(n=8, es=1, rs=3), fmt)
        geometry = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
        for groups in (1, 2, 4):
            w = operand(fmt, (4, 4 // groups, 3, 2), 1)
            call = call_of(image, w, "conv2d", groups=groups, **geometry)
            assert torch.equal(looked_up(call, image, w, pair), grouped(call, image, w, pair))
        x, w = operand(LogPosit(n=8, es=1, rs=3), (2, 3, 5, 7), 2), operand(fmt, (2, 3, 7, 4), 3)
        call = call_of(x, w, "batched")
        assert torch.equal(looked_up(call, x, w, pair), grouped(call, x, w, pair))

    def test_converter(self):
        assert [converter_table(q) for q in (1, 2)] == [[0, 1], [0, 1, 2, 3]]
        assert converter_table(4) == [0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15]

    def test_one_family_only(self):
        x, w = operand(LogPosit(n=8, es=1, rs=3), (2, 4), 0), operand(Flint(bits=4), (2, 4), 0)
        with pytest.raises(InputError, match="log posits only"):
            exact_sums(call_of(x, w), x, w)


class TestSums:
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.integers(-(2**53), 2**53), st.integers(-120, 120)), min_size=1, max_size=5))
    def test_round_once(self, parts):
        numbers = sorted((math.ldexp(float(m), e) for m, e in parts), key=abs)
        found = rounded_sum([torch.tensor([number], dtype=torch.float64) for number in numbers])
        assert found.item() == math.fsum(numbers)

    def test_ties_are_decided_by_what_lies_far_below(self):
        parts = [2.0**-120, 2.0**-53, 1.0]
        assert rounded_sum([torch.tensor([p], dtype=torch.float64) for p in parts]).item() == 1 + 2.0**-52
        assert rounded_sum([torch.tensor([p], dtype=torch.float64) for p in parts[1:]]).item() == 1.0

    @pytest.mark.parametrize("w_format", [AdaptivFloat(bits=6), Flint(bits=4), PowerOfTwo(bits=4)])
    def test_multiples_of_a_power_of_two(self, w_format):
        x, w = operand(AdaptivFloat(bits=8), (3, 17), 0), operand(w_format, (2, 17), 1)
        found = dyadic_product(call_of(x, w), x, w)
        values = [[Fraction(v) for v in fmt.table().tolist()] for fmt in (x.format, w_format)]
        for i, j in np.ndindex(3, 2):
            exact = sum(values[0][a] * values[1][b] for a, b in zip(x.codes[i], w.codes[j], strict=True))
            assert Fraction(found[i, j].item()) == exact


class TestFields:
    def test_least_error_beats_every_table_at_its_own_sf(self):
        values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
        rule = LpqOptions().regime
        best = least_error(values, 5, max_es=2, rule=rule)
        for es, rs in tables(5, 2):
            assert squared_error(values, best, rule) <= squared_error(
                values, Fields(n=5, es=es, rs=rs, sf=best.sf), rule
            )

    def test_canonical_fields_have_the_same_values(self):
        for n, es in ((4, 1), (6, 3), (8, 2)):
            fields = canonical(Fields(n=n, es=es, rs=1, sf=0.25))
            same = LogPosit(n=n, es=es, rs=1).table().nan_to_num(0)
            assert torch.equal(LogPosit(n=n, es=fields.es, rs=fields.rs).table().nan_to_num(0), same)

    def test_types_of_ant_follow_the_data(self):
        powers = 2.0 ** torch.randint(0, 7, (1, 64), generator=torch.Generator().manual_seed(1)).float()
        layer = nn.Linear(64, 1, bias=False)
        layer.weight.data = powers
        network = Network(name="layer", kind="tensor", module=layer)
        plan = compose("ant").calibrate(network, [{"input": torch.randn(8, 64)}])
        assert next(iter(plan.sites.values())).w_type == "pot4"


def chain_network(seed=0):
    torch.manual_seed(seed)
    module = nn.Sequential(*(nn.Sequential(nn.Linear(12, 12), nn.ReLU()) for _ in range(4)))
    return Network(name=f"chain{seed}", kind="tensor", module=module.eval())


BATCHES = [{"input": torch.randn(6, 12, generator=torch.Generator().manual_seed(s))} for s in range(2)]
SHORT = SearchSettings(population=4, passes=1, cycles=1, random_parents=2, mean_bits=5, objective="mse")


def run(tmp_path=None, *, network=None, settings=SHORT, resume=False, workers=1, samples=""):
    log = None if tmp_path is None else tmp_path / "log"
    plan = Plan(method="lpq", options={"lpq": LpqOptions().model_dump(mode="json")})
    network = network or chain_network()
    return search(
        network, BATCHES, LpqOptions(), settings, plan, log=log, resume=resume, workers=workers, samples=samples
    )


class TestSearch:
    def test_a_prefix_changes_no_bit(self):
        network, rng = chain_network(), np.random.default_rng(0)
        sites = Sites(observe_values(network, BATCHES), LpqOptions())
        chain = chain_of(network, BATCHES[0], list(sites.seen))
        assert len(chain.blocks) == 4
        judge = Judge(chain, sites, BATCHES, SHORT)
        candidate = {name: sites.least(name, 8) for name in sites.weighted}
        for _ in range(12):
            name = sites.weighted[int(rng.integers(len(sites.weighted)))]
            candidate = {**candidate, name: sites.least(name, int(rng.integers(2, 9)))}
            assert judge.loss(candidate) == Judge(chain, sites, BATCHES, SHORT).loss(candidate, whole=True)
        assert judge.blocks_run < 12 * chain.count

    def test_processes_change_nothing(self):
        one, two = run(workers=1), run(workers=2)
        assert one.fields == two.fields
        assert one.history == two.history
        assert one.history[-1].mean_bits <= SHORT.mean_bits

    def test_a_log_cut_anywhere_resumes_bit_by_bit(self, tmp_path):
        whole = run(tmp_path)
        content = (tmp_path / "log").read_bytes()
        lines = content.splitlines(keepends=True)
        assert len(lines) - 1 == whole.evaluations
        for kept, rest in ((1, b""), (5, lines[5][:10]), (len(lines), b"")):
            (tmp_path / "log").write_bytes(b"".join(lines[:kept]) + rest)
            again = run(tmp_path, resume=True)
            assert again.fields == whole.fields
            assert again.evaluations == len(lines) - kept
            assert (tmp_path / "log").read_bytes() == content

    def test_what_does_not_fit_is_refused(self, tmp_path):
        run(tmp_path, samples="these")
        log = tmp_path / "log"
        with pytest.raises(InputError, match="another network"):
            run(tmp_path, network=chain_network(1), resume=True, samples="these")
        with pytest.raises(InputError, match="cycles=1, not 2"):
            run(tmp_path, settings=SHORT.model_copy(update={"cycles": 2}), resume=True, samples="these")
        with pytest.raises(InputError, match="judged on these"):
            run(tmp_path, resume=True, samples="others")
        with pytest.raises(InputError, match="--resume"):
            run(tmp_path, samples="these")
        log.write_text(log.read_text() + json.dumps({"genes": 3}) + "\n")
        with pytest.raises(InputError, match="is damaged"):
            run(tmp_path, resume=True, samples="these")
        log.write_text("something else\n")
        with pytest.raises(InputError, match="no search log"):
            run(tmp_path, resume=True)

    def test_outputs_without_logits_have_no_divergence(self):
        with pytest.raises(InputError, match="no logits"):
            run(settings=SHORT.model_copy(update={"objective": "kl"}))

    def test_the_plan_runs_exactly(self):
        from bitwright.methods.execution import Executor

        network, found = chain_network(), run()
        executor = Executor(network, found.plan, exact=True)
        assert executor.audit(BATCHES[0]) == 0
        assert all(dataclasses.is_dataclass(site.w.format) for site in found.plan.sites.values())
