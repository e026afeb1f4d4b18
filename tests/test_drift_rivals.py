"""DRQ's array of varying speed and Eyeriss, by hand; all machines of run-time precision keep the kit's promises."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from bitwright.accelerators.dynamic_precision import Drift, Drq, Seq
from bitwright.accelerators.precision_scalable import BitFusion, Eyeriss
from bitwright.errors import InputError
from bitwright.formats import Integer, PerTensor, Quantized
from bitwright.methods.classes import Classes
from bitwright.methods.drift.conversion import Conversion
from bitwright.methods.drift.rule import Drift as DriftRule
from bitwright.methods.drq.rule import Drq as DrqRule
from bitwright.methods.execution import Execution
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.networks.sites import ConvGeometry, Site
from bitwright.testing import check_accelerator


def work(m, k, n, *, bits=(8, 8), rule=None, x=None):
    site = Site(name="s", op="linear", m=m, k=k, n=n, x_elements=m * k, w_elements=k * n)
    x_plan, w_plan = (OperandPlan(format=Integer(bits=each), granularity=PerTensor()) for each in bits)
    plan = SitePlan(x=x_plan, w=w_plan, **({} if rule is None else {"precision": rule}))
    return Execution(site=site, plan=plan, x=x)


APART = {"weight_loading": "exposed", "fold_pipelining": False}


def shares(x_share, block=3):
    """So much of every block of a row, and of w with it."""
    return DrqRule(x_share=x_share, block=block)


def spent(machine, one):
    """Cycles of the array for a product that no tile cuts."""
    return int(machine.place(machine.classes(one)).spent.sum())


@pytest.mark.parametrize("machine", [Drift, Drift(**APART), Seq, Drq, Drq(row_groups=1, dataflow="os"), Eyeriss])
def test_conformance(machine):
    check_accelerator(machine)


class TestDrq:
    def test_a_static_product_by_hand(self):
        """8 by 8 bits: folds of 48 x 64 multipliers, four cycles a row; filled and drained once, or each."""
        for bits, slow in (((8, 8), 4), ((4, 4), 1), ((8, 4), 2)):
            one = work(200, 576, 128, bits=bits)
            assert spent(Drq(), one) == 12 * 2 * slow * 200
            assert spent(Drq(**APART), one) == 12 * 2 * (slow * 200 + 2 * 48 + 64 - 2)
            # A row that is shorter than its weights' way in: 20 rows of 4 by 4 bits wait for 48 cycles.
            assert spent(Drq(), work(20, 576, 128, bits=bits)) == 12 * 2 * max(slow * 20, 48)
            assert Drq(objective="latency").run(one).busy_cycles["array"] == 12 * 2 * slow * 200 + 2 * 48 + 64 - 2

    @pytest.mark.parametrize(("groups", "speedup"), [(1, 2.50), (4, 1.44), (8, 1.14), (16, 1.02)])
    def test_speedup_over_static_at_a_fifth_sensitive(self, groups, speedup):  # 4 / (4 - 3 p**G)
        shape = (200_000, 48, 64)  # long streams, so that filling counts for nothing
        static = spent(Drq(), work(*shape))
        found = spent(Drq(row_groups=groups), work(*shape, rule=shares(0.8)))
        assert static / found == pytest.approx(speedup, abs=0.006)
        assert static / found == pytest.approx(4 / (4 - 3 * 0.8**groups), rel=1e-3)

    def test_measured_regions_meet_in_the_order_of_the_reduction(self):
        """Two blocks of rows: shares 3/4 and 1/2; the waves that are fast are 3/8 of them, were they independent."""
        machine = Drq(row_groups=2)
        x_shifts = torch.full((8, 2), -1, dtype=torch.int8)
        x_shifts[:6, 0], x_shifts[:4, 1] = 4, 4
        codes = Quantized(codes=torch.zeros(8, 32), format=Integer(bits=8), scale=torch.ones(()), shifts=x_shifts)
        found = machine.classes(work(8, 32, 16, rule=shares(0.0), x=codes))
        assert isinstance(found, Classes)
        assert found.m_narrow.tolist() == [[3]]
        assert found.k.tolist() == [32]
        assert found.x_narrow == pytest.approx(10 / 16)
        assert found.macs == {(8, 8): 5 * 32 * 16, (8, 4): 0, (4, 8): 0, (4, 4): 3 * 32 * 16}

    @pytest.mark.parametrize(("share", "bits"), [(0.0, 8), (1.0, 4)])
    def test_words_by_hand(self, share, bits):
        """576 is 12 folds of 48 rows and 128 two of 64 columns, at both widths: nobody packs two codes in a port."""
        one = work(200, 576, 128, rule=shares(share, 32))
        machine = Drq(objective="latency")
        (_, counts), cost = machine.placed(one, machine.ran(one).mapping), machine.run(one)
        assert counts.x_read.sum() == 2 * 200 * 576
        assert counts.psum_write.sum() == 12 * 200 * 128
        assert cost.traffic_bytes["sram_input_read"] == 2 * 200 * 576 * bits / 8
        # 12 sums of each output, of which the last is finished and has 8 bits.
        assert cost.traffic_bytes["sram_output_write"] == 200 * 128 * (11 * 4 + 1)
        products = {8: 200 * 576 * 128, 4: 200 * 576 * 128 / 4}
        groups = {each.name: each.count for each in cost.events if each.component == "mac"}
        assert groups == {f"bit_group_a{bits}w{bits}": products[bits]}

    @pytest.mark.parametrize("dataflow", ["ws", "os"])
    @pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
    def test_slow_and_fast_waves_go_past_the_same_weights(self, share, dataflow):
        """However many waves are fast: 200 x 576 x 128 on 48 x 64 multipliers, in two tiles of rows and of k."""
        one, machine = work(200, 576, 128, rule=shares(share, 32)), Drq(dataflow=dataflow, row_groups=1)
        mapping = dataclasses.replace(machine.ran(one).mapping, tile_m=100, tile_k=288, tile_n=128)
        found = machine.measured(one, mapping)
        exchanges = {what.name: count for what, count in found.uses}["exchange what rests"]
        if dataflow == "ws":  # 12 folds of k by 2 of columns, their weights of 8 bits in, once per tile of rows
            assert (exchanges, found.w_read_bytes) == (12 * 2 * 2, 2 * 576 * 128)
        else:  # 5 folds of rows by 2 of columns, once per tile of k; all weights go past each fold of rows
            assert (exchanges, found.w_read_bytes) == (5 * 2 * 2, 5 * 576 * 128)

    def test_a_bit_of_mask_for_each_region_of_x_and_no_lists(self):
        x, w = Drq().stored(work(64, 96, 64, rule=shares(0.5, 32)))
        assert (x.list_bits, w.list_bits) == (Fraction(1, 32), 0)
        conv = ConvGeometry(
            kernel=(3, 3),
            stride=(1, 1),
            padding=(1, 1),
            dilation=(1, 1),
            channels=8,
            input_size=(16, 16),
            output_size=(16, 16),
        )
        site = Site(name="c", op="conv2d", m=256, k=72, n=32, x_elements=2048, w_elements=72 * 32, conv=conv)
        rule = DrqRule(x_share=0.5, block=1, region=4)
        x, w = Drq().stored(Execution(site=site, plan=work(1, 1, 1, rule=rule).plan))
        assert (x.list_bits, w.list_bits) == (Fraction(1, 16), 0)
        parts = Drq().area().components_um2
        assert not {"index", "aligners", "bases", "scheduler"} & set(parts)
        assert not {"index", "aligners", "bases", "scheduler"} & {
            each.component for each in Drq().run(work(64, 96, 64, rule=shares(0.5, 32))).events
        }

    def test_a_single_block_meets_nobody(self):
        """G rows of sub-tensors where there is but one: a wave is as fast as that one lets it."""
        x_shifts = torch.full((8, 1), -1, dtype=torch.int8)
        x_shifts[:6] = 4
        codes = Quantized(codes=torch.zeros(8, 16), format=Integer(bits=8), scale=torch.ones(()), shifts=x_shifts)
        found = Drq(row_groups=4).classes(work(8, 16, 16, rule=shares(0.0), x=codes))
        assert found.m_narrow.tolist() == [[6]]

    @pytest.mark.parametrize("dataflow", ["ws", "os"])
    @pytest.mark.parametrize("bits", [(8, 8), (8, 4), (4, 4)])
    @pytest.mark.parametrize("shape", [(50, 145, 67), (200, 576, 128), (12, 100, 65)])
    def test_tiles_are_chosen_for_the_cycles_that_pass(self, shape, bits, dataflow):
        """Of a static product, whether cycles are asked of the dataflow or of where classes run."""
        machine, one = Drq(dataflow=dataflow, objective="latency", input_sram_kib=4096), work(*shape, bits=bits)
        (array,), (m, k, n) = machine.job(one).dataflows, (np.array([size]) for size in shape)
        assert int(array.cycles(m=m, k=k, n=n)[0]) == spent(machine, one)

    def test_sums_that_rest_take_whole_folds_of_rows_by_hand(self):
        """12 rows on 48: one fold of 100 steps at four cycles each, not a quarter of a fold."""
        assert spent(Drq(dataflow="os"), work(12, 100, 64)) == 4 * 100

    def test_more_tiles_than_memory_holds_are_one_sentence(self):
        one = work(10**6, 10**6, 10**4, rule=shares(0.5, 10**6))
        with pytest.raises(InputError, match=r"takes [\d,]+ tiles, .* at most 20,000,000 are counted; raise"):
            Drq().run(one)

    def test_no_region_is_as_fast_as_static(self):
        assert spent(Drq(), work(64, 96, 64, rule=shares(0.0))) == spent(Drq(), work(64, 96, 64))

    def test_it_refuses_drift(self):
        reason = Drq().supports(work(8, 8, 8, rule=DriftRule()).plan)
        assert "chosen at run time (drift)" in reason
        assert "chosen at run time (drq)" in Drift().supports(work(8, 8, 8, rule=shares(0.5)).plan)

    def test_bad_parameters(self):
        with pytest.raises(ValueError, match="row_groups"):
            Drq(row_groups=0)


STATED = {"x_share": 0.5, "block": 32}


@pytest.mark.parametrize(
    ("machine", "options"),
    [
        (Drift(), {**STATED, "w_share": 0.25, "conversion": Conversion.AFFINE}),
        (Drift(), {**STATED, "w_share": 0.25, "conversion": Conversion.ZERO}),
        (Seq(), {**STATED, "w_share": 0.25, "conversion": Conversion.AFFINE}),
        (Drq(), STATED),
    ],
)
def test_stated_shares_cost_what_the_same_measured_ones_do(machine, options):
    """64 x 96 x 64 in three blocks: half of the rows narrow in each, and a quarter of the columns."""
    rule = machine.rule(**options)
    x_shifts, w_shifts = (torch.full((64, 3), -1, dtype=torch.int8) for _ in range(2))
    x_shifts[:32], w_shifts[:16] = 4, 4
    x, w = (
        Quantized(codes=torch.zeros(64, 96), format=Integer(bits=8), scale=torch.ones(()), shifts=each)
        for each in (x_shifts, w_shifts if "w_share" in options else None)
    )
    kept = {name: value for name, value in options.items() if not name.endswith("share")}
    stated = work(64, 96, 64, rule=rule)
    site = dataclasses.replace(stated.plan, precision=machine.rule(**kept))
    measured = Execution(site=stated.site, plan=site, x=x, w=w)
    if machine.rule is DrqRule:  # blocks that meet are taken as independent either way
        assert machine.classes(measured).macs == machine.classes(stated).macs
    costs = [machine.run(each) for each in (stated, measured)]
    assert costs[0] == costs[1]


class TestEyeriss:
    @pytest.mark.parametrize("ideal", list(APART))
    def test_timing_ideals_are_part_of_its_utilization_and_no_parameters(self, ideal):
        assert ideal not in Eyeriss().parameters()
        with pytest.raises(ValueError, match=f"{ideal}\n  Extra inputs are not permitted"):
            Eyeriss(**{ideal: APART[ideal]})
        parts = Eyeriss().area().components_um2
        assert "second_registers" not in parts  # rows of weights lie in register files
        assert "registers" not in {each.component for each in Eyeriss().run(work(200, 576, 128)).events}

    def test_cycles_are_products_by_busy_elements(self):
        cost = Eyeriss().run(work(200, 576, 128))
        tiles = cost.compute_cycles
        exact = 200 * 576 * 128 / (132 * 0.85)
        assert exact <= tiles <= exact + 1000  # each tile's last cycle is whole
        fewer = Eyeriss(utilization=1.0).run(work(200, 576, 128))
        assert fewer.compute_cycles == pytest.approx(0.85 * tiles, rel=0.01)

    def test_everything_is_stored_as_16_bits(self):
        for bits in ((8, 8), (4, 8), (16, 16)):
            cost = Eyeriss().run(work(64, 96, 32, bits=bits))
            assert cost.unique_bytes == 2 * (64 * 96 + 96 * 32 + 64 * 32)

    def test_its_array_has_the_area_of_the_others(self):
        """12 x 11 PEs of SPARK's Eyeriss beside 3,072 of its 4-bit PEs; one column more would be larger."""
        areas = [machine().area().components_um2["pe_array"] for machine in (Eyeriss, BitFusion)]
        one = areas[0] / (12 * 11)
        assert areas[0] < areas[1] < areas[0] + 2 * one
        assert math.floor(areas[1] / one) == 132

    def test_it_refuses_other_formats(self):
        with pytest.raises(InputError, match="float32"):
            Eyeriss().run(Execution(site=work(8, 8, 8).site, plan=SitePlan()))
