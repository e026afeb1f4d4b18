"""What stays on chip between sites, and what a network does beside products: by hand."""

import dataclasses

import pytest
import torch

from bitwright.accelerators.residency import kept_by
from bitwright.accelerators.substrate import Substrate
from bitwright.accelerators.systolic import OutputStationary, WeightStationary
from bitwright.accelerators.vector import FUNCTION, ROOT, vector_cost
from bitwright.api import calibrate, load
from bitwright.formats import Integer, PerTensor
from bitwright.methods.execution import NOTHING_KEPT, OnChip
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.networks.flow_record import record_flows
from bitwright.networks.flows import Activation, Flows
from bitwright.networks.sites import OtherOperation
from bitwright.networks.trace import example_batch
from bitwright.studies.machines import build_accelerators
from bitwright.studies.simulate import kept_activations, simulate
from bitwright.testing import toy_networks
from toys import network_of, normal


class Residual(torch.nn.Module):
    """y = c(relu(b(relu(a(x)))) + a(x)): a's output is needed until the addition."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (torch.nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        first = self.a(x).relu()
        return self.c(self.b(first).relu() + first)


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    return network_of(Residual(), normal(4, 16))


class TestFlows:
    def test_a_residual_branch_is_needed_until_it_is_added(self, residual):
        flows = record_flows(residual, example_batch(residual))
        assert flows.sites == ("a", "b", "c")
        first, second, joined, last = flows.activations
        assert (first.born, first.last) == (0, 1)  # read by b, and by the addition after b
        assert (second.born, second.last) == (1, 1)  # the addition reads it before any other site
        assert (joined.born, joined.last) == (1, 2)
        assert last.leaves
        assert flows.reads == (-1, 0, 2)
        assert flows.makes == (0, 1, 3)
        assert {each.elements for each in flows.activations} == {4 * 16}

    def test_what_is_read_as_w_does_not_stream(self):
        class Attention(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.q, self.k = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

            def forward(self, x):
                return self.q(x) @ self.k(x).transpose(-1, -2)

        network = network_of(Attention(), normal(1, 5, 8))
        flows = record_flows(network, example_batch(network))
        q, k = flows.activations[:2]
        assert (q.streams, k.streams) == (True, False)
        assert flows.reads[2] == 0


class TestKept:
    def test_first_come_first_kept_as_long_as_half_of_the_sram_holds_all(self):
        # Room is 512 bytes: 300 from site 0 to 2; 300 more do not fit beside it; 200 do.
        long, big, small = (
            Activation(elements=n, born=b, last=e) for n, b, e in ((300, 0, 2), (300, 1, 2), (200, 1, 2))
        )
        leaves = Activation(elements=1, born=2, last=2, leaves=True)
        flows = Flows(sites=("a", "b", "c"), activations=(long, big, small, leaves), reads=(-1, 0, 2), makes=(0, 2, 3))
        kept = kept_by(Substrate(input_sram_kib=1), flows, [8, 8, 8])
        assert kept["a"] == OnChip(x=False, y=True, kept_bytes=300)
        assert kept["b"] == OnChip(x=True, y=True, kept_bytes=200)
        assert kept["c"] == OnChip(x=True, y=False, kept_bytes=300)

    def test_narrow_outputs_take_less_room(self):
        only = Activation(elements=1000, born=0, last=1)
        flows = Flows(sites=("a", "b"), activations=(only,), reads=(-1, 0), makes=(0, -1))
        machine = Substrate(input_sram_kib=1)
        assert kept_by(machine, flows, [8, 8])["b"] == NOTHING_KEPT
        assert kept_by(machine, flows, [4, 8])["b"].x

    def test_what_a_site_that_runs_twice_reads_or_makes_crosses_dram(self):
        only = Activation(elements=1000, born=0, last=1)
        flows = Flows(sites=("s", "t", "t"), activations=(only,), reads=(-1, 0, -1), makes=(0, -1, -1))
        assert set(kept_by(Substrate(), flows, [8, 8, 8]).values()) == {NOTHING_KEPT}

    def test_outputs_take_the_width_that_the_machine_stores(self):
        # 100,000 elements of 16 bits do not fit half of 256 KiB; of 8 bits they do.
        only = Activation(elements=100_000, born=0, last=1)
        flows = Flows(sites=("a", "b"), activations=(only,), reads=(-1, 0), makes=(0, -1))
        plan = SitePlan(
            x=OperandPlan(format=Integer(bits=8), granularity=PerTensor()),
            w=OperandPlan(format=Integer(bits=8), granularity=PerTensor()),
        )
        machines = build_accelerators(["eyeriss", "systolic-ws"], {"activations": "resident"})
        kept = {name: machine.kept(flows, [plan, plan])["b"].x for name, machine in machines.items()}
        assert kept == {"eyeriss": False, "systolic-ws": True}


class TestCost:
    def costs(self, network, activations, machine="systolic-ws"):
        plan = calibrate(network, "int8", options={"smoothing": "none"})
        machines = build_accelerators([machine], {"activations": activations})
        return simulate(network, plan, machines)[machine]

    def test_what_stays_does_not_cross_dram(self, residual):
        spill, resident = (self.costs(residual, each) for each in ("spill", "resident"))
        # a's output and the sum stay: neither is written or read; nor is b's own output, which is added at once.
        outputs = 4 * 16
        by_name = {entry.site.name: entry.cost.traffic_bytes for entry in resident.sites}
        before = {entry.site.name: entry.cost.traffic_bytes for entry in spill.sites}
        assert before["a"]["dram_write"] - by_name["a"]["dram_write"] == outputs
        assert before["b"]["dram_read"] - by_name["b"]["dram_read"] == outputs
        assert before["c"]["dram_read"] - by_name["c"]["dram_read"] == outputs
        assert before["b"]["dram_write"] - by_name["b"]["dram_write"] == outputs
        assert by_name["c"]["dram_write"] == before["c"]["dram_write"]
        assert resident.cost.cycles <= spill.cost.cycles
        assert resident.cost.total_energy_pj < spill.cost.total_energy_pj
        # it moves to the input SRAM once instead of through DRAM and a fill
        assert by_name["a"]["sram_input_write"] == before["a"]["sram_input_write"] + outputs
        assert by_name["b"]["sram_input_write"] == before["b"]["sram_input_write"]  # x was there, its output comes

    @pytest.mark.parametrize(
        ("machine", "method"), [("systolic-os", "int8"), ("apsq", "int8"), ("bitfusion", "int8"), ("drift", "int8")]
    )
    def test_on_every_family(self, residual, machine, method):
        plan = calibrate(residual, method, options={"smoothing": "none"})
        spill, resident = (
            simulate(residual, plan, build_accelerators([machine], {"activations": each}))[machine].cost
            for each in ("spill", "resident")
        )
        saved = 4 * 16
        assert spill.traffic_bytes["dram_write"] - resident.traffic_bytes["dram_write"] == 2 * saved
        assert spill.traffic_bytes["dram_read"] - resident.traffic_bytes["dram_read"] == 2 * saved
        assert spill.unique_bytes - resident.unique_bytes == 4 * saved

    def test_operands_that_are_stored_compressed(self, residual):
        plan = calibrate(residual, "aqs", options={"smoothing": "none"})
        spill, resident = (
            simulate(residual, plan, build_accelerators(["panacea"], {"activations": each}))["panacea"]
            for each in ("spill", "resident")
        )
        assert spill.cost.traffic_bytes["dram_write"] - resident.cost.traffic_bytes["dram_write"] == 2 * 4 * 16
        weights = {entry.site.name: entry.cost.traffic_bytes["dram_read"] for entry in resident.sites}
        for entry in spill.sites[1:]:  # of b and c, weights alone are left
            assert 0 < weights[entry.site.name] < entry.cost.traffic_bytes["dram_read"]

    def test_lists_of_products_have_nothing_between_them(self):
        network = load("gemm:8x8x8")
        machines = {"m": WeightStationary(activations="resident")}
        assert kept_activations(network, calibrate(network, "int8"), machines) == {}

    def test_shape_only_networks_keep_too(self):
        network = load("resnet18")
        plan = calibrate(network, "int8")
        machines = {each: OutputStationary(activations=each) for each in ("spill", "resident")}
        found = simulate(network, plan, machines)
        spill, resident = found["spill"].cost, found["resident"].cost
        assert resident.traffic_bytes["dram_read"] < spill.traffic_bytes["dram_read"]
        assert resident.total_energy_pj < spill.total_energy_pj


class TestVectorUnit:
    def test_cycles_and_energy_by_hand(self):
        machine = WeightStationary(vector_lanes=16)
        operations = (
            OtherOperation(name="softmax", calls=1, elements=100, work=100),
            OtherOperation(name="relu", calls=1, elements=1000, work=1000),  # part of requantization
            OtherOperation(name="mean", calls=1, elements=10, work=490),
        )
        cost = vector_cost(machine, operations)
        work = {"softmax": (4 + FUNCTION) * 100, "mean": 490}
        assert cost.cycles == -(-work["softmax"] // 16) + -(-work["mean"] // 16)
        assert {event.name: event.count for event in cost.events if event.component == "vector_unit"} == work
        lane = machine.technology.price("mac_float16")
        assert cost.energy_pj["vector_unit"] == pytest.approx(sum(work.values()) * lane.energy())
        assert cost.traffic_bytes == {"sram_output_read": 2 * 110, "sram_output_write": 2 * 110}
        assert cost.busy_cycles == {"vector": cost.cycles}
        assert cost.macs_dense == 0
        assert ROOT < FUNCTION

    def test_twice_the_lanes_take_half_the_cycles_and_the_same_energy_but_for_leakage(self):
        operations = (OtherOperation(name="gelu", calls=1, elements=6400, work=6400),)
        one, two = (vector_cost(WeightStationary(vector_lanes=lanes), operations) for lanes in (32, 64))
        assert one.cycles == 2 * two.cycles
        for component in ("vector_unit", "sram_output"):
            assert one.energy_pj[component] == pytest.approx(two.energy_pj[component])

    def test_it_is_part_of_a_networks_cost(self):
        network, _ = next(iter(toy_networks().values()))
        plan = calibrate(network, "int8", options={"smoothing": "none"})
        (found,) = simulate(network, plan, {"m": WeightStationary()}).values()
        sites = sum(entry.cost.cycles for entry in found.sites)
        assert found.cost.cycles == sites + found.vector.cycles
        assert found.cost.total_energy_pj == pytest.approx(
            sum(entry.cost.total_energy_pj for entry in found.sites) + found.vector.total_energy_pj
        )

    def test_pools_and_reductions_go_over_their_inputs(self):
        network = network_of(
            torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.MaxPool2d(3, 2), torch.nn.AdaptiveAvgPool2d(1)),
            normal(1, 1, 9, 9),
        )
        plan = calibrate(network, "int8", options={"smoothing": "none"})
        (found,) = simulate(network, plan, {"m": WeightStationary()}).values()
        work = {each.name: each.work for each in found.others}
        assert work["max_pool2d_with_indices"] == 16 * 9  # 4 x 4 windows
        assert work["mean"] == 16

    def test_normalization_that_is_folded_takes_nothing(self):
        network = load("resnet18")
        plan = calibrate(network, "int8")
        folded, not_folded = (
            simulate(network, dataclasses.replace(plan, fold_batch_norm=fold), {"m": WeightStationary()})["m"].vector
            for fold in (True, False)
        )
        assert folded.cycles < not_folded.cycles
