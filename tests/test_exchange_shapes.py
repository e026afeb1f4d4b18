"""Products as files of ZigZag, Timeloop and SCALE-Sim: what is written is read again as the same products."""

import dataclasses

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import bitwright
from bitwright.errors import InputError
from bitwright.exchange.shapes import layers as shared
from bitwright.exchange.shapes import to_scalesim, to_timeloop, to_zigzag
from bitwright.networks.load import load
from bitwright.networks.network import Network
from bitwright.networks.sites import ConvGeometry
from bitwright.networks.trace import trace
from bitwright.networks.workload import conv_site, gemm_site

WORKLOAD = """\
layers:
  - {name: fc, op: gemm, m: 12, k: 7, n: 3}
  - {name: "qk, DP", op: attention_qk, m: 5, k: 8, n: 5, groups: 2}
  - {name: conv, op: conv2d, channels: 8, height: 10, width: 12, filters: 6, kernel: [3, 5], stride: 2, padding: [1, 2]}
  - {name: grouped, op: conv2d, channels: 8, height: 9, width: 9, filters: 6, kernel: 3, groups: 2}
  - {name: depthwise, op: conv2d, channels: 8, height: 9, width: 9, filters: 16, kernel: 3, groups: 8, padding: 1}
  - {name: dilated, op: conv2d, batch: 2, channels: 4, height: 20, width: 9, filters: 4, kernel: 3, dilation: [2, 1]}
"""


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "workload.yaml"
    path.write_text(WORKLOAD)
    return load(str(path))


def alike(site):
    """A site without what only names it."""
    return dataclasses.replace(site, name="", op="", count=1)


def macs(network):
    return sum(site.macs for site in network.sites)


def test_zigzag_and_back(tmp_path, network):
    written = to_zigzag(network, tmp_path / "net.yaml")
    assert (written.layers, written.macs, written.notes) == (6, macs(network), ())
    back = load(str(tmp_path / "net.yaml"))
    assert [site.name for site in back.sites] == [site.name for site in network.sites]
    assert [alike(site) for site in back.sites] == [alike(site) for site in network.sites]


def test_what_a_layer_of_zigzag_says(tmp_path, network):
    to_zigzag(network, tmp_path / "net.yaml")
    fc, qk, conv, *_ = yaml.safe_load((tmp_path / "net.yaml").read_text())
    assert (fc["operator_type"], fc["equation"]) == ("Gemm", "O[d][k]+=I[d][c]*W[c][k]")
    assert dict(zip(fc["loop_dims"], fc["loop_sizes"], strict=True)) == {"D": 12, "C": 7, "K": 3}
    assert (fc["operand_source"], qk["operand_source"]) == ({"I": 0, "W": 0}, {"I": 1, "W": 0})
    # heights 10 + 2 - 3 by 2 and widths 12 + 4 - 5 by 2, and one
    assert dict(zip(conv["loop_dims"], conv["loop_sizes"], strict=True)) == {
        "B": 1, "K": 6, "C": 8, "OY": 5, "OX": 6, "FY": 3, "FX": 5,
    }  # fmt: skip
    assert conv["dimension_relations"] == ["iy=2*oy+1*fy", "ix=2*ox+1*fx"]
    assert (conv["pr_loop_sizes"], conv["padding"]) == ([10, 12], [[1, 1], [2, 2]])


def test_widths_of_a_plan(tmp_path):
    network = load("gemm:8x16x4")
    plan = bitwright.calibrate(network, "w4a8")
    to_zigzag(network, tmp_path / "net.yaml", plan=plan)
    (layer,) = yaml.safe_load((tmp_path / "net.yaml").read_text())
    assert layer["operand_precision"] == {"I": 8, "W": 4, "O": 32, "O_final": 8}


def test_timeloop_and_back(tmp_path, network):
    written = to_timeloop(network, tmp_path / "net")
    assert (written.layers, written.macs) == (6, macs(network))
    assert [file.name for file in written.files][:2] == ["0000-fc.yaml", "0001-qk_DP.yaml"]
    assert any("computed at run time" in note for note in written.notes)
    back = load(str(tmp_path / "net"))
    expected = [dataclasses.replace(alike(site), static_weight=True) for site in network.sites]
    assert [alike(site) for site in back.sites] == expected
    with pytest.raises(InputError, match="has files already"):
        to_timeloop(network, tmp_path / "net")
    (tmp_path / "net" / "0000-fc.yaml").write_text("# old")
    to_timeloop(network, tmp_path / "net", overwrite=True)
    assert [site.name for site in load(str(tmp_path / "net")).sites] == [site.name for site in back.sites]
    (tmp_path / "net" / "0006-mine.yaml").write_text("problem: {}")
    with pytest.raises(InputError, match="has files already"):
        to_timeloop(network, tmp_path / "net", overwrite=True)
    assert len(list((tmp_path / "net").iterdir())) == 7


def test_scalesim_and_back(tmp_path, network):
    written = to_scalesim(network, tmp_path / "net.csv")
    heads, *rows = (tmp_path / "net.csv").read_text().splitlines()
    assert heads.startswith("Layer name,IFMAP Height,IFMAP Width,")
    # x of 12 x 7 by w of 7 x 3; heads are layers; 4 * 2 + 3 pixels by 5 * 2 + 5
    assert rows[:4] == [
        "fc,12,7,1,7,1,3,1,",
        "qk_ dp.g0,5,8,1,8,1,5,1,",
        "qk_ dp.g1,5,8,1,8,1,5,1,",
        "conv,11,15,3,5,8,6,2,",
    ]
    assert rows[6] == "DP_depthwise,11,11,3,3,8,2,1,"
    assert rows[7] == "dilated,224,36,1,36,1,4,1,"
    assert (written.layers, written.macs) == (8, macs(network))
    assert any("1 convolution are products of matrices" in note or "1 convolution" in note for note in written.notes)
    assert macs(load(str(tmp_path / "net.csv"))) == macs(network)


def test_scalesim_gemms_and_back(tmp_path, network):
    written = to_scalesim(network, tmp_path / "net.csv", mode="gemm")
    rows = (tmp_path / "net.csv").read_text().splitlines()
    assert rows[:2] == ["Layer,M,N,K,", "fc,12,3,7,"]
    # one product, two heads, one convolution, two groups, eight channels, one convolution
    assert (written.layers, len(rows)) == (15, 16)
    assert macs(load(str(tmp_path / "net.csv"))) == written.macs == macs(network)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.lists(st.tuples(*[st.integers(1, 4)] * 4, st.integers(0, 1)), min_size=1, max_size=3),
)
def test_every_convolution_comes_back(tmp_path_factory, counts, axes):
    batch, groups, width = counts
    kernel, stride, dilation, outputs, padding = zip(*axes, strict=True)
    read = [(o - 1) * s + (k - 1) * d + 1 for k, s, d, o, _ in axes]
    if any(size <= 2 * pad for size, pad in zip(read, padding, strict=True)):
        return
    site = conv_site(
        name="conv",
        batch=batch,
        filters=groups * 3,
        groups=groups,
        geometry=ConvGeometry(
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            channels=groups * width,
            input_size=tuple(size - 2 * pad for size, pad in zip(read, padding, strict=True)),
            output_size=outputs,
        ),
    )
    network = Network(name="net", kind="gemms", sites=(site,))
    folder = tmp_path_factory.mktemp("net")
    to_zigzag(network, folder / "zigzag.yaml")
    to_timeloop(network, folder / "timeloop")
    to_scalesim(network, folder / "scalesim.csv")
    for name in ("zigzag.yaml", "timeloop"):
        (back,) = load(str(folder / name)).sites
        assert alike(back) == alike(site)
    assert macs(load(str(folder / "scalesim.csv"))) == site.macs


def test_a_traced_network(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.fc = torch.nn.Linear(8, 5)

        def forward(self, x):
            y = self.depthwise(torch.relu(self.conv(x))).mean((2, 3))
            return self.fc(y) + self.fc(2 * y)

    network = load(Net(), torch.zeros(1, 3, 16, 16))
    sites = trace(network).sites
    written = to_zigzag(network, tmp_path / "net.yaml")
    back = load(str(tmp_path / "net.yaml"))
    assert [site.name for site in back.sites] == ["conv", "depthwise", "fc", "fc#2"]
    assert macs(back) == sum(site.macs for site in sites) == written.macs
    assert any("what is no product is not in the file" in note for note in written.notes)


def test_runs_of_a_site_are_layers(tmp_path):
    step = gemm_site(name="step", op="linear", m=1, k=3, n=4, groups=1, static_weight=True)
    network = Network(name="scan", kind="gemms", sites=(dataclasses.replace(step, count=3),))
    assert (to_zigzag(network, tmp_path / "net.yaml").layers, macs(network)) == (3, 36)
    back = load(str(tmp_path / "net.yaml"))
    assert ([site.name for site in back.sites], macs(back)) == (["step.1", "step.2", "step.3"], 36)


def test_shared_operands_are_said(tmp_path):
    site = dataclasses.replace(
        gemm_site(name="qk", op="attention_qk", m=2, k=3, n=4, groups=6, static_weight=False), w_elements=2 * 3 * 4
    )
    written = to_zigzag(Network(name="net", kind="gemms", sites=(site,)), tmp_path / "net.yaml")
    assert any("groups share an operand" in note for note in written.notes)
    assert any("first layer's w is computed at run time" in note for note in written.notes)


def test_refusals(tmp_path, monkeypatch, network):
    empty = Network(name="empty", kind="gemms", sites=())
    with pytest.raises(InputError, match="empty has no products"):
        to_zigzag(empty, tmp_path / "net.yaml")
    with pytest.raises(InputError, match="does not exist"):
        to_scalesim(network, tmp_path / "none" / "net.csv")
    with pytest.raises(InputError, match="cannot write into"):
        to_timeloop(network, tmp_path / "none" / "net")
    with pytest.raises(InputError, match="mode is 'mnk'"):
        to_scalesim(network, tmp_path / "net.csv", mode="mnk")
    monkeypatch.setattr(shared, "MOST_LAYERS", 3)
    with pytest.raises(InputError, match="6 layers would be written"):
        to_zigzag(network, tmp_path / "net.yaml")
    assert [each.name for each in tmp_path.iterdir()] == ["workload.yaml"]


def test_names_of_strangers(tmp_path):
    site = gemm_site(name="../../x\n: [a,\tb] #\x1b", op="linear", m=2, k=3, n=4, groups=1, static_weight=True)
    network = Network(name="net", kind="gemms", sites=(site,))
    to_zigzag(network, tmp_path / "net.yaml")
    to_scalesim(network, tmp_path / "net.csv")
    written = to_timeloop(network, tmp_path / "net")
    assert [file.name for file in written.files] == ["0000-.._.._x_a_b_.yaml"]
    for name in ("net.csv", "net"):
        assert [alike(each) for each in load(str(tmp_path / name)).sites] != []
        assert macs(load(str(tmp_path / name))) == 24


@pytest.mark.parametrize("mode", ["conv", "gemm"])
@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "@x", "+1", "-1"])
def test_a_spreadsheet_computes_no_name(name, mode, tmp_path):
    site = gemm_site(name=name, op="linear", m=2, k=3, n=4, groups=1, static_weight=True)
    to_scalesim(Network(name="net", kind="gemms", sites=(site,)), tmp_path / "net.csv", mode=mode)
    _, row = (tmp_path / "net.csv").read_text().splitlines()
    assert row.startswith(f"_{name[1:]},")
