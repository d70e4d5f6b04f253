/** The list of all places, which is the map for those who do not use one, and the panel of the chosen place. */

import { make } from "./api.js";
import { onScheme, valueColour } from "./colours.js";
import { duration, percent, say, unitOf, warned } from "./language.js";
import { bandName, drawChart, viewOf } from "./chart.js";
import { nameOf } from "./timeline.js";

const MOST_ROWS = 400;

/** Makes the panel in `host`. `choose(node)` hears a place, null goes back; `go(step)` a moment. */
export function makePlaces(host, choose, go) {
  let timeline = null, node = null, step = 0, chart = null, view = null, rows = [], sought = "";
  onScheme(() => { chart?.redraw(); paintList(); });

  function paintList() {
    for (const { i, value, range, dot } of rows) {
      const here = timeline.value(i, step), ahead = step >= timeline.split;
      const level = Number.isFinite(here) ? timeline.reached(i, step) : 0;
      value.textContent = timeline.number(here);
      if (level) value.prepend(make("span", { className: "mark", textContent: level,
        title: say("legend_mark"), role: "img", ariaLabel: say("legend_mark") }), " ");
      range.textContent = ahead ? `${timeline.number(timeline.at(i, "0.1", step))} – ${
        timeline.number(timeline.at(i, "0.9", step))}` : "";
      dot.style.background = Number.isFinite(here) ?
        valueColour((here - timeline.low) / (timeline.high - timeline.low)) : "transparent";
    }
  }

  function drawList() {
    const fill = (body) => {
      const order = timeline.features.map((feature, i) => ({ i, name: nameOf(feature) }))
        .filter(({ name }) => name.toLowerCase().includes(sought.toLowerCase()))
        .sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })).slice(0, MOST_ROWS);
      rows = order.map(({ i, name }) => {
        const dot = make("i", { className: "dot" }), value = make("td"), range = make("td", { className: "quiet" });
        const button = make("button", { type: "button", className: "link", onclick: () => choose(i) }, dot, name);
        return { i, value, range, dot, row: make("tr", {}, make("th", { scope: "row" }, button), value, range) };
      });
      body.replaceChildren(...rows.map(({ row }) => row));
      none.hidden = rows.length > 0;
      paintList();
    };
    const none = make("p", { className: "quiet", hidden: true, textContent: say("none_found") });
    const body = make("tbody"), heads = ["place", "value", "range"].map((key) => make("th", { scope: "col" }, say(key)));
    const find = make("input", { type: "search", id: "find", value: sought, placeholder: say("find"), ariaLabel: say("find"),
      oninput: () => { sought = find.value; fill(body); } });
    host.replaceChildren(make("p", { className: "quiet hint" }, say("list_hint")),
      ...(timeline.features.length > 12 ? [find] : []),
      make("table", { className: "list" }, make("caption", { className: "unseen" }, say("list_caption")),
        make("thead", {}, make("tr", {}, ...heads)), body), none, ...warnings());
    fill(body);
  }

  const warnings = () => (timeline.forecast.warnings ?? []).map((text) => make("p", { className: "note" }, warned(text)));

  function sentence() {
    const { number, split, clock, forecast, times } = timeline, unit = unitOf(forecast.unit);
    const value = timeline.value(node, step);
    const [low, high] = ["0.1", "0.9"].map((level) => number(timeline.at(node, level, step)));
    const between = say("between", { low, high });
    const said = !Number.isFinite(value) ? say("said_gap") :
      say(step < split ? "said_observed" : low === "–" ? "said_alone" : "said_forecast", { value: number(value), unit, between });
    return [make("b", {}, clock.moment(times[step])), ": ", said];
  }

  /** The chance that each threshold is reached within the horizon, in words and as a bar. */
  function chances({ exceedance }, { number, forecast }) {
    const every = Object.entries(exceedance ?? {});
    if (!every.length) return [];
    const span = duration((Date.parse(forecast.valid_times.at(-1)) - timeline.init) / 1000);
    const row = ([name, { level, unit, within_horizon: chance, tail, text }]) => {
      const words = say("chance", { k: name.slice(-1), level: number(level), unit: unitOf(unit), span });
      const bound = text.match(/^([<>]) (\d+) %/); // no more is said than the trained quantiles tell
      const shown = chance === null ? say("unknown") : bound ? `${bound[1]} ${percent(bound[2] / 100)}` : percent(chance);
      const bar = make("i", { className: "bar" });
      bar.style.setProperty("--share", chance ?? 0);
      return make("li", {}, make("span", {}, words), make("b", {}, shown), bar,
        ...(tail && !bound ? [make("small", { className: "quiet" }, say("tail"))] : []));
    };
    return [make("h3", {}, say("chances")), make("ul", { className: "chances" }, ...every.map(row))];
  }

  function table() {
    const { number, clock, forecast, feature, shown, columns, seen, x, split } = view;
    const order = shown.map((level, i) => [level, columns[i]]).sort(([a], [b]) => a - b);
    const heads = [say("moment"), ...order.map(([level]) => (level === 0.5 ? say("median") : percent(level))), say("observed")];
    const row = (at, i) => make("tr", {}, make("th", { scope: "row" }, clock.moment(at * 1000)),
      ...[...order.map(([, values]) => values), seen].map((values) => make("td", {}, number(values[i] ?? NaN))));
    const made = Array.from(x, row), caption = say("table_caption",
      { place: nameOf(feature), unit: unitOf(forecast.unit), zone: forecast.timezone });
    return make("div", { className: "scroll", role: "region", tabIndex: 0, ariaLabel: caption },
      make("table", {}, make("caption", {}, caption),
        make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)))),
        make("tbody", {}, ...made.slice(split), ...made.slice(0, split).reverse())));
  }

  function legend() {
    const key = (className, text) => make("li", {}, make("i", { className }), text);
    return make("ul", { className: "keys", ariaLabel: say("legend") }, key("observed", say("observed")),
      key("median", say("median")), ...view.bands.map(([a, b]) =>
        key(bandName(a), say("tenths", { n: Math.round(10 * (b - a)) }))).reverse());
  }

  function drawPlace() {
    view = viewOf(timeline, node);
    const { feature } = view, title = make("h2", { tabIndex: -1 }, nameOf(feature));
    const plot = make("div", { className: "chart", role: "img", ariaLabel: say("chart", { place: nameOf(feature) }) });
    const words = make("p", { className: "sentence" }, ...sentence());
    const details = make("details", {}, make("summary", {}, say("table")), make("p", { className: "quiet hint" }, say("table_hint")));
    details.addEventListener("toggle", () => details.children.length < 3 && details.append(table()));
    host.replaceChildren(make("button", { type: "button", className: "back", onclick: () => choose(null) }, say("back")),
      title, ...(feature.area && !nameOf(feature).includes(feature.area) ? [make("p", { className: "quiet" }, feature.area)] : []),
      words, plot, legend(), ...chances(feature, timeline), details);
    chart = drawChart(plot, view, () => step, go);
    return title;
  }

  const draw = () => {
    chart = chart?.destroy() ?? null;
    return node === null ? drawList() : drawPlace();
  };

  return {
    /** Shows a dataset's places, one of them open where said. */
    show(next, at, opened = null) {
      [timeline, step, node, sought] = [next, at, opened, ""];
      draw();
    },
    /** Shows one place, or the list. */
    select(next) {
      const before = node;
      node = next;
      const title = draw();
      if (next !== null) title.focus({ preventScroll: true });
      else if (before !== null) rows.find(({ i }) => i === before)?.row.querySelector("button").focus();
    },
    /** Moves to another moment. */
    paint(at) {
      step = at;
      if (node === null) return paintList();
      host.querySelector(".sentence").replaceChildren(...sentence());
      chart.redraw();
    },
  };
}
