"""Run-time precision: conversions against integers one by one, products of classes against one product, budgets."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.errors import InputError
from bitwright.formats import Integer, PerTensor, Quantized
from bitwright.methods.bias import BiasCorrection
from bitwright.methods.budget import Expected, Judge, _spread_correlation, expected_accuracy
from bitwright.methods.classes import PAIRS, block_lengths, block_size, classes_of
from bitwright.methods.drift import METHOD, DriftOptions, expected_error, kernels
from bitwright.methods.drift.calibrate import Search
from bitwright.methods.drift.conversion import (
    Conversion,
    Decision,
    Narrowing,
    narrow_by_torch,
    narrow_rows,
)
from bitwright.methods.drift.reference import class_product
from bitwright.methods.drq import METHOD as DRQ
from bitwright.methods.drq.rule import Drq as DrqRule
from bitwright.methods.executor import Executor
from bitwright.methods.integer.gemm import finish
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.precision import narrowable, smallest
from bitwright.methods.products import integer_product, reference_product
from bitwright.methods.protocol import compose
from bitwright.networks.trace import trace
from bitwright.tasks.precision import PrecisionRecord, record_for
from toys import Calling, Form, linear_view, network_of, normal, random_codes

SAMPLES = [{"input_0": normal(4, 16, 48, seed=seed)} for seed in (1, 2)]
INT8, UINT8 = Integer(bits=8, signed=True, narrow=True), Integer(bits=8, signed=False)


def operand(shape, *, seed=0, fmt=INT8, zero_point=0, spread=6.0):
    """Laplace codes of rows of very different sizes."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(0, 1, (*shape[:-1], 1))) * spread
    codes = np.clip(np.rint(rng.laplace(0, 1, shape) * sizes) + zero_point, fmt.low, fmt.high)
    stored = torch.from_numpy(codes).to(torch.int8 if fmt.signed else torch.uint8)
    return Quantized(codes=stored, format=fmt, scale=torch.ones(()), zero_point=zero_point)


def by_hand(codes, delta, *, signed, affine, low, high):
    """One sub-tensor of centred integers, as the module says it: (shift or -1, narrow codes on the wide grid)."""
    reached = max(codes) - min(codes) if affine else max(abs(c) for c in codes)
    top = 7 if signed else 15
    shift = next((s for s in range(4) if reached <= top * 2**s + 2**s // 2), None)
    if shift is None:
        if reached > (127 if signed else 255):
            return -1, codes
        shift = 4
    mean = math.floor(sum(codes) / len(codes) + 0.5)
    if shift and sum(abs(c - mean) for c in codes) < delta * 2**shift * len(codes):
        return -1, codes
    base = min(codes) if affine else 0
    found = []
    for c in codes:
        u = round((c - base) / 2**shift)  # Python rounds halves to even; the quotient is exact
        u = max(-top if signed else 0, min(top, u))
        while base + u * 2**shift < low:
            u += 1
        while base + u * 2**shift > high:
            u -= 1
        found.append(base + u * 2**shift)
    return shift, found


class TestConversion:
    @settings(max_examples=120, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        length=st.integers(1, 40),
        block=st.integers(0, 20),
        delta=st.sampled_from([0.0, 0.3, 0.7, 1.0, 2.0, math.inf]),
        affine=st.booleans(),
        kind=st.sampled_from([(INT8, 0), (UINT8, 0), (UINT8, 15), (UINT8, 130)]),
        carried=st.booleans(),
    )
    def test_rows_by_hand(self, seed, length, block, delta, affine, kind, carried):
        fmt, zero_point = kind
        x = operand((3, length), seed=seed, fmt=fmt, zero_point=zero_point, spread=20.0)
        how = Narrowing(delta=delta, block=block, conversion=Conversion.AFFINE if affine else Conversion.ZERO)
        codes = x.codes.float() if carried else x.codes.clone()
        found = narrow_rows(dataclasses.replace(x, codes=codes), how)
        signed = not affine and (fmt.signed or zero_point > 0)
        size = block_size(length, block)
        for row in range(3):
            for b, start in enumerate(range(0, length, size)):
                codes = (x.codes[row, start : start + size].long() - zero_point).tolist()
                limits = {"low": fmt.low - zero_point, "high": fmt.high - zero_point}
                shift, narrow = by_hand(codes, delta, signed=signed, affine=affine, **limits)
                assert int(found.shifts[row, b]) == shift
                assert (found.codes[row, start : start + size].long() - zero_point).tolist() == narrow

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        size=st.integers(1, 9),
        region=st.integers(1, 3),
        affine=st.booleans(),
        zero_point=st.sampled_from([0, 15, 130]),
    )
    def test_the_kernel_and_torch_do_the_same(self, seed, size, region, affine, zero_point):
        x = operand((2, 5, 4, 9), seed=seed, fmt=UINT8, zero_point=zero_point, spread=20.0)
        tests = Decision(
            delta=0.6,
            size=size,
            region=region,
            signed=not affine and zero_point > 0,
            affine=affine,
            zero_point=zero_point,
            low=-zero_point,
            high=255 - zero_point,
        )
        one, other = x.codes.clone(), x.codes.double()
        assert torch.equal(kernels.narrow(one, tests), narrow_by_torch(other, tests))
        assert torch.equal(one.double(), other)

    @pytest.mark.parametrize("region", [1, 2, 3])
    @pytest.mark.parametrize("block", [0, 4])
    @pytest.mark.parametrize("size", [(7,), (5, 7), (2, 5, 7)], ids=["signals", "images", "volumes"])
    def test_regions_of_images_share_a_shift(self, size, region, block):
        """They lie along the last two axes of pixels."""
        x = operand((2, *size, 10), fmt=UINT8, zero_point=90, spread=15.0)
        how = Narrowing(delta=0.5, block=block, region=region)
        found = narrow_rows(dataclasses.replace(x, codes=x.codes.clone()), how, images=len(size))
        assert found.shifts.shape == (2, *size, 3 if block else 1)
        planes = [each.reshape(-1, *((1, *size)[-2:]), each.shape[-1]) for each in (x.codes, found.codes, found.shifts)]
        pixels, narrow, shifts = (each[-2].long() for each in planes)  # one plane of the second image
        pixels, narrow, length = pixels - 90, narrow - 90, block_size(10, block)
        for top in range(0, pixels.shape[0], region):
            for left in range(0, 7, region):
                for b in range(shifts.shape[-1]):
                    area = (slice(top, top + region), slice(left, left + region))
                    where = (*area, slice(b * length, (b + 1) * length))
                    codes = pixels[where].flatten().tolist()
                    shift, expected = by_hand(codes, 0.5, signed=True, affine=False, low=-90, high=165)
                    assert narrow[where].flatten().tolist() == expected
                    assert set(shifts[(*area, b)].flatten().tolist()) == {shift}

    def test_a_batch_of_zeros_is_narrow_and_stays_zero(self):
        zeros = Quantized(
            codes=torch.full((4, 64), 7, dtype=torch.uint8), format=UINT8, scale=torch.ones(()), zero_point=7
        )
        for conversion in Conversion:
            found = narrow_rows(zeros, Narrowing(delta=math.inf, conversion=conversion))
            assert (found.shifts == 0).all()
            assert (found.codes == 7).all()

    def test_one_row_and_blocks_longer_than_it(self):
        found = narrow_rows(operand((1, 5)), Narrowing(delta=0.0, block=999))
        assert found.shifts.shape == (1, 1)

    def test_codes_of_more_than_8_bits_are_refused(self):
        wide = Quantized(codes=torch.zeros(2, 2), format=Integer(bits=12), scale=torch.ones(()))
        with pytest.raises(InputError, match="at most 8 bits"):
            narrow_rows(wide, Narrowing(delta=1.0))

    def test_blocks_are_counted_as_they_are_cut(self):
        for length in range(1, 130):
            for block in range(1, 70):
                size = block_size(length, block)
                lengths = [min(size, length - start) for start in range(0, length, size)]
                assert block_lengths(length, len(lengths)) == lengths


class TestDistortion:
    @pytest.mark.parametrize(
        ("delta", "expected"),
        [(2.0, 0.0103), (1.5, 0.0183), (1.0, 0.0405), (0.75, 0.0704), (0.5, 0.149), (0.25, 0.449)],
    )
    def test_the_table(self, delta, expected):  # 1 - u / sinh(u) at u = 1 / (2 delta)
        assert expected_error(delta) == pytest.approx(expected, rel=6e-3)

    @pytest.mark.parametrize(("b", "shift"), [(10.0, 4), (5.0, 3), (9.0, 4), (4.4, 3)])
    def test_laplace_codes_err_as_derived(self, b, shift):
        """Long sub-tensors of one Laplace density, whose largest element says little of the others."""
        drawn = np.rint(np.random.default_rng(shift).laplace(0, b, (2000, 768)))
        drawn = drawn[np.abs(drawn).max(1) <= (119 if shift == 4 else 60)]  # nothing saturates
        x = Quantized(codes=torch.from_numpy(drawn).to(torch.int8), format=INT8, scale=torch.ones(()))
        found = narrow_rows(dataclasses.replace(x, codes=x.codes.clone()), Narrowing(delta=0.0))
        chosen = found.shifts[:, 0] == shift
        assert chosen.float().mean() > 0.5
        codes, narrow = x.codes[chosen].double(), found.codes[chosen].double()
        measured = float((narrow - codes).square().sum() / codes.square().sum())
        steps = float(codes.abs().mean()) / 2**shift
        db = [10 * math.log10(each) for each in (measured, expected_error(steps))]
        assert db[0] == pytest.approx(db[1], abs=0.3)  # codes are integers, and tails end where the range does

    def test_snr_of_an_unlimited_quantizer(self):
        """The formula itself, on two million Laplace draws."""
        draws = np.random.default_rng(0).laplace(0, 1, 2_000_000)
        for delta in (0.35, 0.5, 1.0, 2.0):
            step = 1 / delta
            error = ((np.rint(draws / step) * step - draws) ** 2).mean() / 2
            assert error == pytest.approx(expected_error(delta), rel=0.01)


FORMS = {
    "linear": Form(F.linear, (3, 9, 40), (11, 40)),
    "batched": Form(torch.matmul, (2, 3, 9, 24), (2, 3, 24, 10)),
    "conv": Form(F.conv2d, (2, 12, 6, 7), (10, 12, 3, 3), others={"padding": (1, 1), "stride": (2, 1)}),
    "grouped": Form(F.conv2d, (1, 12, 5, 5), (4, 6, 3, 2), others={"groups": 2, "dilation": (1, 2)}),
    "conv1d": Form(F.conv1d, (2, 12, 9), (5, 12, 4), others={"padding": (2,), "stride": (2,)}),
    "conv3d": Form(F.conv3d, (2, 6, 3, 4, 5), (4, 3, 2, 3, 1), others={"padding": (1, 0, 2), "groups": 2}),
    "depthwise": Form(F.conv2d, (2, 6, 5, 4), (6, 1, 3, 3), others={"padding": (1, 1), "groups": 6}),
}


def narrowed(form, *, affine, block, zero_point, delta=0.6):
    """A view and its operands, narrow here and there."""
    how = Narrowing(delta=delta, block=block, conversion=Conversion.AFFINE if affine else Conversion.ZERO)
    x = operand(form.x, seed=3, fmt=UINT8, zero_point=zero_point, spread=12.0)
    view, x, w = form.view(x, operand(form.w, seed=4, spread=12.0))
    return view, narrow_rows(x, how, images=0 if view.lead else view.spatial), narrow_rows(w, how)


class TestProducts:
    @pytest.mark.parametrize("affine", [False, True])
    @pytest.mark.parametrize("block", [0, 8])
    @pytest.mark.parametrize("zero_point", [0, 101])
    @pytest.mark.parametrize("name", FORMS)
    def test_four_classes_scattered_back_are_one_product(self, name, affine, block, zero_point):
        view, x, w = narrowed(FORMS[name], affine=affine, block=block, zero_point=zero_point)
        found = class_product(view, x, w, affine=affine)
        assert torch.equal(found, reference_product(view, x, w))
        assert torch.equal(found.double(), integer_product(view, x, w).double())

    @pytest.mark.parametrize("name", FORMS)
    def test_classes_are_counted_as_they_meet(self, name):
        """Multiply-accumulates of each class, counted element by element."""
        form = FORMS[name]
        view, x, w = narrowed(form, affine=False, block=8, zero_point=101)
        classes = classes_of(view.site("s"), SitePlan(), x, w)
        # one where a narrow element is, of x and of w: their product counts the meetings
        x_marks, w_marks = marks(x), marks(w)
        for x_bits, w_bits in PAIRS:
            left = 1 - x_marks if x_bits == 8 else x_marks
            right = 1 - w_marks if w_bits == 8 else w_marks
            met = view.product(left, right).sum()
            if view.spatial and x_bits == 4:  # padding counts as narrow
                everything = view.product(torch.ones_like(left), right).sum()
                sides = [side for each in reversed(view.padding) for side in (each, each)]
                filters = right.movedim(-1, view.lead + 1)
                padded = form.function(
                    F.pad(torch.ones(form.x), sides, value=1.0),
                    filters.flatten(0, 1) if view.lead else filters,
                    **form.others | {"padding": 0},
                ).sum()
                met = met + padded - everything
            assert classes.macs[x_bits, w_bits] == int(met)
        assert sum(classes.macs.values()) == view.site("s").macs


def marks(quantized):
    """1.0 where an element is narrow."""
    narrow, length = (quantized.shifts >= 0).float(), quantized.codes.shape[-1]
    return narrow.repeat_interleave(-(-length // narrow.shape[-1]), -1)[..., :length]


class TestDrq:
    @pytest.mark.parametrize("name", FORMS)
    def test_sums_by_hand(self, name):
        """Element by element: a sensitive x meets w, another one meets w without its low bits."""
        form = FORMS[name]
        x = operand(form.x, seed=5, fmt=UINT8, zero_point=30, spread=12.0)
        view, x, w = form.view(x, operand(form.w, seed=6, spread=20.0))
        site = SitePlan(precision=DrqRule(threshold=12.0, region=2, block=8))
        narrow = DRQ.narrow_x(view, x, site)
        assert 0 < (narrow.shifts >= 0).float().mean() < 1
        mask = marks(narrow).double()
        centred = x.codes.double() - 30
        x_low = (centred / 16).round().clamp(-1, 7) * 16  # -7 * 16 would leave the wide range, which ends at -30
        w_low = (w.codes.double() / 16).round().clamp(-7, 7) * 16
        expected = view.product(centred * (1 - mask), w.codes.double()) + view.product(x_low * mask, w_low)
        assert torch.equal(DRQ.sums(view, narrow, w, site).double(), expected)
        assert torch.equal(DRQ.fast_sums(view, narrow, w, site).double(), expected)

    def test_regions_by_hand(self):
        form = Form(F.conv2d, (1, 3, 5, 6), (4, 3, 3, 3))
        image = operand(form.x, fmt=UINT8, spread=25.0)
        view, x, _ = form.view(image, operand(form.w))
        site = SitePlan(precision=DrqRule(threshold=9.0, region=2, block=8))
        found = DRQ.narrow_x(view, x, site)
        for c in range(3):
            for top in range(0, 5, 2):
                for left in range(0, 6, 2):
                    codes = image.codes[0, c, top : top + 2, left : left + 2].double()
                    shifts = found.shifts[0, top : top + 2, left : left + 2, c]
                    assert set(shifts.flatten().tolist()) == {4 if float(codes.mean()) < 9.0 else -1}

    @pytest.mark.parametrize("groups", [1, 2])
    @pytest.mark.parametrize("size", [(7,), (2, 3, 4)])
    def test_regions_of_signals_and_volumes(self, size, groups):
        """Along the last two axes of pixels, each channel by itself, whatever group it is of."""
        form = Form(
            (F.conv1d, None, F.conv3d)[len(size) - 1],
            (2, 4, *size),
            (4, 4 // groups, *[1] * len(size)),
            others={"groups": groups},
        )
        image = operand(form.x, fmt=UINT8, spread=25.0)
        view, x, _ = form.view(image, operand(form.w))
        site = SitePlan(precision=DrqRule(threshold=12.0, region=2, block=8))
        shifts = DRQ.narrow_x(view, x, site).shifts
        shifts = shifts.movedim(-1, 1) if groups == 1 else shifts.movedim(-1, 2).transpose(0, 1).flatten(1, 2)
        assert shifts.shape == form.x
        planes = zip(*(each.reshape(-1, *(1, *size)[-2:]) for each in (image.codes, shifts)), strict=True)
        for codes, found in planes:
            for top in range(0, codes.shape[0], 2):
                for left in range(0, codes.shape[1], 2):
                    where = (slice(top, top + 2), slice(left, left + 2))
                    narrow = float(codes[where].double().mean()) < 12.0
                    assert set(found[where].flatten().tolist()) == {4 if narrow else -1}
        assert len(shifts.unique()) == 2

    def test_operands_of_4_bits_drop_nothing(self):
        fmt = Integer(bits=4, signed=True)
        x, w = (
            dataclasses.replace(
                operand((3, 40), seed=each, spread=1.0), format=fmt, codes=random_codes(fmt, (3, 40), each)
            )
            for each in (1, 2)
        )
        view = linear_view(torch.zeros(3, 40), torch.zeros(3, 40))
        site = SitePlan(precision=DrqRule(threshold=100.0, region=2, block=8))
        narrow = DRQ.narrow_x(view, x, site)
        assert (narrow.shifts == 0).all()
        assert torch.equal(DRQ.sums(view, narrow, w, site).double(), x.codes.double() @ w.codes.double().t())


def toy(seed=0):
    """Two layers and an attention-like product."""
    parameters = {"first": torch.nn.Linear(48, 64), "second": torch.nn.Linear(64, 64), "third": torch.nn.Linear(64, 40)}
    torch.manual_seed(seed)
    for layer in parameters.values():
        layer.reset_parameters()

    def forward(module, x):
        hidden = torch.relu(module.first(x))
        hidden = torch.matmul(hidden.softmax(-1), module.second(hidden).transpose(-1, -2)) @ hidden
        return module.third(hidden)

    return network_of(Calling(forward, **parameters), normal(4, 16, 48, seed=seed))


class TestMethod:
    def plan(self, name="drift", **options):
        network = toy()
        return network, compose(name, options).calibrate(network, SAMPLES)

    def test_it_stands_on_int8_unless_told_otherwise(self):
        assert [part for part, _, _ in compose("drift").methods] == ["int8", "drift"]
        assert [part for part, _, _ in compose("int8-sym+drift").methods] == ["int8-sym", "drift"]
        assert [part for part, _, _ in compose("drift+apsq").methods] == ["int8", "drift", "apsq"]
        assert [part for part, _, _ in compose("drq").methods] == ["int8", "drq"]

    @pytest.mark.parametrize("name", ["drift", "drift-rows", "drq", "mixed"])
    def test_a_search_keeps_its_budget(self, name):
        network, plan = self.plan(name, budget=0.02)
        base = compose("int8" if name != "mixed" else "mixed", {"budget": 1e-9} if name == "mixed" else {})
        static = base.calibrate(network, SAMPLES)
        judge = Judge(network, SAMPLES, static)
        assert Judge(network, SAMPLES, plan).start.loss(judge.start) <= 0.02 + 1e-6
        assert any("budget 2 %" in note for note in plan.notes)

    def test_a_larger_budget_never_takes_more_multiplier_time(self):
        times = []
        for budget in (0.001, 0.05, 0.5):
            network, plan = self.plan(budget=budget, delta_by="network")
            record = PrecisionRecord()
            Executor(network, plan, listeners=[record]).run({"input_0": normal(4, 16, 48, seed=9)})
            shares = record.shares
            times.append(shares["a8w8"] + (shares["a8w4"] + shares["a4w8"]) / 2 + shares["a4w4"] / 4)
        assert times == sorted(times, reverse=True)
        assert times[-1] < times[0]

    def test_fast_and_exact_agree_and_ends_stay_wide(self):
        network, plan = self.plan(delta=0.0)
        batch = {"input_0": normal(4, 16, 48, seed=9)}
        executor, record = Executor(network, plan), PrecisionRecord()
        assert executor.audit(batch) == 0
        Executor(network, plan, listeners=[record]).run(batch)
        sites = list(record.sites)
        assert record.sites[sites[0]].shares["a8w8"] == record.sites[sites[-1]].shares["a8w8"] == 1
        assert all(record.sites[name].shares["a4w4"] > 0.9 for name in sites[1:-1])
        assert sum(record.shares.values()) == pytest.approx(1)

    def test_infinite_delta_changes_no_code(self):
        """Only what loses nothing is narrow: the output is that of the static plan, bit for bit."""
        network, plan = self.plan(delta=1e6, bias_correction=False)
        static = compose("int8", {"bias_correction": False}).calibrate(network, SAMPLES)
        batch = {"input_0": normal(4, 16, 48, seed=9)}
        assert torch.equal(Executor(network, plan).run(batch), Executor(network, static).run(batch))

    def test_partial_sums_of_narrow_codes(self):
        network, plan = self.plan("drift+apsq", delta=0.5)
        assert all(site.accumulation.name == "apsq" for site in plan.sites.values() if site.quantized)
        assert Executor(network, plan).audit({"input_0": normal(4, 16, 48, seed=9)}) == 0

    def test_a_loss_that_is_no_number_is_no_success(self, monkeypatch):
        """Neither search walks on where outputs are NaN, not even from a delta that was good."""
        network = toy()
        static = compose("int8").calibrate(network, SAMPLES)
        sites = {site.name: site for site in trace(network).sites}
        search = Search(network, SAMPLES, DriftOptions(), static, sites, narrowable(sites, static, ends=False))
        monkeypatch.setattr(Search, "measure", lambda self, deltas: (math.nan, 0.1))
        assert set(search.by_network().values()) == {math.inf}
        monkeypatch.setattr(
            Search, "measure", lambda self, deltas: (0.0 if min(deltas.values()) >= 1 else math.nan, 0.1)
        )
        start = search.by_network()
        assert set(start.values()) == {1.0}
        assert search.by_kind(start) == start

    def test_a_grid_of_weights_goes_by_site(self):
        """Blocks of one site cross the groups of the file, those of the others do not."""
        network = dataclasses.replace(toy(), weight_grid=32)
        options = {"delta": 0.5, "narrow_ends": True, "sites": {"second": {"block": 48}}}
        plan = compose("drift", options).calibrate(network, SAMPLES)
        found = {name: site.precision.w_delta for name, site in plan.sites.items()}
        assert (found["first"], found["second"], found["third"]) == (None, 0.5, None)

    def test_sites_of_equal_widths_are_no_choice(self):
        """`second` has 4 bits already; of the other, the search may take any budget that is left."""
        network = toy()
        pinned = {"sites": {"second": {"x_bits": 4, "w_bits": 4, "w_granularity": "channel"}}}
        plan = compose("mixed", {"budget": 0.5, **pinned}).calibrate(network, SAMPLES)
        free = compose("mixed", {"budget": 0.5}).calibrate(network, SAMPLES)
        choices = [re.search(r"(\d+) of (\d+) sites narrow", " ".join(each.notes)).groups() for each in (plan, free)]
        assert int(choices[0][1]) == int(choices[1][1]) - 1
        assert plan.site("second").w_bits == 4

    def test_what_is_recorded(self):
        network = toy()
        assert record_for(compose("int8").calibrate(network, SAMPLES)) is None
        assert record_for(compose("drift", {"delta": 1.0}).calibrate(network, SAMPLES)) is not None
        two = compose("int8", {"sites": {"second": {"x_bits": 4, "w_bits": 4}}}).calibrate(network, SAMPLES)
        assert record_for(two) is not None

    def test_finish_takes_the_sums_of_classes(self):
        view, x, w = narrowed(FORMS["linear"], affine=True, block=8, zero_point=101)
        view = dataclasses.replace(view, bias=normal(11))
        x = dataclasses.replace(x, scale=torch.tensor(0.1))
        w = dataclasses.replace(w, scale=torch.full((11, 1), 0.2))
        by_class = finish(view, class_product(view, x, w, affine=True).to(torch.int32), x, w)
        by_one = finish(view, integer_product(view, x, w), x, w)
        assert torch.equal(by_class, by_one)


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"delta": -1}, "delta"),
            ({"budget": 0}, "budget"),
            ({"budget": 1.5}, "budget"),
            ({"block": -1}, "block"),
            ({"region": 5}, "region"),
            ({"conversion": "round"}, "conversion"),
            ({"x_share": 1.1}, "x_share"),
        ],
    )
    def test_options_out_of_range(self, options, said):
        with pytest.raises(InputError, match=said):
            compose("drift", options)

    def test_shapes_need_shares(self):
        import bitwright

        network = bitwright.load("gemm:64x128x32")
        with pytest.raises(InputError, match=r"--option x_share=0\.8 --option w_share=0\.8"):
            compose("drift", {"narrow_ends": True}).calibrate(network, ())
        plan = compose("drift", {"x_share": 0.5, "w_share": 0.25, "narrow_ends": True}).calibrate(network, ())
        site = next(iter(plan.sites.values()))
        found = classes_of(network.sites[0], site, None, None)
        assert found.k.tolist() == [32] * 4
        assert found.m_narrow.tolist() == [[32] * 4]
        assert found.n_narrow.tolist() == [[8] * 4]
        assert any("assumed" in note for note in plan.notes)

    def test_drq_and_partial_sums_do_not_compose(self):
        with pytest.raises(InputError, match="two precisions"):
            compose("drq+apsq")

    def test_drift_needs_integers(self):
        network = toy()
        with pytest.raises(InputError, match="integers"):
            compose("lp8+drift", {"delta": 1.0}).calibrate(network, [{"input_0": normal(4, 16, 48)}])

    def test_drq_needs_one_scale_of_weights(self):
        samples = [{"input_0": normal(4, 16, 48)}]
        with pytest.raises(InputError, match="weights scaled in groups"):
            compose("w4a8+drq", {"w_granularity": "group:16"}).calibrate(toy(), samples)

    def test_a_static_plan_that_cannot_be_judged(self):
        """Sentences that are all one have no correlation."""
        network = toy()
        with torch.no_grad():
            network.module.third.weight.zero_()
        network = dataclasses.replace(network, kind="sentence", run=lambda module, batch: module(*batch.values())[:, 0])
        with pytest.raises(InputError, match="no budget can be kept; use other samples"):
            compose("drift").calibrate(network, SAMPLES)

    def test_weights_on_the_grid_of_their_file_stay_wide(self):
        """They would look lossless; blocks across its groups would not."""
        network = dataclasses.replace(toy(), weight_grid=32)
        for block, wide in ((32, True), (16, True), (48, False), (0, False)):
            plan = compose("drift", {"delta": 0.5, "block": block}).calibrate(network, SAMPLES)
            deltas = [site.precision.w_delta for name, site in plan.sites.items() if name == "second"]
            assert deltas == [None if wide else 0.5]
            assert any("weights stay wide" in note for note in plan.notes) == wide

    def test_two_precision_rules(self):
        with pytest.raises(InputError, match="both decide the precision"):
            compose("drift+drq")

    def test_no_samples(self):
        plan = dataclasses.replace(compose("int8").calibrate(toy(), [{"input_0": normal(4, 16, 48)}]), method="drift")
        with pytest.raises(InputError, match="at least one batch"):
            METHOD.calibrate(toy(), [], DriftOptions(), plan)


class TestBudget:
    def test_images_by_hand(self):
        reference = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]])  # 0.75 for class 1, 0.8 for class 0
        same = expected_accuracy("image", [{}], [reference], [reference])
        assert same.accuracy == pytest.approx((0.75 + 0.8) / 2)
        assert same.without.tolist() == pytest.approx([0.8, 0.75])
        wrong = expected_accuracy("image", [{}], [-reference], [reference])
        assert wrong.accuracy == pytest.approx((0.25 + 0.2) / 2)

    def test_language_is_inverse_perplexity(self):
        logits = torch.zeros(2, 5, 7)
        found = expected_accuracy("language", [{"input_ids": torch.arange(10).view(2, 5) % 7}], [logits], [logits])
        assert found.accuracy == pytest.approx(1 / 7)
        assert found.without.tolist() == pytest.approx([1 / 7] * 2)

    def test_sentences_with_noise_of_known_size(self):
        wanted = torch.nn.functional.normalize(normal(60, 8, seed=1), dim=-1)
        assert expected_accuracy("sentence", [{}], [wanted], [wanted]).accuracy == pytest.approx(1.0)
        found = [
            expected_accuracy("sentence", [{}], [wanted + noise * normal(60, 8, seed=2)], [wanted]).accuracy
            for noise in (0.02, 0.1, 0.5)
        ]
        assert found == sorted(found, reverse=True)
        assert found[0] > 0.98

    @pytest.mark.parametrize("kind", ["image", "language", "sentence", "tensor"])
    def test_without_a_sample_is_as_if_it_had_not_been_there(self, kind):
        wanted = normal(7, 9, 5, seed=1) if kind == "language" else normal(7, 9, seed=1)
        outputs = wanted + 0.3 * normal(*wanted.shape, seed=2)
        tokens = torch.randint(5, (7, 9), generator=torch.Generator().manual_seed(3))

        def judged(rows):
            return expected_accuracy(kind, [{"input_ids": tokens[rows]}], [outputs[rows]], [wanted[rows]])

        whole = judged(slice(None))
        by_hand = [judged([at for at in range(7) if at != left]).accuracy for left in range(7)]
        assert whole.without.tolist() == pytest.approx(by_hand)

    def test_the_upper_end_of_a_loss_by_hand(self):
        start = Expected(accuracy=0.8, without=torch.tensor([0.8, 0.8, 0.8], dtype=torch.float64))
        worse = Expected(accuracy=0.72, without=torch.tensor([0.72, 0.68, 0.76], dtype=torch.float64))
        # losses .1, .15, .05 without each: squares about their mean .005, times 2 / 3; the root is .0577
        assert worse.loss(start) == pytest.approx(0.1 + 1.645 * math.sqrt(0.005 * 2 / 3))
        assert start.loss(start) == 0

    @pytest.mark.parametrize("kind", ["tensor", "sentence"])
    def test_outputs_that_are_all_zero_lose_everything(self, kind):
        references = [torch.randn(6, 5, generator=torch.Generator().manual_seed(0))]
        start = expected_accuracy(kind, [{}], [references[0]], references)
        dead = expected_accuracy(kind, [{}], [torch.zeros(6, 5)], references)
        assert start.loss(start) == pytest.approx(0, abs=1e-6)
        assert dead.loss(start) == math.inf

    def test_the_jackknife_of_a_mean_is_its_standard_error(self):
        right = torch.rand(40, generator=torch.Generator().manual_seed(1)).double()
        some = Expected(accuracy=float(right.mean()), without=(right.sum() - right) / 39)
        sure = Expected(accuracy=1.0, without=torch.ones(40, dtype=torch.float64))
        error = float(right.std()) / math.sqrt(40)
        assert some.loss(sure) == pytest.approx(1 - float(right.mean()) + 1.645 * error)

    def test_sentences_turned_round_are_worth_less_than_nothing(self):
        wanted = torch.linspace(0, 1, 9).double()

        def correlation(found):
            sums = [torch.ones(9), found, wanted, found * found, wanted * wanted, found * wanted]
            return float(_spread_correlation(torch.stack([each.double().sum() for each in sums])))

        assert correlation(2 * wanted + 3) == pytest.approx(1)
        assert correlation(3 - 2 * wanted) == pytest.approx(-1)

    def test_biases_of_vectors_and_of_what_no_sample_reaches(self):
        """An expert that the second batch does not reach, and one that none does."""

        def forward(module, x):
            pooled = module.first(x.mean((0, 1)))  # a vector
            seen, unseen = x[x[:, 0, 0] > 0], x[:0]
            return pooled.sum() + module.second(seen).sum() + module.third(unseen).sum()

        layers = {name: torch.nn.Linear(48, 64) for name in ("first", "second", "third")}
        first = normal(4, 16, 48)
        network = network_of(Calling(forward, **layers), first)
        batches = [{"input_0": first}, {"input_0": -first.abs()}]
        correction = BiasCorrection(network, batches)

        def product(site, view):
            return view.float_result() - 0.25

        found = correction.biases(product)
        assert set(found) == {"first.bias", "second.bias"}
        for name, bias in found.items():
            assert torch.allclose(bias, dict(network.module.named_parameters())[name] + 0.25, atol=1e-5)

    def test_who_corrects_does_not_judge(self):
        network, batches = toy(), [{"input_0": normal(4, 16, 48, seed=seed)} for seed in range(3)]
        plan = compose("int8").calibrate(network, batches)
        judge = Judge(network, batches, plan, correct=True)
        assert judge.samples == batches[1::2]
        assert judge.correction.batches == batches[::2]
        before = {name: value.clone() for name, value in judge.network.module.named_parameters()}
        judge.loss(plan)
        assert all(torch.equal(value, before[name]) for name, value in judge.network.module.named_parameters())
        assert set(plan.weights) <= {"first.bias", "second.bias", "third.bias"}
        assert Judge(network, batches, plan).samples == batches

    @given(st.integers(-5, 25))
    def test_bisection_finds_the_first_that_fits(self, limit):
        found = smallest(lambda n: n >= limit, 0, 20)
        assert found == (None if limit > 20 else max(0, limit))


def test_plans_are_kept_with_their_rules(tmp_path):
    from bitwright.methods.plan_file import load_plan, save_plan

    network = toy()
    plan = compose("drift", {"delta": 0.7, "block": 16}).calibrate(network, [{"input_0": normal(4, 16, 48)}])
    save_plan(plan, tmp_path / "drift.plan")
    loaded = load_plan(tmp_path / "drift.plan", network)
    batch = {"input_0": normal(4, 16, 48, seed=9)}
    assert torch.equal(Executor(network, plan).run(batch), Executor(network, loaded).run(batch))
    assert OperandPlan(format=INT8, granularity=PerTensor()).integer is INT8


@pytest.mark.parametrize("grid", [0, 32])
def test_searched_plans_are_kept(tmp_path, grid):
    """With corrected biases where they help, and weights that stay wide have a delta of none."""
    from bitwright.methods.plan_file import load_plan, save_plan

    network = dataclasses.replace(toy(), weight_grid=grid or None)
    plan = compose("drift", {"budget": 0.05, "narrow_ends": True}).calibrate(network, SAMPLES)
    assert set(plan.weights) <= {"first.bias", "second.bias", "third.bias"}
    assert (plan.site("second").precision.w_delta is None) == bool(grid)
    save_plan(plan, tmp_path / "drift.plan")
    loaded = load_plan(tmp_path / "drift.plan", network)
    batch = {"input_0": normal(4, 16, 48, seed=9)}
    assert torch.equal(Executor(network, plan).run(batch), Executor(network, loaded).run(batch))
    rules = [{name: site.precision for name, site in each.sites.items()} for each in (plan, loaded)]
    assert rules[0] == rules[1]
    assert loaded.notes == plan.notes
