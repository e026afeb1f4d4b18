"""The page is assembled: words first, then pictures, tables, prices and their sources, and how it was made.

Everything is in the one file: styles, script, plotly's library and the data of the pictures. The browser is told to
load nothing. Names from files and networks are escaped by the template, or by `embedded` where they are data.
"""

import json
from typing import Any

from bitwright.reports.files import plain
from bitwright.reports.page import figures, layers, prose, tables
from bitwright.studies.compare import Comparison
from bitwright.studies.frontier import Frontier

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def page_of(result: Comparison | Frontier) -> str:
    """The page's text."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bitwright.reports.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def own(name: str) -> Markup:
        """A file of this package's, as it is."""
        assert environment.loader is not None
        return Markup(environment.loader.get_source(environment, name)[0])  # noqa: S704

    return environment.get_template("page.html.j2").render(
        **_context(result),
        css=own("page.css"),
        js=own("page.js"),
        plotly=Markup(get_plotlyjs()),  # noqa: S704
        embedded=lambda value: Markup(embedded(value)),  # noqa: S704
    )


def embedded(value: Any) -> str:
    r"""JSON that can stand inside a script element whatever names are in it.

    Examples
    --------
    >>> embedded({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return text


def _context(result: Comparison | Frontier) -> dict[str, Any]:
    comparison = result if isinstance(result, Comparison) else result.comparison
    frontier = None if isinstance(result, Comparison) else result
    names = list(dict.fromkeys(row.network for row in comparison.rows))
    return {
        "title": prose.title(result),
        "lead": prose.lead(result),
        "budgeted": frontier is not None,
        "networks": [_network(name, comparison, frontier) for name in names],
        "assumptions": prose.assumptions(result),
        "prices": tables.prices(comparison.rows),
        "areas": tables.areas(comparison.rows),
        "substrate": tables.differences(comparison.substrate),
        "substrate_words": prose.substrate(comparison.substrate),
        "parameters": tables.parameters(comparison.parameters),
        "provenance": comparison.provenance,
    }


def _network(name: str, comparison: Comparison, frontier: Frontier | None) -> dict[str, Any]:
    rows = [row for row in comparison.rows if row.network == name]
    costed = layers.costed(rows)
    first = (
        [] if frontier is None else [frontier.standings_of(name, "energy")[0].best, frontier.baseline(name, "energy")]
    )
    return {
        "name": name,
        "words": prose.words(name, rows, frontier),
        "samples": prose.samples(rows),
        "cards": [] if frontier is None else prose.cards(frontier, name),
        "standings": [] if frontier is None else tables.standings(frontier, name),
        "fronts": figures.fronts(frontier, name) if frontier is not None else figures.tradeoffs(rows),
        "points": tables.rows(comparison, name)
        if frontier is None
        else tables.points(frontier.points_of(name), frontier.budget),
        "legend": prose.legend(rows, frontier),
        "layers": layers.layers(costed, first),
        "maps": figures.heat_maps(costed),
        "formats": figures.formats(costed),
        "missing": prose.missing(rows, None if frontier is None else frontier.points_of(name)),
    }
