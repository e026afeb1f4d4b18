"""The page: what is in it, that hostile names stay names, and how it behaves in a browser."""

import contextlib
import dataclasses
import html.parser
import json
import shutil
import sys

import pytest
import torch
from tests.toys import normal

import bitwright
from bitwright.methods.plan_file import save_plan
from bitwright.networks.network import Network
from bitwright.reports.page import page_of
from bitwright.reports.page.page import embedded
from bitwright.tasks.calibrate import calibrate_method

HOSTILE = "<script>window.hacked=1</script>"
HOSTILE_SITE = '<img src=x onerror="hacked=1"> %{y} $y$'
HOSTILE_FILE = "<b onclick='window.hacked=1'>&amp;"
HOSTILE_COMMAND = "bitwright compare '</code></script><script>window.hacked=1</script>'"
MACHINES = ["simd", "systolic-ws", "panacea", "apsq"]


LONG = "a plan whose name goes on and on " * 5 + HOSTILE


def hostile():
    """A network whose own name and whose layer's name are HTML."""
    torch.manual_seed(0)
    module = torch.nn.Sequential()
    module.add_module(HOSTILE_SITE, torch.nn.Linear(32, 16))
    module.add_module("second", torch.nn.Linear(16, 8))
    return Network(
        name=HOSTILE,
        kind="tensor",
        module=module.eval(),
        run=lambda module, batch: module(*batch.values()),
        example=lambda shape: {"x": normal(8, 32)},
    )


@pytest.fixture(scope="module")
def frontier(tmp_path_factory):
    network = hostile()
    plan = tmp_path_factory.mktemp("plans") / HOSTILE_FILE
    save_plan(calibrate_method(network, "int8-sym"), plan)
    return bitwright.compare(
        network,
        ["panacea", "combined"],
        MACHINES,
        budget="5%",
        limit=8,
        plans={HOSTILE_FILE: plan},
        command=HOSTILE_COMMAND,
    )


@pytest.fixture(scope="module")
def page(frontier, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(page_of(frontier))
    return file


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A page of a comparison without a budget, with rows that are not supported and a plan of a long, hostile name."""
    network = hostile()
    folder = tmp_path_factory.mktemp("plain")
    save_plan(calibrate_method(network, "int8-sym"), folder / "plan")
    found = bitwright.compare(
        network, ["int8", "aqs", "float"], MACHINES, limit=8, plans={LONG: folder / "plan"}, command=HOSTILE_COMMAND
    )
    (folder / "report.html").write_text(page_of(found))
    return folder / "report.html"


class Elements(html.parser.HTMLParser):
    """Tags with their attributes, and the texts of those that matter."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._inside = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self._inside:
            del self._inside[len(self._inside) - 1 - self._inside[::-1].index(tag) :]

    def handle_data(self, data):
        if self._inside:
            self.texts.setdefault(self._inside[-1], []).append(data)


CONTRAST = """() => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = (text) => {
        const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = light(getComputedStyle(document.body).backgroundColor);
    const texts = "h1, p, li, td, #front-0-0 .xtick text, #front-0-0 .legendtext";
    return [...document.querySelectorAll(texts)].map((element) => {
        const style = getComputedStyle(element);
        const ink = light(element.closest("svg") ? style.fill : style.color);
        return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    });
}"""
"""Contrast of texts with the ground, by WCAG 2's formula."""

FAULTS = """() => {
    const faults = [], edge = 1;  // pixels
    const box = (element) => element.getBoundingClientRect();
    const told = (what, element) => faults.push(`${what}: ${element.textContent.slice(0, 60)}`);
    const shown = (element) => box(element).width > 0;
    if (document.documentElement.scrollWidth > innerWidth) faults.push("the page scrolls sideways");
    for (const element of document.querySelectorAll("h1, h2, h3, p, li, pre, label, select, .card, .scroll, .plot")) {
        if (shown(element) && box(element).right > innerWidth + edge) told("beyond the page", element);
    }
    for (const element of document.querySelectorAll("h1, p:not(.picks), li, .card, td")) {
        if (shown(element) && element.scrollWidth > element.clientWidth + edge) told("wider than its box", element);
    }
    for (const plot of document.querySelectorAll(".plot.js-plotly-plot")) {
        const inside = box(plot), texts = [...plot.querySelectorAll(".main-svg text")].filter(shown);
        for (const text of texts) {
            const own = box(text), apart = edge + 1;
            if (own.left < inside.left - apart || own.right > inside.right + apart ||
                own.top < inside.top - apart || own.bottom > inside.bottom + apart) told(`clipped in ${plot.id}`, text);
        }
        for (const legend of plot.querySelectorAll(".legend")) {
            const room = box(legend.querySelector(".bg"));
            for (const text of legend.querySelectorAll("text")) {
                if (box(text).right > room.right + edge) told(`clipped in a legend of ${plot.id}`, text);
            }
        }
        const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > edge
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > edge;
        for (const group of [".xtick text", ".ytick text", ".legendtext", ".annotation text"]) {
            const own = texts.filter((text) => text.matches(group));
            own.forEach((text, i) => own.slice(i + 1).forEach((other) => {
                if (meet(box(text), box(other))) told(`meets ${other.textContent} in ${plot.id}`, text);
            }));
        }
        const { l, w } = plot._fullLayout._size, from = inside.left + l;
        for (const bar of plot.querySelectorAll(".bars .point path")) {
            const own = box(bar);
            if (own.left < from - edge || own.right > from + w + edge) told(`cut bar in ${plot.id}`, bar);
        }
    }
    return faults;
}"""
"""What lies beyond the page, its box or its picture, and labels of one kind that lie on each other."""

HIDDEN = """(wanted) => {
    const faults = [];
    for (const row of document.querySelectorAll("#points-0 tbody tr")) {
        for (const start of wanted) {
            const cell = [...row.cells].find((each) => each.dataset.of.startsWith(start));
            const own = cell.getBoundingClientRect(), around = cell.closest(".scroll").getBoundingClientRect();
            if (own.right > around.right + 1 || own.left < around.left - 1) faults.push(cell.dataset.of);
        }
    }
    return [...new Set(faults)];
}"""
"""Columns of the table of rows that are to be seen without scrolling to the side, and are not."""


class TestContent:
    def test_one_file_that_loads_nothing(self, page):
        found = Elements(page.read_text())
        assert not [attrs for _, attrs in found.tags if {"src", "action"} & set(attrs)]
        assert [attrs["href"] for _, attrs in found.tags if "href" in attrs] == ["data:,"]
        assert "default-src 'none'" in next(a["content"] for t, a in found.tags if "http-equiv" in a)

    def test_hostile_names_are_text(self, page):
        found = Elements(page.read_text())
        assert not [tag for tag, attrs in found.tags if tag == "img" or any(name.startswith("on") for name in attrs)]
        assert len([tag for tag, _ in found.tags if tag == "b"]) == 0
        assert not any("window.hacked" in text for text in found.texts["script"] if text.lstrip().startswith("window"))
        assert any(HOSTILE in text for text in found.texts["h1"])
        assert HOSTILE_COMMAND in "".join(found.texts["code"])
        assert any(HOSTILE_FILE in text for text in found.texts["td"])

    def test_data_of_pictures_survive(self):
        for name in (HOSTILE, "</script>", "a\u2028b", "&lt;", "ß"):
            text = embedded({"name": name})
            assert json.loads(text) == {"name": name}
            assert not set("<>&\u2028") & set(text)

    def test_words_tables_sources_and_command(self, page, frontier):
        text = page.read_text()
        found = Elements(text)
        cells = set(found.texts["td"])
        for point in frontier.points:
            assert point.row.method in cells
            if point.row.simulation:
                assert {event.source for event in point.row.simulation.cost.events} <= cells
                assert f"{point.row.simulation.cost.cycles:,}" in cells
        said = " ".join(found.texts["li"])
        assert "Least energy: " in said
        assert "lpq+apsq on apsq: refused: integers are needed" in said
        assert "Common substrate" in said

    def test_differences_of_substrates(self):
        found = bitwright.compare("gemm:8x16x8", ["int8"], ["systolic-ws", "simd"], substrate="native")
        cells = Elements(page_of(found)).texts["td"]
        place = cells.index("rows")
        assert cells[place - 1 : place + 3] == ["systolic-ws", "rows", "32", "24"]

    def test_what_costs_a_part_of_a_network_wins_nothing(self):
        """`systolic-ws` runs only the first and last layers of this plan: 6.5 % of the products, for less."""
        shares = {"x_share": 0.8, "w_share": 0.8}
        found = bitwright.compare("resnet18", ["drift"], ["systolic-ws", "drift"], options=shares)
        assert {row.accelerator: row.status for row in found.rows} == {"systolic-ws": "partial", "drift": "ok"}
        costs = [row.simulation.cost.total_energy_pj for row in found.rows]
        assert costs[0] < costs[1]
        said = " ".join(Elements(page_of(found)).texts["li"])
        assert "Least energy: drift on drift" in said
        assert "costs of 6.53 % of the multiply-accumulates, without" in said

    def test_a_dead_network_wins_nothing(self):
        """Two bits of everything: cheaper than eight, and mostly noise."""
        two = {"x_bits": 2, "w_bits": 2, "ends": "same"}
        found = bitwright.compare(hostile(), ["int8"], ["bitfusion"], options=two, limit=8)
        (row,) = found.rows
        assert row.status == "dead"
        assert row.reason.startswith("SQNR is ")
        said = " ".join(Elements(page_of(found)).texts["li"])
        assert "Least energy" not in said
        assert "which is mostly noise" in said

    def test_without_scores_or_costs(self):
        text = page_of(bitwright.compare("gemm:8x16x8", ["int8", "float"], ["systolic-ws"]))
        assert "Least energy: int8 on systolic-ws" in " ".join(Elements(text).texts["li"])
        refused = page_of(bitwright.compare("gemm:8x16x8", ["float"], ["systolic-ws"]))
        said = " ".join(Elements(refused).texts["li"])
        assert "No machine has costs of the whole network at a score above the floor." in said

    @pytest.mark.parametrize(
        ("systems", "machines", "budget", "words"),
        [
            (["panacea"], ["panacea"], 1e-9, "no system has a comparable point whose whole interval keeps"),
            (["panacea"], ["panacea"], 0.5, "no static machine keeps the budget"),
            (["float"], ["lpa"], 0.5, "no system has a comparable point whose whole interval keeps"),
        ],
    )
    def test_nothing_to_win(self, systems, machines, budget, words):
        found = bitwright.compare(hostile(), systems, machines, budget=budget, limit=4)
        assert words in " ".join(Elements(page_of(found)).texts["li"])

    def test_several_networks_have_parts_of_their_own(self):
        found = bitwright.compare(["gemm:8x16x8", "gemm:4x4x4"], ["int8"], ["systolic-ws"])
        headers = Elements(page_of(found)).texts["h2"]
        assert headers[:2] == ["gemm:8x16x8", "gemm:4x4x4"]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra [dev]")
    chromium = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("needs Chromium; on Debian: apt-get install chromium")
    assert sys.platform == "linux"
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclasses.dataclass
class Opened:
    """A page in the browser and what it said to the console or asked of the network."""

    page: object
    said: list

    def count(self, selector):
        return self.page.locator(selector).count()

    def column(self, table, index):
        return self.page.eval_on_selector_all(
            f"#{table} tbody tr", f"rows => rows.map(r => r.cells[{index}].innerText)"
        )


@contextlib.contextmanager
def pages(browser):
    """A function that opens files, whose pages are closed at the end."""
    contexts = []

    def open_(file, *, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        contexts.append(context)
        made = context.new_page()
        said = []
        made.on("console", lambda message: said.append(message.text))
        made.on("pageerror", lambda error: said.append(str(error)))
        made.on("request", lambda request: request.url.startswith("http") and said.append(request.url))
        made.goto(file.as_uri())
        made.wait_for_selector("html[data-ready=yes]", timeout=60_000)
        return Opened(made, said)

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def opened(browser, page):
    with pages(browser) as open_:
        yield lambda file=page, **how: open_(file, **how)


@pytest.fixture(scope="module")
def untouched(browser, page):
    """The page for tests that read, point, and change nothing."""
    with pages(browser) as open_:
        yield open_(page)


class TestBrowser:
    def test_plots_draw_without_a_word_on_the_console(self, untouched):
        found = untouched
        found.page.wait_for_timeout(300)
        plots = found.count(".plot")
        assert plots == 3 + 2 + 1 + 1  # fronts, layers, a heat map, a histogram
        assert found.count(".plot .main-svg .plot") == plots or found.count(".plot.js-plotly-plot") == plots
        assert found.count("#front-0-0 .scatterlayer .trace") == 6  # the front and five systems
        compared = found.count("#cycles-0 .barlayer .trace")  # two points, or one that is best and yardstick at once
        assert compared in (1, 2)
        assert found.count("#cycles-0 .bars .point") == 2 * compared
        assert found.page.evaluate("window.hacked") is None
        assert found.said == []

    def test_other_points_and_maps_can_be_chosen(self, opened):
        found = opened()
        before = found.page.inner_html("#maps-0")
        found.page.select_option("[data-figures=maps-0-data] select", index=1)
        assert found.page.inner_html("#maps-0") != before
        found.page.select_option(".layers .shown", index=0)
        found.page.click(".layers details summary")
        assert found.column("sites-0", 0) == [HOSTILE_SITE, "second"]
        assert found.said == []

    @pytest.mark.parametrize("plot", ["cycles-0", "energy-0"])
    def test_names_are_shown_and_not_obeyed(self, untouched, plot):
        """What a picture says where the mouse is: no element, no value and no formula in place of a name."""
        found = untouched
        found.page.evaluate(f"Plotly.Fx.hover('{plot}', [{{curveNumber: 0, pointNumber: 0}}])")
        found.page.wait_for_selector(f"#{plot} .hoverlayer text")
        assert HOSTILE_SITE in found.page.text_content(f"#{plot} .hoverlayer")
        assert found.page.evaluate("window.hacked") is None
        assert found.said == []

    def test_tables_sort_both_ways(self, opened, frontier):
        found = opened()
        cycles = sorted(point.row.simulation.cost.cycles for point in frontier.points if point.row.simulation)
        header = found.page.locator("#points-0 th", has_text="cycles")
        column = header.evaluate("cell => cell.cellIndex")
        for expected, direction in ((cycles, "ascending"), (cycles[::-1], "descending")):
            header.locator("button").click()
            shown = found.column("points-0", column)
            assert [int(text.replace(",", "")) for text in shown[: len(cycles)]] == expected
            assert header.get_attribute("aria-sort") == direction
        found.page.locator("#points-0 th", has_text="accelerator").locator("button").click()
        names = found.column("points-0", 2)
        assert names == sorted(names)

    def test_a_phone_scrolls_down_only(self, opened):
        found = opened(width=390, scheme="dark")
        found.page.wait_for_timeout(200)
        assert found.page.evaluate("document.documentElement.scrollWidth") == 390
        widths = found.page.evaluate("[...document.querySelectorAll('.plot')].map((plot) => plot.scrollWidth)")
        assert max(widths) <= 390
        assert found.said == []

    @pytest.mark.parametrize(
        ("kind", "width", "scheme"),
        [("plain", 1280, "light"), ("plain", 390, "dark"), ("page", 1280, "dark"), ("page", 390, "light")],
    )
    def test_nothing_is_clipped(self, opened, request, kind, width, scheme):
        found = opened(width=width, scheme=scheme, file=request.getfixturevalue(kind))
        for details in found.page.query_selector_all("details:not([open]) > summary"):
            details.click()
        for select in found.page.query_selector_all("select"):  # the last of all maps and histograms
            select.evaluate(
                "each => { each.selectedIndex = each.length - 1; each.dispatchEvent(new Event('change')); }"
            )
        found.page.wait_for_timeout(300)
        assert found.page.evaluate(FAULTS) == []
        seen = ["status", "energy [", "latency [", "loss [%]" if kind == "page" else "score"]
        assert found.page.evaluate(HIDDEN, seen) == []
        assert found.page.evaluate("window.hacked") is None
        assert found.said == []

    def test_every_row_has_its_status(self, opened, untouched, plain, frontier):
        found = opened(file=plain)
        assert set(found.column("points-0", 3)) == {"ok", "unsupported"}
        assert untouched.column("points-0", 3) == [point.row.status for point in frontier.points]

    def test_axes_have_plain_numbers_in_the_unit_of_the_table(self, untouched):
        found = untouched
        for plot in ("front-0-0", "front-0-1", "front-0-2"):
            title = found.page.text_content(f"#{plot} .xtitle")
            unit = title[title.index("[") :]
            headers = found.page.eval_on_selector_all("#points-0 th", "all => all.map(each => each.innerText)")
            assert any(header.replace("\n", " ").endswith(unit) for header in headers), (title, headers)
            labels = found.page.eval_on_selector_all(f"#{plot} .xtick text", "all => all.map(each => each.textContent)")
            assert len(labels) >= 2
            assert all(float(label.replace(",", "")) > 0 for label in labels)

    def test_both_schemes_can_be_read(self, opened):
        found = opened(scheme="dark")
        for dark in (True, False):
            assert min(found.page.evaluate(CONTRAST)) >= 4.5  # WCAG 2, level AA
            ground = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, ground[4:-1].split(","))) < 384) is dark
            found.page.click("#theme")
            found.page.wait_for_timeout(200)
        assert found.said == []
