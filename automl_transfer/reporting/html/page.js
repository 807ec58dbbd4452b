"use strict";
(() => {
  const root = document.documentElement;
  const { figures, words } = JSON.parse(document.getElementById("data").textContent);
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const touch = matchMedia("(pointer: coarse)").matches;

  function themed(layout) {
    const ink = css("--muted"), grid = css("--grid");
    const changes = {
      "font.color": ink,
      "hoverlabel.bgcolor": css("--raised"), "hoverlabel.bordercolor": css("--line"),
      "hoverlabel.font.color": css("--ink"),
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) {
        changes[key + ".gridcolor"] = grid;
        changes[key + ".tickcolor"] = grid;
        changes[key + ".linecolor"] = grid;
        changes[key + ".title.font.color"] = ink;
      }
    }
    changes["modebar.bgcolor"] = "rgba(0,0,0,0)";
    changes["modebar.color"] = ink;
    changes["modebar.activecolor"] = css("--ink");
    return changes;
  }

  function put(target, dotted, value) {
    const keys = dotted.split(".");
    const last = keys.pop();
    for (const key of keys) target = target[key] ??= {};
    target[last] = value;
  }

  // Plotly writes dark or light on a cell by the cell's colour, and takes what is translucent to lie on white.
  const CLEAR = /^rgba\(128, ?128, ?128/;
  const clear = {};
  for (const [name, { data }] of Object.entries(figures)) {
    clear[name] = data.flatMap((trace, at) => (trace.type === "heatmap" && Array.isArray(trace.colorscale)
      ? trace.colorscale.flatMap(([, colour], place) => (CLEAR.test(colour) ? [[at, place]] : [])) : []));
  }
  function covered(name) {
    for (const [at, place] of clear[name]) figures[name].data[at].colorscale[place][1] = css("--raised");
  }

  const drawn = new Set();
  function draw(place) {
    const name = place.dataset.figure;
    if (drawn.has(name)) return;
    drawn.add(name);
    const { data, layout } = figures[name];
    for (const trace of data) {
      if (trace.meta === "trials") trace.text = trace.customdata.map((number) => words[number]);
    }
    for (const [key, value] of Object.entries(themed(layout))) put(layout, key, value);
    covered(name);
    if (touch) layout.dragmode = false;
    if (place.clientWidth < 520 && layout.legend) layout.legend.font = { size: 11 };
    Plotly.newPlot(place, data, layout, {
      responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d", "zoom2d"],
    });
    place.dataset.drawn = "yes";
    if (drawn.size === places.length) root.dataset.drawn = "all";
  }

  const places = [...document.querySelectorAll("[data-figure]")];
  const drawAll = () => places.forEach(draw);
  if (!places.length) root.dataset.drawn = "all";
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watch.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "300px" });
  places.forEach((place) => watch.observe(place));
  const later = window.requestIdleCallback ?? ((work) => setTimeout(work, 60));
  addEventListener("load", function rest() {
    const next = places.find((place) => !drawn.has(place.dataset.figure));
    if (next) later(() => { draw(next); rest(); });
  });

  const toggle = document.querySelector(".toggle");
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  function recolour() {
    for (const place of places) {
      const name = place.dataset.figure;
      if (!drawn.has(name)) continue;
      covered(name);
      Plotly.relayout(place, themed(place.layout));
      for (const [at] of clear[name]) Plotly.restyle(place, { colorscale: [figures[name].data[at].colorscale] }, [at]);
    }
    toggle.textContent = isDark() ? "Light" : "Dark";
    toggle.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
  }
  toggle.hidden = false;
  toggle.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; recolour(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  recolour();

  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    drawAll();
    recolour();
    places.forEach((place) => Plotly.relayout(place, { width: 660 }));
    document.querySelectorAll("details").forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before; else delete root.dataset.theme;
    recolour();
    places.forEach((place) => Plotly.relayout(place, { width: null, autosize: true }));
  });

  for (const button of document.querySelectorAll(".unfold")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      document.getElementById(button.dataset.table).classList.remove("folded");
      button.remove();
    });
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.dataset.plain !== undefined) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
        const compare = (a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          const number = Number(x) - Number(y);
          return (down ? -1 : 1) * (Number.isNaN(number) ? x.localeCompare(y) : number);
        };
        body.append(...[...body.rows].sort(compare));
      });
    });
  }
})();
