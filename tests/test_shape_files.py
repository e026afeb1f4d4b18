"""Files of shapes of SCALE-Sim, ZigZag and Timeloop, and tables of GEMMs; sizes are worked out by hand beside them."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitwright
from bitwright import strict_yaml
from bitwright.errors import InputError
from bitwright.networks import shape_files
from bitwright.networks.load import load
from bitwright.networks.shape_files.nests import Nest, site_of
from bitwright.networks.synthetic import synthetic_calls

HEADS = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
TOPOLOGY = (
    HEADS
    + """
Conv1, 224, 224, 7, 7, 3, 64, 2,
Conv2, 56, 28, 3, 1, 64, 32, 1,

FC6, 1, 1, 1, 1, 1024, 1000, 1,
"""
)
CONV = """\
- id: 0
  name: conv1
  operator_type: Conv
  equation: O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]
  dimension_relations: [ix=2*ox+1*fx, iy=2*oy+1*fy]
  loop_dims: [B, K, C, OY, OX, FY, FX]
  loop_sizes: [1, 64, 3, 112, 112, 7, 7]
  operand_precision: {W: 8, I: 8, O: 16, O_final: 8}
  operand_source: {I: 0, W: 0}
- id: 1
  operator_type: Pooling
  equation: O[b][g][oy][ox]+=W[fx][fy]*I[b][g][iy][ix]
  dimension_relations: [ix=2*ox+1*fx, iy=2*oy+1*fy]
  loop_dims: [B, G, OY, OX, FX, FY]
  loop_sizes: [1, 64, 56, 56, 3, 3]
- id: 2
  operator_type: Conv
  equation: O[b][g][k][oy][ox] += W[g][k][c][fy][fx] * I[b][g][c][iy][ix]
  dimension_relations: [ix=ox+2*fx, iy=oy + fy]
  loop_dims: [B, G, K, C, OY, OX, FY, FX]
  loop_sizes: [2, 64, 1, 1, 56, 54, 3, 2]
  operand_source: {I: 1, W: 2}
  pr_loop_dims: [IX, IY]
  pr_loop_sizes: [56, 56]
  padding: [[0, 0], [1, 1]]
- id: 3
  operator_type: Gemm
  equation: O[d0][d1]+=I[d0][d2]*W[d2][d1]
  loop_dims: [D0, D1, D2]
  loop_sizes: [128, 32, 64]
  operand_source: {I: 2, W: 0}
"""
RELATIONS = "[ix=2*ox+1*fx, iy=2*oy+1*fy]\n  loop_dims: [B, K"
PROBLEM = """\
problem:
  version: 0.4
  instance: {C: 64, M: 96, N: 2, P: 28, Q: 14, R: 3, S: 5, Wstride: 2, Hdilation: 2}
  shape:
    name: conv
    dimensions: [C, M, R, S, N, P, Q]
    coefficients:
    - {name: Wstride, default: 1}
    - {name: Hstride, default: 1}
    - {name: Wdilation, default: 1}
    - {name: Hdilation, default: 1}
    data_spaces:
    - {name: Weights, projection: [[[C]], [[M]], [[R]], [[S]]]}
    - name: Inputs
      projection: [[[N]], [[C]], [[R, Wdilation], [P, Wstride]], [[S, Hdilation], [Q, Hstride]]]
    - {name: Outputs, projection: [[[N]], [[M]], [[Q]], [[P]]], read_write: true}
"""
VERSION_3 = PROBLEM.replace("data_spaces", "data-spaces").replace("read_write", "read-write")


def written(folder, text, name="shapes.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def sizes(site):
    return site.groups, site.m, site.k, site.n


def test_a_topology_of_convolutions(tmp_path):
    network = load(written(tmp_path, TOPOLOGY, "mobilenet.csv"))
    assert (network.name, network.kind, network.shape_only) == ("mobilenet", "gemms", True)
    conv1, conv2, fc = network.sites
    # ceil((224 - 7 + 2) / 2) = 110 outputs: the last window reads pixel (110 - 1) * 2 + 7 = 225
    assert conv1.conv.output_size == (110, 110)
    assert sizes(conv1) == (1, 110 * 110, 3 * 49, 64)
    assert (conv1.op, conv1.conv.stride, conv1.conv.padding, conv1.conv.input_size) == (
        "conv2d",
        (2, 2),
        (0, 0),
        (225, 225),
    )
    # 56 - 3 + 1 by 28 - 1 + 1
    assert sizes(conv2) == (1, 54 * 28, 64 * 3, 32)
    assert conv2.x_elements == 64 * 56 * 28
    assert conv2.w_elements == 64 * 3 * 32
    assert (fc.name, sizes(fc)) == ("FC6", (1, 1, 1024, 1000))
    assert any("Conv1: the last window hangs over" in note for note in network.notes)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",\n", "\n"),
        lambda text: text.replace(",\n", " , \n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace("Layer name", "Layer").replace("IFMAP Height", "IFMAP Width").upper(),
        lambda text: text.replace("2,\nConv2", "2,#first\nConv2"),
        lambda text: text.replace("FC6", "AlexNet,\nFC6"),
    ],
    ids=["no last comma", "spaces", "crlf", "bom", "tabs", "semicolons", "v1 heads", "comment", "heading"],
)
def test_the_forms_of_a_topology(tmp_path, change):
    expected = [sizes(site) for site in load(written(tmp_path, TOPOLOGY)).sites]
    assert [sizes(site) for site in load(written(tmp_path, change(TOPOLOGY), "changed")).sites] == expected


def test_depthwise_convolutions_of_a_topology(tmp_path):
    rows = "DP_1, 16, 16, 3, 3, 32, 2, 1,\nConv2_dw, 16, 16, 3, 3, 1, 1, 1,#dw\nConv3, 16, 16, 3, 3, 32, 1, 1,\n"
    network = load(written(tmp_path, HEADS + rows))
    depthwise, channel, filter_ = network.sites
    # SCALE-Sim makes 32 layers of one channel and two filters of it: 14 x 14 outputs, 9 taps
    assert sizes(depthwise) == (32, 196, 9, 2)
    assert (depthwise.conv.channels, depthwise.macs) == (32, 32 * 196 * 9 * 2)
    assert sizes(channel) == (1, 196, 9, 1)
    assert sizes(filter_) == (1, 196, 288, 1)
    notes = " | ".join(network.notes)
    assert "DP_1: depthwise" in notes
    assert "Conv2_dw: called depthwise, but of one channel" in notes
    assert "Conv3: one filter over several channels" in notes


def test_columns_behind_the_stride(tmp_path):
    heads = HEADS.replace("Strides,", "Stride height, Stride width, Sparsity, Batch size, Eh,")
    network = load(written(tmp_path, heads + "c, 9, 9, 3, 3, 2, 6, 1, 2, 2:4, 5, 7\n"))
    (site,), notes = network.sites, network.notes
    assert site.conv.stride == (1, 2)
    assert sizes(site) == (1, 5 * 7 * 4, 18, 6)
    assert any("c: the sparsity of weights is left out" in note for note in notes)
    assert any("'Eh'" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Layer,M,N,K,\nqk,1024,512,64,\n", ("qk", 1, 1024, 64, 512)),
        ("Layer Name, M, N, K, Sparsity,\nqk, 1024, 512, 64, 3:4,", ("qk", 1, 1024, 64, 512)),
        ("name,M,K,N\nqk,1024,64,512\n", ("qk", 1, 1024, 64, 512)),
        ("name,groups,M,K,N\nqk,12,1024,64,512\n", ("qk", 12, 1024, 64, 512)),
        ("qk,1024,64,512\n", ("qk", 1, 1024, 64, 512)),
        ("qk,1024,64,512,12\n", ("qk", 12, 1024, 64, 512)),
        ("1024,64,512\n", ("layer1", 1, 1024, 64, 512)),
        ("m;k;n\n# a comment\n1024;64;512\n", ("layer1", 1, 1024, 64, 512)),
        ('name,M,K,N\n"a, b",1024,64,512\n', ("a, b", 1, 1024, 64, 512)),
    ],
)
def test_tables_of_gemms(tmp_path, text, expected):
    (site,) = load(written(tmp_path, text)).sites
    assert (site.name, *sizes(site)) == expected
    assert (site.op, site.static_weight, site.conv) == ("linear", True, None)


def test_names_that_come_again_and_counts(tmp_path):
    network = load(written(tmp_path, "name,M,K,N,count\na,1,2,3,4\na,1,2,3,1\na.2,1,2,3,1\na,5,6,7,\n"))
    assert [site.name for site in network.sites] == ["a", "a.2", "a.2.2", "a.3"]
    assert [site.macs for site in network.sites] == [24, 6, 6, 210]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TOPOLOGY.replace("56, 28", "56, x"), "line 4: IFMAP Width is 'x'; a whole number from 1"),
        (TOPOLOGY.replace("56, 28", "56, 0"), "line 4: IFMAP Width is '0'"),
        (TOPOLOGY.replace("56, 28", "56, 2.5"), "line 4: IFMAP Width is '2.5'"),
        (TOPOLOGY.replace("56, 28", "56, 9999999999"), "line 4: IFMAP Width is '9999999999'"),
        (TOPOLOGY.replace("64, 32, 1", "64"), "line 4: it ends before Num Filter; a name and 7 numbers are expected"),
        (TOPOLOGY.replace("56, 28, 3", "2, 28, 3"), "line 4: the filter's height is 3, but the IFMAP's is 2"),
        (HEADS, "heads and no layers"),
        (HEADS.replace("Strides,", "Strides, Sparsity,") + "c,9,9,3,3,2,6,1,4:2,\n", "line 2: sparsity is '4:2'; N:M"),
        ("name,M,K,N\na,1,2\n", "line 2: there is no N"),
        ("name,M,K,N,batch\na,1,2,3,4\n", "line 1: what 'batch' multiplies is not known"),
        ("name,M,K,N,M\na,1,2,3,4\n", "line 1: M, N or K heads two columns"),
        ("a,1,2,3\nb,1,2,c\n", "line 2: N is 'c'"),
        ("", "it is an empty file"),
        ("hello", "it is 'hello'"),
        ("[1, 2", "line 1: not the YAML"),
        (b"\xff\xfe\x00", "not UTF-8"),
        ("- 1\n- 2\n", "it is a list of something else"),
    ],
)
def test_refusals_of_tables_name_the_line(tmp_path, text, said):
    with pytest.raises(InputError) as error:
        load(written(tmp_path, text))
    assert said in str(error.value)


def test_rows_that_end_before_their_name(tmp_path):
    """They are called by their place, as those whose name is empty."""
    network = load(written(tmp_path, "M,N,K,name\n8,4,2,first\n8,4,3\n8,4,5,,\n"))
    assert [site.name for site in network.sites] == ["first", "layer2", "layer3"]
    assert [site.k for site in network.sites] == [2, 3, 5]


def test_a_file_is_never_guessed_to_be_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mobilenet_v2").write_text("not shapes")
    with pytest.raises(InputError, match="mobilenet_v2 is not a workload: a mapping with the key 'layers'"):
        load("mobilenet_v2")
    with pytest.raises(InputError, match=r"cannot read the workload mobilenet.csv: No such file"):
        load("mobilenet.csv")


def test_a_workload_of_zigzag(tmp_path):
    network = load(written(tmp_path, CONV))
    conv, grouped, gemm = network.sites
    assert (conv.name, sizes(conv)) == ("conv1", (1, 112 * 112, 147, 64))
    # (112 - 1) * 2 + 7 = 229 pixels are read; the file states no padding
    assert (conv.conv.stride, conv.conv.input_size, conv.conv.padding) == ((2, 2), (229, 229), (0, 0))
    assert (grouped.name, sizes(grouped)) == ("layer2", (64, 2 * 56 * 54, 6, 1))
    geometry = grouped.conv
    assert (geometry.kernel, geometry.dilation, geometry.padding) == ((3, 2), (1, 2), (1, 0))
    assert (geometry.channels, geometry.input_size, geometry.output_size) == (64, (56, 56), (56, 54))
    assert grouped.x_elements == 2 * 64 * 56 * 56
    assert (gemm.op, gemm.static_weight, sizes(gemm)) == ("matmul", False, (1, 128, 64, 32))
    assert network.notes == ("layers that are no products are left out, their cost is not counted: 1 Pooling",)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("loop_sizes: [1, 64, 3,", "loop_sizes: [1, 64, -3,", "line 7: layer 'conv1': loop_sizes of C is -3"),
        ("[1, 64, 3, 112, 112, 7, 7]", "[1, 64, 3]", "line 7: layer 'conv1': loop_sizes has 3 sizes for 7 loop_dims"),
        ("[B, K, C, OY, OX, FY, FX]", "[B, B, C, OY, OX, FY, FX]", "line 6: layer 'conv1': loop_dims has 'B' twice"),
        ("  operator_type: Gemm\n", "", "line 26: layer 'layer3': key 'operator_type' is missing"),
        ("+=W[k]", "+W[k]", "line 4: layer 'conv1': equation is"),
        (RELATIONS, "[ix=2-ox]\n  loop_dims: [B, K", "line 5: layer 'conv1': dimension_relations has 'ix=2-ox'"),
        (RELATIONS, "[]\n  loop_dims: [B, K", "line 4: layer 'conv1': I is indexed by iy, which has no size"),
        ("O[d0][d1]+=I[d0][d2]*W[d2][d1]", "O[d0][d1]+=I[d0][d2]*W[d2][d2]", "W is indexed by d2 twice"),
        ("O[d0][d1]+=I[d0][d2]*W[d2][d1]", "O[d0]+=I[d0][d2]*W[d2][d1]", "dimension d1 of size 32 indexes W only"),
        ("O[d0][d1]+=I[d0][d2]*W[d2][d1]", "O[d0][d1]=I[d0][d2]+W[d2][d1]", "is no product of two operands"),
        ("padding: [[0, 0], [1, 1]]", "padding: [[0, 0], [40, 40]]", "padding of 40 at both ends leaves nothing"),
        ("padding: [[0, 0], [1, 1]]", "padding: [3]", "line 25: layer 'layer2': padding has 3"),
        ("pr_loop_dims: [IX, IY]", "pr_loop_dims: [IZ]", "line 23: layer 'layer2': pr_loop_dims has 'IZ'"),
        ("operand_source: {I: 2, W: 0}", "operand_source: 3", "line 31: layer 'layer3': operand_source is 3"),
        ("loop_dims: [D0, D1, D2]", "loop_dims: 5", "line 29: layer 'layer3': loop_dims is 5; a list is expected"),
        ("- id: 3", "- 7\n- id: 3", "line 26: a layer is a mapping of keys to values, not 7"),
    ],
)  # fmt: skip
def test_refusals_of_zigzag_name_layer_and_key(tmp_path, old, new, said):
    assert CONV.count(old) == 1
    with pytest.raises(InputError) as error:
        load(written(tmp_path, CONV.replace(old, new)))
    assert said in str(error.value)


@pytest.mark.parametrize("text", [PROBLEM, VERSION_3], ids=["0.4", "3"])
def test_a_problem_of_timeloop(tmp_path, text):
    (site,) = load(written(tmp_path, text, "layer.yaml")).sites
    # R and P are the width, whose coefficients begin with W: rows are N, Q and P, the reduction C, S and R
    assert (site.name, sizes(site)) == ("layer", (1, 2 * 14 * 28, 64 * 15, 96))
    geometry = site.conv
    assert (geometry.kernel, geometry.stride, geometry.dilation) == ((5, 3), (1, 2), (2, 1))
    # height: 13 + 4 * 2 + 1; width: 27 * 2 + 2 + 1
    assert (geometry.input_size, geometry.output_size, geometry.channels) == ((22, 57), (14, 28), 64)


def test_the_shapes_that_timeloop_knows_by_name(tmp_path):
    problem = "problem: {{{} R: 3, S: 3, P: 48, Q: 480, C: 2, K: 16, N: 1, Wstride: 1}}\n"
    for shape in ("shape: cnn_layer,", ""):
        (site,) = load(written(tmp_path, problem.format(shape))).sites
        assert sizes(site) == (1, 480 * 48, 18, 16)
    (site,) = load(written(tmp_path, "problem: {shape: gemm_ABZ, instance: {M: 2, N: 3, K: 5}}")).sites
    assert (site.op, sizes(site)) == ("linear", (1, 2, 5, 3))


def test_padding_that_a_problem_states(tmp_path):
    text = PROBLEM.replace("instance: {", "instance: {H: 20, Hpad: 1, W: 55, Wpad: 1, HStride: 3, ")
    network = load(written(tmp_path, text))
    assert (network.sites[0].conv.padding, network.sites[0].conv.input_size) == ((1, 1), (20, 55))
    assert network.notes == ("keys of instances that are not read: HStride",)


def test_what_the_front_end_of_timeloop_includes(tmp_path):
    base = PROBLEM.replace("problem:", "base: &base").replace("Wstride: 2, Hdilation: 2", "Wstride: 1")
    (tmp_path / "base.yaml").write_text(base)
    net = tmp_path / "net"
    net.mkdir()
    for i, size in enumerate((7, 9)):
        text = f"{{{{include_text('../base.yaml')}}}}\nproblem:\n  <<<: *base\n  instance: {{P: {size}}}\n"
        (net / f"{i}.yaml").write_text(text)
    network = load(str(net))
    assert (network.name, [site.name for site in network.sites]) == ("net", ["0", "1"])
    assert [site.m for site in network.sites] == [2 * 14 * 7, 2 * 14 * 9]
    assert {site.n for site in network.sites} == {96}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{{include_text('/etc/passwd')}}", "'/etc/passwd' is included; a YAML file beside this one"),
        ("{{include_text('../../x.yaml')}}", "is included; a YAML file beside this one"),
        ("{{include_text('../x.txt')}}", "is included; a YAML file beside this one"),
        ("{{include_text('none.yaml')}}", "cannot read the included file"),
        ("{{ cwd() }}", "line 1: of templates only {{include_text('FILE.yaml')}} is read"),
        ("{{include_text('x.yaml')}} {{x}}", "line 1: of templates only"),
        ("{{include_text('bad.yaml')}}", "bad.yaml, line 2: key 'a' is given twice"),
    ],
)
def test_what_is_not_included(tmp_path, line, said):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "bad.yaml").write_text("a: 1\na: 2\n")
    (tmp_path / "x.txt").write_text("a: 1\n")
    with pytest.raises(InputError) as error:
        load(written(tmp_path / "net", f"{line}\n{PROBLEM}"))
    assert said in str(error.value)


def test_an_included_link_does_not_leave_its_folder(tmp_path):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "secret.yaml").write_text("x: 1\n")
    (tmp_path / "a" / "b" / "c" / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    with pytest.raises(InputError, match="is included; a YAML file beside this one"):
        load(written(tmp_path / "a" / "b" / "c", "{{include_text('link.yaml')}}\n" + PROBLEM))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("C: 64", "C: 0", "line 3: problem 'shapes': size of C is 0"),
        ("C: 64, ", "", "line 3: problem 'shapes': dimension 'C' has no size in instance"),
        ("Wstride: 2", "Wstride: -2", "line 3: problem 'shapes': coefficient Wstride is -2"),
        ("dimensions: [C, M, R, S, N, P, Q]", "dimensions: 3", "line 6: problem 'shapes': dimensions is 3"),
        ("[[C]], [[M]], [[R]], [[S]]", "[[C]], [[M]], [[R]]", "dimension S of size 5 indexes Inputs only"),
        ("[[C]], [[M]], [[R]], [[S]]", "[[C]], [[M]], [[R]], S", "the projection of 'Weights' is not of the form"),
        ("[[C]], [[M]], [[R]], [[S]]", "[[C]], [[M]], [[R]], [[S, Vstride]]", "the projection of 'Weights' is not"),
        ("read_write: true", "read_write: false", "3 data spaces are read and 0 have read_write"),
        ("  - {name: Hstride, default: 1}", "  - Hstride", "a coefficient is 'Hstride'"),
        ("  shape:\n", "  shap:\n", "line 1: problem 'shapes': shape is missing"),
        ("[S, Hdilation]", "[S, Hdilation], [M]", "Inputs is indexed by"),
    ],
)
def test_refusals_of_timeloop_name_the_key(tmp_path, old, new, said):
    assert PROBLEM.count(old) == 1
    with pytest.raises(InputError) as error:
        load(written(tmp_path, PROBLEM.replace(old, new)))
    assert said in str(error.value)


def test_a_folder_with_something_else(tmp_path):
    (tmp_path / "a.yaml").write_text(PROBLEM)
    (tmp_path / "b.yaml").write_text("layers: []\n")
    with pytest.raises(InputError, match=r"b.yaml is no Timeloop problem"):
        load(str(tmp_path))


DIMENSIONS = {"group": "xwy", "m": "xy", "n": "wy", "k": "xw"}


@given(st.lists(st.tuples(st.sampled_from(sorted(DIMENSIONS)), st.integers(1, 9)), min_size=1, max_size=7))
def test_a_nest_without_axes_is_what_its_dimensions_say(given_dimensions):
    roles = {f"d{i}": role for i, (role, _) in enumerate(given_dimensions)}
    extents = {f"d{i}": size for i, (_, size) in enumerate(given_dimensions)}
    indices = {
        operand: tuple(((name, 1),) for name, role in roles.items() if operand in DIMENSIONS[role]) for operand in "xwy"
    }
    site = site_of(Nest(name="nest", sizes=extents, **indices))
    product = {role: math.prod(extents[name] for name in roles if roles[name] == role) for role in DIMENSIONS}
    assert sizes(site) == (product["group"], product["m"], product["k"], product["n"])
    assert site.macs == math.prod(extents.values())


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 5)] * 9))
def test_a_convolution_agrees_with_loops_that_count(numbers):
    batch, groups, k, c, outputs, kernel, stride, dilation, other = numbers
    nest = Nest(
        name="conv",
        sizes={"b": batch, "g": groups, "k": k, "c": c, "o": outputs, "f": kernel, "p": other},
        x=((("b", 1),), (("g", 1),), (("c", 1),), (("o", stride), ("f", dilation)), (("p", 1),)),
        w=((("g", 1),), (("k", 1),), (("c", 1),), (("f", 1),)),
        y=((("b", 1),), (("g", 1),), (("k", 1),), (("o", 1),), (("p", 1),)),
    )
    site = site_of(nest)
    assert site.macs == math.prod(nest.sizes.values())
    read = {stride * o + dilation * f for o in range(outputs) for f in range(kernel)}
    assert site.conv.input_size == (max(read) + 1,)
    assert site.x_elements >= batch * groups * c * other * len(read)
    assert (site.m, site.conv.channels) == (batch * other * outputs, groups * c)


@pytest.mark.parametrize("text", [TOPOLOGY, CONV, PROBLEM], ids=["scalesim", "zigzag", "timeloop"])
def test_sites_have_operands_of_their_shape(tmp_path, text):
    network = load(written(tmp_path, text), distribution="gaussian")
    for site, view, _ in synthetic_calls(network, {}):
        assert view.site(site.name).macs == site.macs


def test_a_topology_is_simulated(tmp_path):
    path = written(tmp_path, TOPOLOGY)
    found = bitwright.simulate(path, "int8", "systolic-os")
    assert found.cost.macs_dense == 110 * 110 * 147 * 64 + 54 * 28 * 192 * 32 + 1024 * 1000
    assert any("hangs over" in note for note in found.notes)


FRONT_END = "{{include_text('base.yaml')}}\n" + PROBLEM.replace("  version: 0.4\n", "  <<<: *base\n")
ALPHABET = [
    b"\0",
    b"\xff",
    b"-",
    b"0",
    b"9" * 30,
    b"[",
    b"]",
    b"{",
    b"}",
    b":",
    b",",
    b"\n",
    b"*",
    b"&a ",
    b"<<",
    b"!!x",
    b"#",
    b" ",
]


@pytest.mark.parametrize("text", [TOPOLOGY, "a,1,2,3\nb,4,5,6\n", CONV, PROBLEM, FRONT_END], ids=range(5))
def test_mutated_files_are_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "base.yaml").write_text("base: &base {version: 0.4, shape: {name: other}}\n")
    chance = random.Random(18)  # noqa: S311
    content, path, refused = text.encode(), tmp_path / "mutated", []
    for _ in range(250):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(changed) + 1)
            kind = chance.randrange(4)
            if kind == 0:
                changed[at : at + 1] = chance.choice(ALPHABET)
            elif kind == 1:
                del changed[at : at + chance.randint(1, 40)]
            elif kind == 2:
                changed[at:at] = changed[chance.randrange(len(changed) + 1) :][: chance.randint(1, 60)]
            else:
                del changed[at:]
        path.write_bytes(changed)
        try:
            network = shape_files.build(str(path))
        except InputError as error:
            refused.append(str(error))
        else:
            assert all(site.macs > 0 for site in network.sites)
    assert len(refused) > 50
    assert all("\n" not in each and len(each) < 1000 for each in refused)


@pytest.mark.parametrize(
    "text",
    [
        "- " * 3000 + "1",
        "[" * 5000,
        "a: &b0 [1]\n" + "\n".join(f"c{i}: &b{i + 1} [*b{i}, *b{i}]" for i in range(40)),
        "problem: &p {shape: *p}",
        "- {operator_type: Conv, equation: '" + "O[a]" * 5000 + "', loop_dims: [A], loop_sizes: [1]}",
        "- {operator_type: Conv, equation: x, loop_dims: [A], loop_sizes: [0x" + "F" * 20000 + "]}",
        "problem: {shape: cnn_layer, instance: {R: 0x" + "F" * 20000 + "}}",
        "name,M,K,N\n" + '"' * 1001 + "x" * 200000,
        "name,M,K,N\na,1,2," + "9" * 100000,
    ],
    ids=range(9),
)  # fmt: skip
def test_hostile_files(tmp_path, text):
    with pytest.raises(InputError) as error:
        load(written(tmp_path, text))
    assert len(str(error.value)) < 600


def test_deep_merging_goes_below_what_is_written():
    above = [("base", "base: &base {a: {x: 1, y: {z: 2}}, b: 3}\n")]
    document = strict_yaml.parse("top:\n  <<<: *base\n  a: {y: {w: 4}, x: 5}\n", file="own", above=above)
    assert document.data == {"top": {"a": {"x": 5, "y": {"z": 2, "w": 4}}, "b": 3}}
    assert document.where(("top", "a")) == "own, line 3"
