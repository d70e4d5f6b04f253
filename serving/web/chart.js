/** The chart of one node: past, median and bands, thresholds, the moment shown. */

import { pageColour as colour } from "./colours.js";
import { say, unitOf } from "./language.js";
import { BANDS } from "./timeline.js";

const HEIGHT = 225;
export const bandName = (low) => `band${BANDS.findIndex((band) => band[0] === low)}`;
const { uPlot } = window;

/** Joins one node's past and forecast into what the chart and the table show. */
export function viewOf(timeline, node) {
  const { forecast, split, times, observed, number } = timeline;
  const feature = timeline.features[node];
  const quantiles = new Map(Object.entries(feature.quantiles).map(([level, values]) => [Number(level), values]));
  const bands = BANDS.filter((pair) => pair.every((level) => quantiles.has(level)));
  const shown = [...bands.flatMap(([low, high]) => [high, low]), 0.5];
  const before = Array(split).fill(null), after = Array(times.length - split).fill(null);
  const columns = shown.map((level) => [...before, ...(quantiles.get(level) ?? after)]);
  const threshold = (level, i) => ({ value: level, text: say("threshold",
    { k: i + 1, level: number(level), unit: unitOf(forecast.unit) }) });
  const thresholds = (feature.thresholds ?? []).map(threshold).filter(({ value }) => Number.isFinite(value));
  return { ...timeline, node, feature, bands, shown, columns, thresholds, x: times.map((at) => at / 1000),
    seen: [...Array.from(before, (_, t) => observed[node][t] ?? null), ...after] };
}

/** Draws what uPlot has no series for: thresholds, the line at init time, the moment shown. */
function drawMarks({ ctx, bbox, valToPos }, view, step) {
  const { left, top, width, height } = bbox, px = uPlot.pxRatio, right = left + width, bottom = top + height;
  const line = (x0, y0, x1, y1, stroke, dash = []) => {
    ctx.setLineDash(dash.map((length) => length * px));
    Object.assign(ctx, { strokeStyle: colour(stroke), lineWidth: 1.5 * px });
    ctx.stroke(new Path2D(`M${x0} ${y0}L${x1} ${y1}`));
  };
  const write = (text, x, y, fill, textAlign = "left") => {
    Object.assign(ctx, { font: `${12 * px}px system-ui, sans-serif`, textAlign, textBaseline: "bottom",
      lineJoin: "round", lineWidth: 4 * px, strokeStyle: colour("surface"), fillStyle: colour(fill) });
    ctx.setLineDash([]);
    ctx.strokeText(text, x, y);
    ctx.fillText(text, x, y);
  };
  ctx.save(); // uPlot remembers the context's state
  let free = Infinity;
  for (const { value, text } of view.thresholds) { // from the lowest up; one that lies too near the last has no room for words
    const y = valToPos(value, "y", true);
    if (y < top || y > bottom) continue;
    line(left, y, right, y, "threshold", [7, 4]);
    if (y > free) continue;
    write(text, left + 6 * px, y - 2 * px, "threshold");
    free = y - 15 * px;
  }
  const made = valToPos(view.init / 1000, "x", true), x = valToPos(view.x[step], "x", true), above = top - 5 * px;
  if (view.split) {
    line(made, top - 18 * px, made, bottom, "quiet", [2, 3]);
    if (made - left > 70 * px) write(say("observed"), made - 8 * px, above, "quiet", "right");
  }
  write(say("forecast"), made + 8 * px, above, "quiet");
  write(unitOf(view.forecast.unit), 4 * px, above, "quiet");
  line(x, top, x, bottom, "median");
  ctx.restore();
}

/** Draws the chart into `host`; `step()` gives the moment shown, `choose(step)` hears a click on another. */
export function drawChart(host, view, step, choose) {
  const { clock, bands, thresholds } = view;
  const axis = { stroke: () => colour("quiet"), grid: { stroke: () => colour("grid"), width: 1 },
    ticks: { show: false }, font: "12px system-ui" };
  const edge = ([low], i) => ({ points: { show: false }, width: 1, stroke: () => colour(i ? bandName(low) : "edge") });
  const range = (_, low, high) => {
    if (low === null) return [0, 1];
    const top = thresholds.length ? Math.max(high, Math.min(...thresholds.map(({ value }) => value))) : high;
    const bottom = low >= 0 && low < top / 2 ? 0 : low - 0.08 * (top - low || 1);
    return [bottom, top + 0.12 * (top - bottom || 1)];
  };
  const timeLabels = (_, splits) => splits.map((at, i) => {
    const day = clock.short(at * 1000);
    return clock.time(at * 1000) + (i && day === clock.short(splits[i - 1] * 1000) ? "" : `\n${day}`);
  });
  const chart = new uPlot({
    width: host.clientWidth || 320, height: HEIGHT, padding: [24, 30, 0, 0],
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), view.forecast.timezone),
    legend: { show: false }, cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    axes: [{ ...axis, space: 72, size: 46, values: timeLabels }, { ...axis, space: 36, size: 52,
      values: (_, splits) => splits.map((at) => view.number(at)) }],
    scales: { y: { range } }, series: [{}, ...bands.flatMap((band, i) => [edge(band, i), edge(band, i)]),
      { points: { show: false }, width: 2, stroke: () => colour("median") },
      { points: { show: false }, width: 1.75, stroke: () => colour("observed") }],
    bands: bands.map(([low], i) => ({ series: [2 * i + 1, 2 * i + 2], fill: () => colour(bandName(low)) })),
    hooks: { draw: [(u) => drawMarks(u, view, step())] },
  }, [view.x, ...view.columns, view.seen], host);
  chart.over.addEventListener("click", () => chart.cursor.idx !== null && choose(chart.cursor.idx));
  const resize = new ResizeObserver(([{ contentRect: { width } }]) => width && chart.setSize({ width, height: HEIGHT }));
  resize.observe(host);
  return { redraw: () => chart.redraw(false), destroy: () => { resize.disconnect(); chart.destroy(); } };
}
