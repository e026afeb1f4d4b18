"""What the benchmark against other quantizers hands over is the network, and what it compares is alike."""

import dataclasses
import math
import subprocess

import pytest
import torch
from benchmarks import against_quantizers as benchmark
from benchmarks.against_quantizers import ALL, ATTENTION, INPUTS, Row, comparable, environment, padded, plain, summary
from torch.nn import functional as F


class Same(torch.nn.Conv2d):
    """A convolution that pads as TensorFlow does."""

    def forward(self, images):
        stride, kernel = self.stride[0], self.kernel_size[0]
        total = [max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in images.shape[-2:]]
        (high, wide), (top, left) = total, [each // 2 for each in total]
        return F.conv2d(F.pad(images, (left, wide - left, top, high - top)), self.weight, self.bias, self.stride)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(8, 3, 1), (8, 3, 2), (9, 3, 2), (7, 5, 2), (6, 1, 2)])
def test_padding_of_one_size_is_a_module_or_the_convolutions_own(size, kernel, stride):
    layer, images = Same(3, 4, kernel, stride), torch.randn(2, 3, size, size + 3)
    made = padded(layer, images.shape[-2:])
    torch.testing.assert_close(made(images), layer(images))
    assert all(type(each).__module__.startswith("torch.nn") for each in made.modules())


def test_handed_over_is_the_same_network_with_every_module_used_once():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.bound = Same(3, 4, 3, 2), Same(4, 5, 3), torch.nn.ReLU6()

        def forward(self, images):
            return self.bound(self.second(self.bound(self.first(images)))).mean((2, 3))

    network, images = Net(), 9 * torch.randn(2, 3, 8, 8)
    made = plain(network, images)
    torch.testing.assert_close(made(images), network(images))
    used = [node.target for node in made.graph.nodes if node.op == "call_module"]
    assert len(used) == len(set(used)) == 5  # one padded by a module, two bounds


def row(**given):
    return Row(**{"network": "minilm-l6", "quantizer": "bitwright", "options": "int8", "quantized": INPUTS} | given)


@pytest.mark.parametrize(
    ("peer", "our", "alike"),
    [
        ({"options": "static, MinMax"}, {}, True),
        ({"options": "dynamic, per token"}, {}, False),
        ({"options": "dynamic, per token"}, {"options": "int8-token"}, True),
        ({"options": "static"}, {"quantized": ATTENTION}, False),
        ({"options": "static", "quantized": ALL}, {}, False),
        ({"options": "static", "quantized": ALL}, {"quantized": ATTENTION}, True),
        ({"options": "static", "quantized": ALL, "network": "efficientnet-lite0"}, {}, False),
    ],
)
def test_compared_is_what_is_quantized_alike(peer, our, alike):
    assert comparable(row(quantizer="torchao", **peer), row(**our)) is alike


def test_verdict_is_of_our_defaults_beside_the_best_of_each_peer(capsys):
    ours = row(sqnr=20.0, default=True)
    tuned = row(sqnr=30.0, options="int8, smoothing=none")
    peers = [row(quantizer="torchao", options="static", sqnr=db) for db in (10.0, 19.0)]
    failed = row(quantizer="brevitas", options="static", failed="it fell")
    assert summary([ours, tuned, *peers, failed]) == 0
    assert "torchao at best 19.00 dB (+1.00)" in capsys.readouterr().out
    assert summary([ours, tuned, dataclasses.replace(peers[0], sqnr=21.0)]) == 1


def test_an_environment_that_failed_is_not_taken_for_one(tmp_path, monkeypatch):
    def fails(command, **_):
        if "pip" in command:
            raise subprocess.CalledProcessError(1, command, stderr="no such package")
        (tmp_path / "peer" / "bin").mkdir(parents=True)
        (tmp_path / "peer" / "bin" / "python").touch()

    monkeypatch.setattr(benchmark.subprocess, "run", fails)
    with pytest.raises(subprocess.CalledProcessError):
        environment(tmp_path / "peer", "torchao")
    assert not (tmp_path / "peer").exists()
