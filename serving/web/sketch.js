/**
 * A quick drawing of the map in SVG: there at once, while MapLibre starts, and the map itself where there is no WebGL.
 * It lies exactly where the map will lie, so that nothing jumps when the map takes over.
 */

import { changeColour, onScheme, pageColour, valueColour } from "./colours.js";
import { nameOf } from "./timeline.js";

const SVG = "http://www.w3.org/2000/svg", CLOSEST = 512 * 2 ** 15; // pixels of the world at MapLibre's zoom 15
const RADIUS = 10, LEAST_SPAN = 1e-6;

const mercator = ([lon, lat]) =>
  [lon / 360 + 0.5, 0.5 - Math.log(Math.tan(Math.PI / 4 + lat * Math.PI / 360)) / (2 * Math.PI)];

function shape(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

/** Makes the drawing in `host`, with the methods of the map. */
export function makeSketch(host, choose, padding) {
  const svg = shape("svg", { class: "sketch", "aria-hidden": "true" });
  const [land, streets, changed, dots] = ["land", "streets", "changed", "dots"].map((name) => shape("g", { class: name }, svg));
  const held = { areas: null, edges: null, change: null };
  let timeline = null, chosen = null, nodes = [], step = 0, place = null;
  host.prepend(svg);

  /** From degrees to pixels, so that these points fill what the panels leave free. */
  function fitted(points) {
    const all = points.map(mercator), { left, right, top, bottom } = padding();
    const [xs, ys] = [0, 1].map((axis) => all.map((at) => at[axis]));
    const box = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const free = [host.clientWidth - left - right, host.clientHeight - top - bottom];
    const scale = Math.min(CLOSEST, free[0] / Math.max(LEAST_SPAN, box[1] - box[0]), free[1] / Math.max(LEAST_SPAN, box[3] - box[2]));
    const middle = [left + free[0] / 2, top + free[1] / 2], centre = [(box[0] + box[1]) / 2, (box[2] + box[3]) / 2];
    return (at) => mercator(at).map((value, axis) => middle[axis] + scale * (value - centre[axis]));
  }

  const path = (lines, end = "") => lines.map((line) => `M${line.map((at) => place(at).map((v) => v.toFixed(1)).join(" ")).join("L")}${end}`).join("");

  function draw() {
    const placed = timeline?.features.map(({ lon, lat }) => (lon === null || lat === null ? null : [lon, lat])) ?? [];
    const points = held.change?.flatMap(({ line }) => line) ?? placed.filter(Boolean);
    if (!points.length) return;
    place = fitted(points);
    land.replaceChildren(...(held.areas?.features ?? []).map(({ geometry }) => shape("path", { d: path(geometry.coordinates.flat(), "Z") })));
    streets.replaceChildren(shape("path", { d: held.change ? "" : path(held.edges?.geometry.coordinates ?? []) }));
    changed.replaceChildren(...(held.change ?? []).map(({ line, share }) => shape("path", { d: path([line]),
      stroke: changeColour(share), "stroke-width": 2 + 4 * Math.abs(share) })));
    nodes = held.change ? [] : placed.map((at, i) => {
      if (!at) return null;
      const [cx, cy] = place(at), halo = shape("circle", { cx, cy, class: "halo" }), dot = shape("circle", { cx, cy, r: RADIUS });
      dot.append(Object.assign(shape("title", {}), { textContent: nameOf(timeline.features[i]) }));
      dot.addEventListener("click", () => choose(i));
      return { halo, dot };
    });
    dots.replaceChildren(...nodes.flatMap((node) => (node ? [node.halo, node.dot] : [])));
    colour();
  }

  function colour() {
    const { low, high, value, width } = timeline;
    nodes.forEach((node, i) => {
      if (!node) return;
      const here = value(i, step), known = Number.isFinite(here), fill = known ? valueColour((here - low) / (high - low)) : pageColour("gap");
      node.dot.setAttribute("fill", fill);
      node.dot.classList.toggle("chosen", i === chosen);
      node.halo.setAttribute("fill", fill);
      node.halo.setAttribute("r", known ? Math.min(32, RADIUS + 40 * width(i, step) / (high - low)) : 0);
    });
  }

  const watch = new ResizeObserver(draw);
  watch.observe(host);
  onScheme(() => { if (timeline) colour(); });

  return {
    show(next, node = null) {
      [timeline, chosen, held.edges] = [next, node, null];
      draw();
    },
    paint(at) {
      step = at;
      if (timeline) colour();
    },
    mark(node) {
      chosen = node;
      if (timeline) colour();
    },
    setEdges(feature) { held.edges = feature; draw(); },
    setAreas(areas) { held.areas = areas; draw(); },
    setChange(lines) { held.change = lines; draw(); },
    remove() { watch.disconnect(); svg.remove(); },
  };
}
