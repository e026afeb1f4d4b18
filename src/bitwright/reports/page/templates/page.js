"use strict";
(() => {
  const root = document.documentElement;
  const palette = ["#3f8ae0", "#e07b39", "#2f9e77", "#c2549d", "#b59a1c", "#9b6dd7", "#3fa9b5", "#d9534f", "#a0714f", "#7f8793"];
  const narrow = () => window.innerWidth < 600;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "%": "&#37;" };
  const escaped = (text) => text.replace(/[&<>$%]/g, (each) => escapes[each]);
  const drawings = new Map();

  function themed(layout) {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const made = structuredClone(layout);
    made.paper_bgcolor = made.plot_bgcolor = "rgba(0,0,0,0)";
    made.font = { family: getComputedStyle(document.body).fontFamily, size: narrow() ? 10 : 12, color: colour("--ink") };
    made.hoverlabel = { bgcolor: colour("--raised"), bordercolor: colour("--line"), font: { color: colour("--ink") } };
    for (const key of ["xaxis", "yaxis"]) {
      const axis = (made[key] = { ...made[key] });
      axis.gridcolor = colour("--grid");
      axis.zerolinecolor = axis.linecolor = colour("--line");
      axis.fixedrange = narrow();
      if (axis.minor) axis.minor.gridcolor = colour("--grid");
    }
    for (const note of made.annotations || []) {
      note.font = { ...note.font, color: colour("--ink") };
      note.arrowcolor = colour("--faint");
    }
    return made;
  }

  // On a phone names of rows stand above the rows, which have the whole width then.
  function above(data, layout) {
    const [row, free] = [40, 18];  // pixels: from row to row, and between two of them
    const [values, names] = [layout.yaxis.tickvals, layout.yaxis.ticktext];
    layout.yaxis = { ...layout.yaxis, automargin: false, showticklabels: false, ticks: "" };
    layout.margin = { ...layout.margin, l: 10 };
    layout.height = layout.margin.t + layout.margin.b + row * values.length;
    layout.bargap = free / row;
    for (const trace of data) if (trace.type === "heatmap") trace.ygap = free;
    layout.annotations = values.map((y, i) => ({
      text: names[i], xref: "paper", x: 0, xanchor: "left", y, yanchor: "bottom", yshift: (row - free) / 2 - 1,
      showarrow: false, borderpad: 0, font: { color: layout.font.color },
    }));
  }

  // On a phone: legends of two columns below the picture, which grows by them; colour bars below, too.
  function narrowed(data, layout) {
    if (layout.margin) layout.margin = { ...layout.margin, l: Math.min(layout.margin.l, 46), r: 16 };
    if (layout.yaxis.ticktext) above(data, layout);
    const named = data.filter((trace) => trace.type !== "heatmap" && trace.showlegend !== false);
    if (layout.legend && named.length > 1) {
      const short = Math.max(...named.map((trace) => trace.name.length)) < 20;
      const lines = short ? Math.ceil(named.length / 2) : named.length;
      const room = 17 * lines;
      const height = layout.height;
      layout.height = height + room;
      layout.margin.b = 50 + room;
      layout.legend = {
        orientation: "h", xref: "container", x: 0.03, yref: "container", y: 0, yanchor: "bottom", traceorder: "normal",
        itemsizing: "constant", ...(short ? { entrywidth: 0.45, entrywidthmode: "fraction" } : {}),
      };
    }
    for (const trace of data) {
      if (trace.type !== "heatmap") continue;
      const below = { orientation: "h", y: 0, yanchor: "bottom", yref: "container", thickness: 10, x: 0.5, lenmode: "pixels", len: 240, xref: "container" };
      trace.colorbar = { ...trace.colorbar, ...below };
      layout.height += 90 - layout.margin.b;
      layout.margin.b = 90;
    }
  }

  function draw(element, figure) {
    drawings.set(element, figure);
    const settings = { responsive: true, displaylogo: false, displayModeBar: narrow() ? false : "hover" };
    const [data, layout] = [structuredClone(figure.data), themed(figure.layout)];
    if (narrow()) narrowed(data, layout);
    Plotly.react(element, data, layout, settings);
  }

  for (const element of document.querySelectorAll("[data-figure]")) draw(element, read(element.dataset.figure));
  for (const group of document.querySelectorAll("[data-figures]")) {
    const figures = read(group.dataset.figures);
    const select = group.querySelector("select");
    const show = () => draw(group.querySelector(".plot"), figures[Number(select.value)]);
    select.addEventListener("change", show);
    show();
  }

  const sum = (lists, i) => lists.reduce((total, list) => total + (list[i] ?? 0), 0);

  function bars(layers, shown, beside, kind) {
    const sites = layers.sites.map(escaped);
    const layout = {
      height: 420, margin: { l: 60, r: 20, t: 10, b: 40 }, hovermode: "closest", bargap: 0.15,
      barmode: kind === "cycles" ? "group" : "stack",
      legend: { orientation: "h", yanchor: "bottom", y: 1.02, x: 0, traceorder: "normal" },
      xaxis: { type: "category", range: [-0.5, sites.length - 0.5], showticklabels: false, title: { text: `${sites.length} sites in the order of execution (hover for names)` } },
      yaxis: { title: { text: kind === "cycles" ? "cycles" : `energy [${layers.unit}]` }, tickformat: "," },
    };
    if (kind === "cycles") {
      const points = shown === beside ? [shown] : [shown, beside];
      const data = points.map((point, i) => ({
        type: "bar", name: point.short, x: sites, y: point.cycles, marker: { color: palette[i ? 9 : 0] },
        hovertemplate: "%{x}<br>%{y:,} cycles<extra>" + point.short + "</extra>",
      }));
      return { data, layout };
    }
    const data = Object.entries(shown.energy).map(([part, values], i) => ({
      type: "bar", name: escaped(part.replace(/_/g, " ")), x: sites, y: values,
      marker: { color: palette[i % palette.length] }, hovertemplate: `%{x}<br>%{y:.3~g} ${layers.unit}<extra>` + escaped(part) + "</extra>",
    }));
    if (shown !== beside) {
      const total = sites.map((_, i) => sum(Object.values(beside.energy), i) || null);
      data.push({
        type: "scatter", mode: "markers", name: "total beside it", x: sites, y: total,
        marker: { symbol: "line-ew-open", size: 9, color: "#8a8f98", line: { width: 2, color: "#8a8f98" } },
        hovertemplate: `%{x}<br>%{y:.3~g} ${layers.unit}<extra>` + beside.short + "</extra>",
      });
    }
    return { data, layout };
  }

  const short = (value) => (value === null ? "-" : Number(value.toPrecision(4)).toLocaleString("en"));

  function fill(table, layers, shown) {
    const headers = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    table.tBodies[0].replaceChildren(...layers.sites.map((site, i) => {
      const energy = shown.cycles[i] === null ? null : sum(Object.values(shown.energy), i);
      const executed = shown.executed[i] === null ? null : 100 * shown.executed[i];
      const row = document.createElement("tr");
      for (const value of [site, layers.shapes[i], shown.types[i] ?? "-", shown.cycles[i], energy, executed]) {
        const cell = row.insertCell();
        cell.dataset.of = headers[row.cells.length - 1];
        const text = typeof value === "string";
        cell.className = text ? "short" : "number";
        cell.textContent = text ? value : short(value);
        if (!text && value !== null) cell.dataset.sort = value;
      }
      return row;
    }));
  }

  for (const group of document.querySelectorAll("[data-layers]")) {
    const layers = read(group.dataset.layers);
    const [shown, beside] = [".shown", ".beside"].map((name) => group.querySelector(name));
    const [cycles, energy] = group.querySelectorAll(".plot");
    const show = () => {
      const [a, b] = [layers.points[shown.value], layers.points[beside.value]];
      draw(cycles, bars(layers, a, b, "cycles"));
      draw(energy, bars(layers, a, b, "energy"));
      fill(group.querySelector("table"), layers, a);
    };
    shown.addEventListener("change", show);
    beside.addEventListener("change", show);
    show();
  }

  const key = (cell) => ("sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim());

  function compare(a, b) {
    if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
    return typeof a === "number" ? -1 : 1;
  }

  for (const table of document.querySelectorAll("table")) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      const numbers = rows.some((row) => "sort" in row.cells[column].dataset);
      const known = (row) => (numbers ? "sort" in row.cells[column].dataset : row.cells[column].textContent.trim() !== "-");
      rows.sort((a, b) => known(b) - known(a) || (down ? -1 : 1) * compare(key(a.cells[column]), key(b.cells[column])));
      table.tBodies[0].append(...rows);
    }));
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const redraw = () => drawings.forEach((figure, element) => draw(element, figure));
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    redraw();
  });
  dark.addEventListener("change", redraw);
  root.dataset.ready = "yes";
})();
