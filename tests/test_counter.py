"""The benchmark's counter of multiply-accumulates: closed forms, and torch's own counter of FLOPs."""

import pytest
import torch
import torch.nn.functional as F
from benchmarks.counter import count, unfused
from torch import nn
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.flop_counter import FlopCounterMode


def normal(*shape):
    return torch.randn(shape)


# batch, heads, queries, keys, width of queries and keys, width of values
B, H, M, T, D, V = 2, 4, 6, 5, 8, 12


class TestProducts:
    @pytest.mark.parametrize(
        ("function", "inputs", "macs"),
        [
            (F.linear, (normal(2, 3, 32), normal(8, 32)), 2 * 3 * 32 * 8),
            (F.linear, (normal(3, 32), normal(32)), 3 * 32),
            (torch.mm, (normal(6, 32), normal(32, 8)), 6 * 32 * 8),
            (torch.bmm, (normal(3, 6, 32), normal(3, 32, 8)), 3 * 6 * 32 * 8),
            (torch.matmul, (normal(2, 1, 6, 32), normal(3, 32, 8)), 2 * 3 * 6 * 32 * 8),
            (torch.addmm, (normal(8), normal(6, 32), normal(32, 8)), 6 * 32 * 8),
            (torch.addbmm, (normal(6, 8), normal(3, 6, 32), normal(3, 32, 8)), 3 * 6 * 32 * 8),
            (torch.baddbmm, (normal(3, 1, 8), normal(3, 6, 32), normal(3, 32, 8)), 3 * 6 * 32 * 8),
            (torch.mv, (normal(6, 32), normal(32)), 6 * 32),
            (torch.addmv, (normal(6), normal(6, 32), normal(32)), 6 * 32),
            (torch.dot, (normal(32), normal(32)), 32),
            (torch.inner, (normal(2, 6, 32), normal(8, 32)), 2 * 6 * 8 * 32),
            (torch.cdist, (normal(30, 16), normal(40, 16)), 30 * 40 * (16 + 2)),  # each row with its square, and a 1
        ],
    )
    def test_matrices_and_vectors(self, function, inputs, macs):
        found = count(function, inputs)
        assert (found.macs, found.outer, found.integer) == (macs, 0, 0)

    def test_in_place_and_into(self):
        x, w = normal(6, 32), normal(32, 8)
        assert count(lambda x, w: torch.mm(x, w, out=torch.empty(6, 8)), (x, w)).macs == 6 * 32 * 8
        assert count(lambda x, w: torch.zeros(6, 8).addmm_(x, w), (x, w)).macs == 6 * 32 * 8

    def test_three_operands(self):
        # (32 x 8)(8 x 16) first would cost more: multi_dot takes x (6 x 32) first, then 6 x 8 by 8 x 16
        found = count(lambda *m: torch.linalg.multi_dot(m), (normal(6, 32), normal(32, 8), normal(8, 16)))
        assert found.macs == 6 * 32 * 8 + 6 * 8 * 16

    def test_bilinear(self):
        rows, first, second, outputs = 4, 6, 8, 5
        found = count(nn.Bilinear(first, second, outputs), (normal(rows, first), normal(rows, second)))
        assert found.macs == rows * outputs * first * second + rows * outputs * second

    def test_affine_grid(self):
        found = count(lambda theta: F.affine_grid(theta, [2, 3, 5, 7], align_corners=False), normal(2, 2, 3))
        assert found.macs == 2 * (5 * 7) * 3 * 2

    def test_experts_count_the_rows_that_are_sent_to_them(self):
        ends = torch.tensor([4, 8, 8, 12], dtype=torch.int32)  # 12 of the 16 rows belong to an expert
        found = count(lambda x, w: F.grouped_mm(x, w, offs=ends), (normal(16, 32), normal(4, 32, 16)))
        assert found.macs == 12 * 32 * 16


class TestApart:
    def test_outer_products(self):
        found = count(torch.mm, (normal(6, 1), normal(1, 8)))
        assert (found.macs, found.outer, found.total) == (0, 6 * 8, 6 * 8)

    def test_depthwise_convolution_of_one_pixel(self):
        found = count(nn.Conv2d(8, 8, 1, groups=8), normal(2, 8, 5, 5))
        assert (found.macs, found.outer) == (0, 2 * 8 * 5 * 5)

    def test_transposed_depthwise_convolution_adds_up_only_where_it_overlaps(self):
        apart = count(nn.ConvTranspose2d(8, 8, 2, 2, groups=8), normal(2, 8, 5, 5))
        assert (apart.macs, apart.outer) == (0, 2 * 8 * 5 * 5 * 4)
        overlapping = count(nn.ConvTranspose2d(8, 8, 3, 2, groups=8), normal(2, 8, 5, 5))
        assert (overlapping.macs, overlapping.outer) == (2 * 8 * 5 * 5 * 9, 0)

    def test_integers(self):
        found = count(torch.mm, (torch.ones(6, 4, dtype=torch.long), torch.ones(4, 3, dtype=torch.long)))
        assert (found.macs, found.integer) == (0, 6 * 4 * 3)


class TestConvolutions:
    @pytest.mark.parametrize(
        ("layer", "inputs", "macs"),
        [
            # positions of the output x kernel x channels per group x outputs
            (nn.Conv1d(8, 6, 3, padding=1), normal(2, 8, 20), 2 * 20 * 3 * 8 * 6),
            (nn.Conv1d(8, 6, 3), normal(8, 20), 18 * 3 * 8 * 6),
            (nn.Conv2d(8, 6, 3, padding=1), normal(2, 8, 9, 11), 2 * 9 * 11 * 9 * 8 * 6),
            (nn.Conv2d(8, 6, 3, groups=2), normal(2, 8, 9, 11), 2 * 7 * 9 * 9 * 4 * 6),
            (nn.Conv2d(8, 6, 3, 2, dilation=2), normal(2, 8, 9, 11), 2 * 3 * 4 * 9 * 8 * 6),
            (nn.Conv3d(4, 6, (1, 3, 2)), normal(2, 4, 5, 6, 7), 2 * (5 * 4 * 6) * 6 * 4 * 6),
            # positions of the input x kernel x channels x outputs per group
            (nn.ConvTranspose1d(8, 6, 4, 2, 1), normal(2, 8, 20), 2 * 20 * 4 * 8 * 6),
            (nn.ConvTranspose2d(8, 6, 3, 2, groups=2), normal(2, 8, 9, 11), 2 * 9 * 11 * 9 * 8 * 3),
            (nn.ConvTranspose3d(4, 6, 3), normal(4, 2, 3, 4), 2 * 3 * 4 * 27 * 4 * 6),
        ],
    )
    def test_any_rank(self, layer, inputs, macs):
        assert count(layer, inputs).macs == macs

    def test_time_first(self):
        found = count(torch.conv_tbc, (normal(20, 2, 8), normal(3, 8, 6), normal(6)))
        assert found.macs == 18 * 2 * 3 * 8 * 6


class TestAttention:
    MACS = B * H * M * T * (D + V)

    @pytest.mark.parametrize("mask", [None, torch.ones(M, T).tril().bool(), torch.zeros(B, 1, M, T)])
    def test_every_pair_of_positions(self, mask):
        inputs = (normal(B, H, M, D), normal(B, H, T, D), normal(B, H, T, V))
        assert count(lambda *qkv: F.scaled_dot_product_attention(*qkv, attn_mask=mask), inputs).macs == self.MACS

    def test_shared_keys(self):
        inputs = (normal(B, H, M, D), normal(B, 1, T, D), normal(B, 1, T, V))
        assert count(lambda *qkv: F.scaled_dot_product_attention(*qkv, enable_gqa=True), inputs).macs == self.MACS

    @pytest.mark.filterwarnings("ignore::UserWarning")  # that it is slow when it is not compiled
    def test_flexible(self):
        inputs = (normal(B, H, 16, D), normal(B, H, 16, D), normal(B, H, 16, D))
        assert count(flex_attention, inputs).macs == B * H * 16 * 16 * (D + D)

    def test_encoder_layer(self):
        tokens, width, hidden = 2 * 6, 16, 32
        linear = tokens * (3 * width * width + width * width + 2 * width * hidden)
        attention = 2 * 6 * 6 * (width + width)
        layer = nn.TransformerEncoderLayer(width, 4, hidden, batch_first=True).eval()
        assert count(layer, normal(2, 6, width)).macs == linear + attention


class TestRecurrent:
    @pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
    def test_gates(self, kind, gates):
        steps, batch, inputs, hidden = 7, 2, 8, 6
        found = count(kind(inputs, hidden), normal(steps, batch, inputs))
        assert found.macs == steps * batch * gates * hidden * (inputs + hidden)

    def test_projected(self):
        found = count(nn.LSTM(8, 6, proj_size=4), normal(7, 2, 8))
        assert found.macs == 7 * 2 * (4 * 6 * (8 + 4) + 6 * 4)


class TestPrograms:
    def test_branches_and_loops(self):
        x, w = normal(6, 16), normal(16, 16)

        def branch(x, w):
            return torch.cond(x.sum() > 1e6, lambda x, w: x @ w @ w, lambda x, w: x @ w, (x, w))

        def loop(x, w):
            start = (torch.tensor(0), x)
            return torch.ops.higher_order.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y @ w), start, ())

        assert count(branch, (x, w)).macs == 6 * 16 * 16
        assert count(loop, (x, w)).macs == 3 * 6 * 16 * 16

    def test_vmap(self):
        assert count(torch.func.vmap(torch.dot), (normal(6, 32), normal(6, 32))).macs == 6 * 32

    def test_by_name(self):
        assert count(nn.Linear(32, 8), {"input": normal(6, 32)}).macs == 6 * 32 * 8

    def test_inference_mode(self):
        def run(x, w):
            with torch.inference_mode():
                return F.linear(x, w)

        assert count(run, (normal(6, 32), normal(8, 32))).macs == 6 * 32 * 8

    def test_what_hides_its_products_is_an_error(self):
        with pytest.raises(NotImplementedError, match="_sparse_addmm"):
            count(torch.sparse.mm, (torch.eye(4).to_sparse(), normal(4, 3)))

    def test_switches_are_put_back(self):
        before = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
        count(nn.Linear(4, 4), normal(2, 4))
        assert (torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()) == before


class Everything(nn.Module):
    """What torch's own counter knows, in one network."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 2, 2, groups=4)
        )
        self.up = nn.ConvTranspose2d(8, 16, 4, 2, 1)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.recurrent = nn.LSTM(16, 6, bidirectional=True, batch_first=True)
        self.weight = nn.Parameter(normal(12, 5))

    def forward(self, x):
        tokens = self.up(self.features(x)).flatten(2).mT
        states, _ = self.recurrent(self.encoder(tokens))
        return torch.einsum("btc,cd->bd", states, self.weight)


def test_torch_counts_the_same():
    module, x = Everything().eval(), normal(2, 3, 12, 12)
    with unfused(), FlopCounterMode(display=False) as reference:
        module(x)
    assert count(module, x).total == reference.get_total_flops() // 2
