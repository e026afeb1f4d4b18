"""EfficientViT-B1: published sizes, sites and multiply-accumulates by hand, attention against its quadratic form."""

import pytest
import torch

from bitwright.errors import InputError
from bitwright.networks.efficientvit import EfficientViTB1, LinearAttention
from bitwright.networks.load import load
from bitwright.networks.network import InputShape
from bitwright.networks.trace import trace
from toys import normal

ATTENTION = "backbone.stages.{}.op_list.{}.context_module.main"


@pytest.fixture(scope="module")
def sites():
    return {site.name: site for site in trace(load("efficientvit-b1")).sites}


def shape(site):
    return site.groups, site.m, site.k, site.n


def macs_below(sites, prefix):
    found = [site.macs for name, site in sites.items() if name.startswith(prefix)]
    assert found
    return sum(found)


class TestSizes:
    def test_published_figures(self, sites):
        # The authors' repository: 4.8 M parameters and 3.1 G multiply-accumulates on ADE20K at 512 px.
        network = load("efficientvit-b1")
        assert round(sum(p.numel() for p in network.module.parameters()) / 1e6, 1) == 4.8
        assert round(sum(site.macs for site in sites.values()) / 1e9, 1) == 3.1
        assert network.example(InputShape())["pixel_values"].shape == (1, 3, 512, 512)

    def test_the_backbone_is_that_of_the_published_classifier(self):
        # 9.1 M parameters and 0.52 G at 224 px with a classifier of 1x1 to 1,536, then 1,600 and 1,000 classes.
        network = load("efficientvit-b1", shape=InputShape(image_size=224))
        head = 256 * 1536 + 2 * 1536 + 1536 * 1600 + 2 * 1600 + 1600 * 1000 + 1000
        backbone = sum(p.numel() for p in network.module.backbone.parameters())
        assert round((backbone + head) / 1e6, 1) == 9.1
        products = 7 * 7 * 256 * 1536 + 1536 * 1600 + 1600 * 1000
        found = trace(network).sites
        macs = sum(site.macs for site in found if site.name.startswith("backbone"))
        assert round((macs + products) / 1e9, 2) == 0.52

    def test_another_image_size(self):
        small = trace(load("efficientvit-b1", shape=InputShape(image_size=256)))
        assert 4 * small.macs == trace(load("efficientvit-b1")).macs  # linear in pixels, attention too
        with pytest.raises(InputError, match="image_size is 100, a multiple of 32"):
            load("efficientvit-b1", shape=InputShape(image_size=100))


class TestSites:
    def test_stem(self, sites):
        assert shape(sites["backbone.input_stem.op_list.0.conv"]) == (1, 256 * 256, 3 * 9, 16)
        assert shape(sites["backbone.input_stem.op_list.1.main.depth_conv.conv"]) == (16, 256 * 256, 9, 1)
        assert macs_below(sites, "backbone.input_stem") == 256 * 256 * (27 * 16 + 9 * 16 + 16 * 16)

    def test_stage_of_inverted_bottlenecks(self, sites):
        # 16 to 32 channels: the expansion still at 256 x 256, then 128 x 128; a second block of 32.
        first = 256**2 * 16 * 64 + 128**2 * (9 * 64 + 64 * 32)
        second = 128**2 * (2 * 32 * 128 + 9 * 128)
        assert macs_below(sites, "backbone.stages.0") == first + second

    def test_stage_of_attention(self, sites):
        # 256 channels at 16 x 16 pixels, 16 heads at two scales.
        pixels, width = 16**2, 256
        convolutions = width * 3 * width + 25 * 3 * width + 16 * 3 * width + 2 * width * width
        products = 2 * (32 * 17 * 16)
        local = 2 * width * 4 * width + 9 * 4 * width
        down = 32**2 * 128 * 512 + pixels * (9 * 512 + 512 * width)
        expected = down + 4 * pixels * (convolutions + products + local)
        assert macs_below(sites, "backbone.stages.3") == expected

    def test_head(self, sites):
        levels = 16**2 * 256 * 64 + 32**2 * 128 * 64 + 64**2 * 64 * 64
        middle = 3 * 64**2 * (2 * 64 * 256 + 9 * 256)
        assert macs_below(sites, "head") == levels + middle + 64**2 * 64 * 150

    @pytest.mark.parametrize(("stage", "blocks", "heads", "pixels"), [(2, 3, 8, 32**2), (3, 4, 16, 16**2)])
    def test_linear_attention_is_two_products(self, sites, stage, blocks, heads, pixels):
        for block in range(1, blocks + 1):
            module = ATTENTION.format(stage, block)
            state, output = sites[f"{module}:matmul"], sites[f"{module}:matmul#2"]
            # Values with a row of ones by keys, then that state by queries: heads at two scales, 16 wide.
            assert shape(state) == (2 * heads, 17, pixels, 16)
            assert shape(output) == (2 * heads, 17, 16, pixels)
            assert not state.static_weight
            assert not output.static_weight
            assert shape(sites[f"{module}.aggreg.0.0"]) == (3 * 16 * heads, pixels, 25, 1)
            assert shape(sites[f"{module}.aggreg.0.1"]) == (3 * heads, pixels, 16, 16)
        assert f"{ATTENTION.format(stage, blocks + 1)}:matmul" not in sites


class TestNumbers:
    def test_attention_is_its_quadratic_form(self):
        torch.manual_seed(0)
        module, x = LinearAttention(32).eval(), normal(2, 32, 3, 5)
        captured = []
        module.proj.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
        with torch.no_grad():
            module(x)
            qkv = module.qkv(x)
            scales = torch.cat([qkv, module.aggreg[0](qkv)], dim=1)
        for head in range(4):
            q, k, v = (
                scales[:, 48 * head + 16 * i : 48 * head + 16 * (i + 1)].flatten(2).transpose(1, 2) for i in range(3)
            )
            weights = torch.relu(q) @ torch.relu(k).transpose(1, 2)
            expected = (weights / (weights.sum(-1, keepdim=True) + module.EPSILON)) @ v
            found = captured[0][:, 16 * head : 16 * (head + 1)].flatten(2).transpose(1, 2)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_it_computes(self):
        torch.manual_seed(0)
        with torch.no_grad():
            y = EfficientViTB1().eval()(normal(1, 3, 64, 96))
        assert y.shape == (1, 150, 8, 12)
        assert torch.isfinite(y).all()
