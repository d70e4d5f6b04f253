/** The map: outlines, streets and nodes of one dataset at one moment, drawn from GeoJSON alone. */

import { LngLatBounds, Map as MapView, Marker, NavigationControl, setWorkerUrl }
  from "./vendor/maplibre/maplibre-gl.mjs";
import { make } from "./api.js";
import { changeColour, onScheme, pageColour, valueColour } from "./colours.js";
import { say, unitOf } from "./language.js";
import { nameOf } from "./timeline.js";

setWorkerUrl(new URL("./vendor/maplibre/maplibre-gl-worker.mjs", import.meta.url).href);
const NONE = { type: "FeatureCollection", features: [] };
const EDGES = { "areas": ["line-color", "outline"], "edges": ["line-color", "street"] };
const NAMED_FROM = 11.3; // nearer, districts' names have room
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const state = (name, otherwise) => ["coalesce", ["feature-state", name], otherwise];
const source = (data, more = {}) => ({ type: "geojson", data, ...more });

const style = () => ({
  version: 8,
  sources: { areas: source(NONE), edges: source(NONE), change: source(NONE, { promoteId: "place" }),
    nodes: source(NONE, { promoteId: "node" }) },
  layers: [
    { id: "ground", type: "background", paint: { "background-color": pageColour("ground") } },
    { id: "land", type: "fill", source: "areas", paint: { "fill-color": pageColour("land") } },
    { id: "areas", type: "line", source: "areas", paint: { "line-color": pageColour("outline"), "line-width": 0.8 } },
    { id: "edges", type: "line", source: "edges", layout: { "line-cap": "round" },
      paint: { "line-color": pageColour("street"), "line-width": 2 } },
    { id: "change", type: "line", source: "change", layout: { "line-cap": "round" },
      paint: { "line-color": ["get", "colour"], "line-width": ["get", "wide"] } },
    { id: "halo", type: "circle", source: "nodes", paint: { "circle-color": state("colour", "#888"),
      "circle-opacity": 0.28, "circle-radius": state("halo", 0) } },
    { id: "nodes", type: "circle", source: "nodes", paint: { "circle-color": state("colour", "#888"),
      "circle-radius": ["case", state("chosen", false), 13, 10], "circle-stroke-color":
      ["case", state("chosen", false), pageColour("ink"), pageColour("rim")],
      "circle-stroke-width": ["case", state("chosen", false), 3, 1.2] } },
  ],
});

const collection = (features) => ({ type: "FeatureCollection", features });
const point = ({ lon, lat }, i) => (lon === null || lat === null ? [] :
  [{ type: "Feature", properties: { node: i }, geometry: { type: "Point", coordinates: [lon, lat] } }]);

/**
 * Makes the map in `host`. `choose(node)` hears a click, `drawn()` that the first nodes are there; `padding()` says what lies
 * over the edges.
 */
export async function makeMap(host, choose, padding, drawn) {
  const map = new MapView({ container: host, style: style(), attributionControl: false, center: [11.343, 44.494],
    zoom: 11, fadeDuration: 0, dragRotate: false, pitchWithRotate: false, maxZoom: 17, validateStyle: false });
  host.felsina = map; // so that a test can ask where a node is drawn
  map.addControl(new NavigationControl({ showCompass: false }), "top-right");
  map.getCanvas().dataset.label = "map"; // in the language chosen
  map.getCanvas().ariaLabel = say("map");
  map.touchZoomRotate.disableRotation();
  await new Promise((resolve) => map.once("style.load", resolve));
  let timeline = null, chosen = null, marks = [], labels = [], bounds = null;

  const tip = make("div", { className: "tip", hidden: true });
  host.append(tip);
  const near = () => host.classList.toggle("far", map.getZoom() < NAMED_FROM);
  map.on("zoom", near);
  map.on("mousemove", "nodes", ({ features: [{ id }], point: { x, y } }) => {
    const { number, features, forecast } = timeline;
    map.getCanvas().style.cursor = "pointer";
    tip.replaceChildren(make("b", {}, nameOf(features[id])), ` ${number(timeline.value(id, map.step))} ${unitOf(forecast.unit)}`);
    tip.style.transform = `translate(${x + 14}px, ${y + 14}px)`;
    tip.hidden = false;
  });
  map.on("mouseleave", "nodes", () => { map.getCanvas().style.cursor = ""; tip.hidden = true; });
  map.on("click", "nodes", ({ features: [{ id }] }) => choose(id));

  const ready = () => {
    if (!timeline || !map.isSourceLoaded("nodes")) return;
    map.off("render", ready);
    drawn();
  };
  map.on("render", ready);

  const fit = (animate) => bounds && map.fitBounds(bounds, { padding: padding(), maxZoom: 15,
    animate: animate && !calm.matches });
  new ResizeObserver(() => fit(false)).observe(host);
  onScheme(() => {
    map.setPaintProperty("ground", "background-color", pageColour("ground"));
    map.setPaintProperty("land", "fill-color", pageColour("land"));
    for (const [layer, [property, name]] of Object.entries(EDGES)) map.setPaintProperty(layer, property, pageColour(name));
    map.setPaintProperty("nodes", "circle-stroke-color",
      ["case", state("chosen", false), pageColour("ink"), pageColour("rim")]);
    if (timeline) paint(map.step);
  });

  /** Colours every node for one moment; nothing is read or laid out anew. */
  function paint(step) {
    map.step = step;
    const { low, high, features, value, width, reached } = timeline;
    for (const mark of marks) mark.remove();
    marks = [];
    features.forEach(({ lon, lat }, i) => {
      if (lon === null || lat === null) return;
      const here = value(i, step), known = Number.isFinite(here);
      map.setFeatureState({ source: "nodes", id: i }, {
        colour: known ? valueColour((here - low) / (high - low)) : pageColour("gap"), chosen: i === chosen,
        halo: known ? Math.min(32, 10 + 40 * width(i, step) / (high - low)) : 0 });
      const level = known ? reached(i, step) : 0;
      if (level) marks.push(new Marker({ element: make("div", { className: "mark", textContent: level, ariaHidden: "true" }),
        offset: [10, -10] }).setLngLat([lon, lat]).addTo(map));
    });
  }

  return {
    map, paint, fit,
    /** Shows a dataset, one of its nodes marked where said. */
    show(next, node = null) {
      [timeline, chosen] = [next, node];
      map.removeFeatureState({ source: "nodes" });
      map.getSource("nodes").setData(collection(next.features.flatMap(point)));
      const placed = next.features.filter(({ lon, lat }) => lon !== null && lat !== null);
      bounds = placed.length ? placed.reduce((box, { lon, lat }) => box.extend([lon, lat]), new LngLatBounds()) : null;
      fit(false);
    },
    /** Marks a node as chosen, or none. */
    mark(node) {
      chosen = node;
      if (timeline) paint(map.step);
    },
    setEdges: (feature) => map.getSource("edges").setData(feature ?? NONE),
    /** Draws the outlines of areas, with the names of the districts that they make up. */
    setAreas(areas) {
      map.getSource("areas").setData(areas ?? NONE);
      for (const label of labels) label.remove();
      labels = districts(areas?.features ?? []).map(([name, middle]) => new Marker({
        element: make("div", { className: "district", textContent: name, ariaHidden: "true" }) }).setLngLat(middle).addTo(map));
    },
    /** Draws lines coloured by a change: `[{ line, share }]`, share -1 to 1; null takes them away. */
    setChange(lines) {
      const feature = ({ line, share }, place) => ({ type: "Feature",
        properties: { place, colour: changeColour(share), wide: 2 + 4 * Math.abs(share) },
        geometry: { type: "LineString", coordinates: line } });
      map.getSource("change").setData(lines ? collection(lines.map(feature)) : NONE);
      for (const layer of ["nodes", "halo", "edges"]) map.setLayoutProperty(layer, "visibility", lines ? "none" : "visible");
      for (const mark of marks) mark.getElement().hidden = Boolean(lines);
      if (lines?.length) map.fitBounds(lines.flatMap(({ line }) => line)
        .reduce((box, at) => box.extend(at), new LngLatBounds()), { padding: padding(), animate: !calm.matches });
    },
  };
}

/** Each district's name and the middle of its outlines' box. */
function districts(features) {
  const boxes = new Map();
  for (const { properties: { quartiere }, geometry: { coordinates } } of features) {
    const box = boxes.get(quartiere) ?? boxes.set(quartiere, new LngLatBounds()).get(quartiere);
    for (const at of coordinates.flat(2)) box.extend(at);
  }
  return [...boxes].map(([name, box]) => [name, box.getCenter()]);
}
