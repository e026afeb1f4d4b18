"""The node report: every node and every multiply-accumulate of a network has a line."""

import io
import json

import pytest
import torch
from rich.console import Console
from tests.toys import Calling, network_of, normal
from typer.testing import CliRunner

import bitwright
from bitwright.cli.verbs import app
from bitwright.networks.load import load
from bitwright.networks.nodes import Place, report_nodes
from bitwright.networks.trace import trace
from bitwright.reports.nodes import print_nodes


def test_all_of_a_network_s_products_and_operators_are_in_it():
    network = load("resnet18")
    found, traced = report_nodes(network), trace(network)
    assert found.macs == traced.macs + sum(other.macs for other in traced.others if other.lost)
    assert [line.sites[0] for line in found.lines if line.sites] == [site.name for site in traced.sites]
    on_unit = sum(line.elements for line in found.lines if line.place is Place.VECTOR)
    assert on_unit == sum(other.elements for other in traced.others)
    assert found.share(Place.MAPPED) == 1


def test_the_vector_unit_is_summed_by_operator():
    """A batch of 2, 6 features after the first layer, 3 after the second; the node lists itself only with --wide."""
    layers = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3), torch.nn.ReLU())
    found = report_nodes(network_of(layers, normal(2, 5)))
    shown = {}
    for wide in (False, True):
        console = Console(file=io.StringIO(), width=100)
        print_nodes(found, console, wide=wide)
        shown[wide] = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["relu", "2", "18"] in shown[False]
    assert ["relu", "2", "18"] not in shown[True]


def test_what_is_no_site_is_refused_with_its_reason():
    def run(module, x):
        complex_product = torch.view_as_complex(x) @ torch.view_as_complex(x).t()
        return torch.view_as_real(complex_product).sum(-1) @ module.w

    found = report_nodes(network_of(Calling(run, w=normal(6, 3)), normal(6, 5, 2)))
    refused = [line for line in found.lines if line.place is Place.REFUSED]
    assert [line.why for line in refused] == ["product of complex numbers"]
    assert refused[0].macs > 0
    assert found.share(Place.MAPPED) + found.share(Place.REFUSED) == 1
    assert any(line.place is Place.FREE and line.operator == "view_as_complex" for line in found.lines)


def test_what_is_known_offline_is_free():
    found = report_nodes(
        network_of(Calling(lambda m, x: x @ (m.a @ m.b), a=normal(4, 5), b=normal(5, 6)), normal(3, 4))
    )
    assert [(line.place, line.macs) for line in found.lines if line.place is not Place.VECTOR] == [
        (Place.FREE, 0),
        (Place.MAPPED, 3 * 4 * 6),
    ]


def test_a_list_of_products_has_these_alone():
    found = report_nodes(load("gemm:8x16x32"))
    assert [(line.sites, line.macs) for line in found.lines] == [(("gemm",), 8 * 16 * 32)]
    assert "1 nodes" in repr(found)
    assert found.frame()["macs"].tolist() == [8 * 16 * 32]


def test_every_node_of_an_onnx_file_has_a_line(tmp_path):
    pytest.importorskip("onnx", reason="ONNX files need the package onnx")
    pytest.importorskip("onnxruntime", reason="the tests of ONNX files, whose network this is, need it")
    from tests.test_onnx import cnn

    model = cnn()
    path = tmp_path / "network.onnx"
    path.write_bytes(model.SerializeToString())
    network = load(str(path))
    found = report_nodes(network)
    assert [line.operator for line in found.lines] == [node.op_type for node in model.graph.node]
    places = {line.operator: line.place for line in found.lines}
    assert places == {
        "Conv": Place.MAPPED, "BatchNormalization": Place.VECTOR, "Relu": Place.VECTOR, "Add": Place.VECTOR,
        "GlobalAveragePool": Place.VECTOR, "Shape": Place.FREE, "Gather": Place.FREE, "Concat": Place.FREE,
        "Reshape": Place.FREE, "Gemm": Place.MAPPED,
    }  # fmt: skip
    assert found.macs == trace(network).macs
    assert next(line.why for line in found.lines if line.operator == "Shape") == "known from shapes"
    assert next(line.why for line in found.lines if line.operator == "Conv").startswith("and ")  # its padding


def test_the_command_line_prints_it():
    done = CliRunner().invoke(app, ["nodes", "gemm:8x16x32", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["places"]["mapped"] == {"nodes": 1, "share_of_macs": 1.0}
    assert "mapped" in CliRunner().invoke(app, ["nodes", "gemm:8x16x32"]).stdout


def test_it_is_public():
    assert bitwright.nodes("gemm:8x16x32").macs == 8 * 16 * 32
