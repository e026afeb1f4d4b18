"""Panacea and Sibia: closed forms against a simulation operator by operator, sizes against the coder, and limits."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.accelerators.bit_slice import Panacea, Sibia
from bitwright.accelerators.bit_slice.machine import DenseTiling
from bitwright.accelerators.bit_slice.operator_level import Array, simulate_tile
from bitwright.accelerators.bit_slice.products import dense_products
from bitwright.errors import InputError
from bitwright.formats import Integer, PerTensor, Quantized, SlicedUnsigned, run_length_entries
from bitwright.memory import best_mapping
from bitwright.methods.aqs.reference import slice_product
from bitwright.methods.execution import MASKS, Execution
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan
from bitwright.methods.vectors import VectorMasks, skipped_window
from bitwright.networks.sites import Site
from bitwright.testing import check_accelerator
from toys import OtherRule, random_codes

seeds = st.integers(0, 2**31 - 1)
UINT8, INT7 = SlicedUnsigned(), Integer(bits=7)


def mostly(fmt, shape, seed, zero_point=0, share=0.8):
    """Codes of which whole vectors of four rows can often be skipped."""
    low, high = skipped_window(fmt, zero_point)
    generator = torch.Generator().manual_seed(seed)
    frequent = torch.randint(low, high + 1, shape, generator=generator)
    groups, rows, k = shape
    keep = (torch.rand(groups, -(-rows // 4), k, generator=generator) < share).repeat_interleave(4, 1)[:, :rows]
    codes = torch.where(keep, frequent, random_codes(fmt, shape, seed + 1))
    return codes >> fmt.dropped_bits << fmt.dropped_bits


def work_of(m, k, n, *, groups=1, seed=0, x_format=UINT8, w_bits=7, zero_point=100, shares=(0.8, 0.5)):
    """One product of random codes; for several groups, batched."""
    w_format = Integer(bits=w_bits)
    zero_point = 0 if x_format.signed else zero_point
    x = mostly(x_format, (groups, m, k), seed, zero_point, shares[0])
    w = mostly(w_format, (groups, n, k), seed + 7, 0, shares[1])
    x, w = (x[0], w[0]) if groups == 1 else (x, w.transpose(1, 2))
    site = Site(
        name="s", op="matmul", m=m, k=k, n=n, groups=groups, x_elements=groups * m * k, w_elements=groups * k * n
    )
    one = torch.ones(())
    return Execution(
        site=site,
        plan=SitePlan(
            x=OperandPlan(format=x_format, granularity=PerTensor(), scale=one, zero_point=zero_point),
            w=OperandPlan(format=w_format, granularity=PerTensor(), scale=one),
        ),
        x=Quantized(codes=x, format=x_format, scale=one, zero_point=zero_point),
        w=Quantized(codes=w, format=w_format, scale=one),
    )


def mapped(machine, work, tile_m, tile_k, tile_n, order="mkn"):
    """What the machine measures under a mapping of our choice."""
    gemm, slicing = machine._gemm(work), machine.slicing(work.plan)
    best = best_mapping(gemm=gemm, machine=DenseTiling(machine=machine, slicing=slicing))
    mapping = dataclasses.replace(best, tile_m=tile_m, tile_k=tile_k, tile_n=tile_n, order=order)
    return machine.measure_mapped(work, mapping)


def pea_queues(machine, skipping, slicing):
    """Where a slice product goes on this machine, spelled out."""

    def panacea(w_high, x_high, w_skippable, x_skippable):
        if (w_high and w_skippable) or (x_high and x_skippable):
            return None
        dynamic = (w_high or x_high) if machine.dynamic_work == "high" else x_high
        return "dynamic" if dynamic else "static"

    def sibia(w_high, x_high, w_skippable, x_skippable):
        if (skipping == "w" and w_high and w_skippable) or (skipping == "x" and x_high and x_skippable):
            return None
        return "any"

    return panacea if isinstance(machine, Panacea) else sibia


def check_against_simulation(machine, work, tile_m, tile_k, tile_n):
    found = mapped(machine, work, tile_m, tile_k, tile_n)
    site, masks, slicing = work.site, work.masks, found.slicing
    is_panacea = isinstance(machine, Panacea)
    array = Array(
        peas=machine.peas,
        operators={"dynamic": machine.dynamic_operators, "static": machine.static_operators}
        if is_panacea
        else {"any": machine.operators},
        block_vectors=machine.block_rows // 4,
        run_bits=machine.run_bits,
        lanes=machine.ppu_lanes,
        x_slices=(False,) * slicing.x_low + (True,) * slicing.x_high,
        w_slices=(False,) * slicing.w_low + (True,) * slicing.w_high,
        queues=pea_queues(machine, found.products.skipping, slicing),
    )
    executed = 0
    for group in range(site.groups):
        for mt, m0 in enumerate(range(0, site.m, tile_m)):
            for kt, k0 in enumerate(range(0, site.k, tile_k)):
                for nt, n0 in enumerate(range(0, site.n, tile_n)):
                    rows, columns = min(tile_m, site.m - m0), min(tile_n, site.n - n0)
                    x = masks.x[group, m0 // 4 : -(-(m0 + rows) // 4), k0 : k0 + tile_k]
                    w = masks.w[group, n0 // 4 : -(-(n0 + columns) // 4), k0 : k0 + tile_k]
                    sizes = [
                        (20 * int(run_length_entries(mask, 4).sum()), 4 * extent * mask.shape[1])
                        for mask, extent in ((x, rows), (w, columns))
                    ]
                    simulated = simulate_tile(
                        x.numpy(),
                        w.numpy(),
                        rows=rows,
                        columns=columns,
                        first_k=kt == 0,
                        raw=tuple(raw <= coded for coded, raw in sizes),
                        array=array,
                    )
                    assert simulated.cycles == found.tile_cycles[group, mt, kt, nt]
                    executed += sum(simulated.products.values())
                    stored = [min(size) if high else 0 for size, high in zip(sizes, (1, slicing.w_high), strict=True)]
                    assert found.x.bits[group, mt, kt] == stored[0] + slicing.x_low * sizes[0][1]
                    assert found.w.bits[group, nt, kt] == stored[1] + slicing.w_low * sizes[1][1]
    assert executed == found.products.executed


class TestTwins:
    @settings(max_examples=25, deadline=None)
    @given(st.data(), seeds)
    def test_panacea_takes_the_cycles_of_its_operators(self, data, seed):
        machine = Panacea(
            peas=data.draw(st.integers(1, 3)),
            dynamic_operators=data.draw(st.integers(1, 3)),
            static_operators=data.draw(st.integers(1, 3)),
            dynamic_work=data.draw(st.sampled_from(("high", "activation"))),
            tile_rows=4 * data.draw(st.integers(1, 2)),
            double_tile=data.draw(st.booleans()),
            skip_single_slice=data.draw(st.booleans()),
            ppu_lanes=data.draw(st.integers(1, 8)),
        )
        m, k, n = (data.draw(st.integers(1, top)) for top in (20, 9, 20))
        work = work_of(
            m,
            k,
            n,
            groups=data.draw(st.integers(1, 2)),
            seed=seed,
            x_format=SlicedUnsigned(split=data.draw(st.sampled_from((4, 5, 6)))),
            w_bits=data.draw(st.sampled_from((4, 7, 10))),
        )
        tile_m = min(m, machine.block_rows * data.draw(st.integers(1, 2)))
        tile_n = min(n, machine.block_columns * data.draw(st.integers(1, 2)))
        check_against_simulation(machine, work, tile_m, min(k, data.draw(st.integers(1, 9))), tile_n)

    @settings(max_examples=25, deadline=None)
    @given(st.data(), seeds)
    def test_sibia_takes_the_cycles_of_its_operators(self, data, seed):
        machine = Sibia(
            peas=data.draw(st.integers(1, 3)),
            operators=data.draw(st.integers(1, 5)),
            tile_rows=4 * data.draw(st.integers(1, 3)),
            ppu_lanes=data.draw(st.integers(1, 8)),
        )
        m, k, n = (data.draw(st.integers(1, top)) for top in (20, 9, 20))
        work = work_of(
            m,
            k,
            n,
            seed=seed,
            x_format=Integer(bits=data.draw(st.sampled_from((4, 7, 10)))),
            w_bits=data.draw(st.sampled_from((4, 7))),
            shares=(data.draw(st.sampled_from((0.1, 0.8))), 0.5),
        )
        tile_m = min(m, machine.block_rows * data.draw(st.integers(1, 2)))
        tile_n = min(n, machine.block_columns * data.draw(st.integers(1, 2)))
        check_against_simulation(machine, work, tile_m, min(k, data.draw(st.integers(1, 9))), tile_n)

    @pytest.mark.parametrize("split", [4, 5, 6])
    def test_what_is_executed_is_what_the_exact_product_executes(self, split):
        work = work_of(13, 21, 10, x_format=SlicedUnsigned(split=split), seed=split)
        by_slices = slice_product(
            work.x.codes, work.w.codes, x_format=work.x.format, w_bits=7, zero_point=work.x.zero_point
        )
        found = Panacea().measure(work)
        assert by_slices.executed == {
            (True, True): found.products.high_high,
            (False, True): found.products.low_high,
            (True, False): found.products.high_low,
            (False, False): found.products.low_low,
        }
        assert by_slices.dense == dense_products(found.blocks, found.slicing)
        events = {(e.component, e.name): e.count for e in Panacea().run(work).events}
        assert events["compensation", "add_int16"] == by_slices.compensation_adds
        assert events["mac", "mac_int4"] == 16 * found.products.executed

    @pytest.mark.parametrize("skipping", ["x", "w"])
    def test_sibia_executes_what_its_exact_product_executes(self, skipping):
        work = work_of(13, 21, 10, x_format=INT7, shares=(0.9, 0.1) if skipping == "x" else (0.1, 0.9))
        by_slices = slice_product(
            work.x.codes, work.w.codes, x_format=INT7, w_bits=7, skip_x=skipping == "x", skip_w=skipping == "w"
        )
        found = Sibia().measure(work)
        assert found.products.skipping == skipping
        assert sum(by_slices.executed.values()) == found.products.executed


def with_masks(work, x, w):
    """The same work with other masks than its codes have."""
    work = dataclasses.replace(work)
    masks = VectorMasks(x=x, w=w)
    assert work.memo(MASKS, lambda: masks) is work.masks is masks
    return work


class TestLimits:
    def test_without_anything_to_skip_the_search_estimates_what_is_measured(self):
        work = work_of(128, 96, 128, shares=(0.0, 0.0))
        work = with_masks(work, torch.zeros_like(work.masks.x), torch.zeros_like(work.masks.w))
        for machine in (Panacea(), Panacea(double_tile=False), Panacea(dynamic_work="activation")):
            found = machine.measure(work)
            assert found.tile_cycles.sum() == found.mapping.compute_cycles
            assert found.products.executed == dense_products(found.blocks, found.slicing)

    def test_independent_masks_execute_the_derived_share(self):
        # (2 - rho_w)(2 - rho_x) / 4 of the slice products, up to sampling
        work = work_of(512, 512, 256, shares=(0.8, 0.5))
        found = Panacea().measure(work)
        rho_x, rho_w = work.masks.x_rate, work.masks.w_rate
        share = found.products.executed / dense_products(found.blocks, found.slicing)
        assert share == pytest.approx((2 - rho_w) * (2 - rho_x) / 4, abs=0.002)

    def test_one_sided_skipping_executes_the_derived_share(self):
        work = work_of(64, 512, 256, x_format=INT7, shares=(0.8, 0.5))
        found = Sibia().measure(work)
        rho = max(work.masks.x_rate, work.masks.w_rate)
        assert found.products.executed / dense_products(found.blocks, found.slicing) == pytest.approx((2 - rho) / 2)

    def test_the_notes_balance_of_operators(self):
        # time by that of all dense low-order products on one operator: max(3 - 2 rw - 2 rx + rw rx) / D, 1 / S)
        def share(rho_w, rho_x, **parameters):
            work = work_of(64, 2048, 64, seed=3)
            generator = torch.Generator().manual_seed(5)
            x = torch.rand(work.masks.x.shape, generator=generator) < rho_x
            w = torch.rand(work.masks.w.shape, generator=generator) < rho_w
            found = Panacea(**parameters).measure(with_masks(work, x, w))
            return float(found.products.pea_cycles.sum(1).mean()) / (16 * 2048)

        assert share(0, 0) == pytest.approx(0.750, abs=1e-3)
        assert share(0.5, 0.95) == pytest.approx(0.144, abs=0.004)
        assert share(0, 0, dynamic_operators=8, static_operators=4) == pytest.approx(0.375, abs=1e-3)
        assert share(0.5, 0.8, dynamic_operators=8, static_operators=4) == pytest.approx(0.250, abs=1e-3)

    def test_equal_multipliers(self):
        assert Panacea().multipliers_4b == Sibia().multipliers_4b == 3072
        assert Panacea().peak_macs_per_cycle == 768

    def test_more_to_skip_never_costs_more(self):
        costs = [Panacea().run(work_of(64, 256, 64, shares=(share, share))) for share in (0.0, 0.5, 1.0)]
        for before, after in itertools.pairwise(costs):
            assert after.cycles <= before.cycles
            assert after.total_energy_pj < before.total_energy_pj
            assert after.traffic_bytes["dram_read"] < before.traffic_bytes["dram_read"]


class TestMachines:
    @pytest.mark.parametrize("machine", [Panacea, Sibia, Panacea(dynamic_work="activation", double_tile=False)])
    def test_they_keep_the_promises_of_accelerators(self, machine):
        check_accelerator(machine)

    @pytest.mark.parametrize(
        ("machine", "x", "w", "said"),
        [
            (Panacea(), Integer(bits=8, signed=False), Integer(bits=8), "w is int8"),
            (Panacea(), Integer(bits=7), Integer(bits=7), "x is int7"),
            (Sibia(), UINT8, Integer(bits=7), "x is uint8"),
            (Sibia(), Integer(bits=7), Integer(bits=8), "w is int8"),
        ],
    )
    def test_plans_without_slices_are_refused_with_the_way_out(self, machine, x, w, said):
        plan = SitePlan(
            x=OperandPlan(format=x, granularity=PerTensor()), w=OperandPlan(format=w, granularity=PerTensor())
        )
        reason = machine.supports(plan)
        assert said in reason
        assert "use method" in reason
        assert "method" in machine.supports(FLOAT_SITE)
        good = work_of(4, 4, 4, x_format=INT7 if isinstance(machine, Sibia) else UINT8)
        assert machine.supports(good.plan) is None
        for rule in ("precision", "accumulation"):
            assert machine.supports(dataclasses.replace(good.plan, **{rule: OtherRule(name="unknown")}))
        with pytest.raises(InputError, match="shapes only"):
            machine.run(dataclasses.replace(good, x=None, w=None))

    def test_explanations_add_up(self):
        work = work_of(70, 40, 70)
        told = Panacea().explain(work)
        kinds = [told[f"products_w_{a}_x_{b}"] for a in ("high", "low") for b in ("high", "low")]
        assert sum(kinds) == told["products_executed"]
        assert told["x_vectors_skipped"] == pytest.approx(work.masks.x.double().mean().item())
        assert 0 < told["operators_busy"] <= 1
        assert told["cycles"] == Panacea().run(work).cycles

    def test_bytes_are_those_of_the_coder(self):
        work = work_of(64, 64, 64)
        cost = Panacea().run(work)
        streams = np.sum([20 * int(run_length_entries(mask, 4).sum()) for mask in (work.masks.x[0], work.masks.w[0])])
        assert cost.traffic_bytes["dram_read"] == pytest.approx((streams + 2 * 4 * 64 * 64) / 8, abs=2)
