/** Starts the page: one dataset at a time on the map, one moment, one place; the panels follow. */

import { makeAlerts } from "./alerts.js";
import { make, read, readDataset, readMaybe } from "./api.js";
import { makeCard, standing } from "./card.js";
import { onScheme } from "./colours.js";
import { firstLanguage, named, say, setLanguage } from "./language.js";
import { drawLegend } from "./legend.js";
import { makeSketch } from "./sketch.js";
import { makePlaces } from "./places.js";
import { makeTime } from "./time.js";
import { timelineOf } from "./timeline.js";
import { makeWhatIf } from "./whatif.js";

const TABS = ["places", "alerts", "whatif", "card"], REFRESH_MS = 5 * 60 * 1000;
const wide = matchMedia("(min-width: 56rem)");
const at = (id) => document.getElementById(id);
const shown = { dataset: null, timeline: null, tab: "places", areas: null, edges: null, node: null, drift: null, changing: false };
let datasets = [], alerts = null;
let map = makeSketch(at("map"), select, padding); // until MapLibre has drawn the same

const places = makePlaces(at("places"), select, (step) => time.go(step));
const time = makeTime((step) => { map.paint(step); places.paint(step); });
const card = makeCard(at("card"));
const whatif = makeWhatIf(at("whatif"), (lines) => {
  shown.changing = Boolean(lines);
  map.setChange(lines);
  legend();
});
const legend = () => shown.timeline && drawLegend(at("legend"), shown.dataset, shown.timeline, shown.changing, shown.areas);

/** What lies over the map's edges, so that nothing is drawn under it. */
function padding() {
  return wide.matches ? { left: at("panel").offsetWidth + 60, right: 70, top: 70, bottom: 170 } : { left: 30, right: 50, top: 30, bottom: 40 };
}

function select(node) {
  shown.node = node;
  places.select(node);
  map.mark(node);
  if (node !== null) openTab("places");
}

/** Shows a dataset: reads it, then every move is local. */
async function show(dataset, node = null) {
  shown.dataset = dataset;
  at("layers").querySelector(`input[value="${CSS.escape(dataset.name)}"]`).checked = true;
  try {
    const [forecast, observations] = await readDataset(dataset);
    if (shown.dataset !== dataset) return;
    [shown.timeline, shown.node, shown.drift] = [timelineOf(forecast, observations), null, null];
    draw();
    const found = shown.timeline.features.findIndex(({ id }) => id === node);
    if (found >= 0) select(found);
    await base(dataset);
  } catch (error) {
    problem(error, () => show(dataset, node));
  }
}

function draw(ahead = 0) {
  const { timeline, dataset } = shown;
  time.show(timeline, ahead);
  places.show(timeline, time.step(), shown.node);
  map.show(timeline, shown.node);
  map.paint(time.step());
  at("standing").replaceChildren(standing(dataset, shown.drift));
  legend();
  if (shown.tab === "card") card.show(dataset);
}

/** What can wait until the nodes are there: edges, the city's areas where a dataset lies in it, how it has aged. */
async function base(dataset) {
  const path = `/v1/datasets/${encodeURIComponent(dataset.name)}`;
  const [edges, areas, drift] = await Promise.all([readMaybe(`${path}/network`),
    read(new URL("./vendor/bologna/areas.json", import.meta.url)), readMaybe(`${path}/drift`)]);
  if (shown.dataset !== dataset) return;
  shown.drift = drift;
  at("standing").replaceChildren(standing(dataset, drift));
  const inside = ({ lon, lat }) => lon > 11.2 && lon < 11.45 && lat > 44.4 && lat < 44.57;
  shown.areas = shown.timeline.features.some(inside) ? areas : null;
  shown.edges = edges;
  map.setEdges(edges);
  map.setAreas(shown.areas);
  legend();
}

function problem(error, retry) {
  at("places").replaceChildren(make("p", { className: "note", role: "alert" }, error.message),
    make("button", { type: "button", onclick: retry }, say("retry")));
}

function openTab(name) {
  if (shown.tab === "whatif" && name !== "whatif") whatif.hide();
  shown.tab = name;
  for (const tab of TABS) {
    at(tab).hidden = tab !== name;
    const button = at(`tab-${tab}`);
    button.ariaSelected = String(tab === name);
    button.tabIndex = tab === name ? 0 : -1;
  }
  if (name === "card" && shown.dataset) card.show(shown.dataset);
  if (name === "whatif") whatif.show();
}

function makeTabs() {
  at("tabs").replaceChildren(...TABS.map((tab) => make("button", { type: "button", role: "tab", id: `tab-${tab}`,
    textContent: say(`tab_${tab}`), onclick: () => openTab(tab) })));
  for (const tab of TABS) {
    at(`tab-${tab}`).setAttribute("aria-controls", tab);
    at(tab).setAttribute("aria-labelledby", `tab-${tab}`);
  }
}

at("tabs").addEventListener("keydown", ({ key }) => {
  const move = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (!move) return;
  openTab(TABS[(TABS.indexOf(shown.tab) + move + TABS.length) % TABS.length]);
  at(`tab-${shown.tab}`).focus();
});

/** One choice a dataset, by what it forecasts; those that forecast the same are told apart by name. */
function makeLayers() {
  const titles = datasets.map(({ target }) => named(target));
  const option = (dataset, i) => {
    const twice = titles.indexOf(titles[i]) !== titles.lastIndexOf(titles[i]);
    const input = make("input", { type: "radio", name: "layer", value: dataset.name, checked: dataset === shown.dataset,
      onchange: () => show(dataset) });
    return make("label", {}, input, make("span", {}, twice ? `${titles[i]}: ${dataset.name}` : titles[i]));
  };
  at("layers").replaceChildren(make("legend", { className: "unseen" }, say("layer")), ...datasets.map(option));
}

/** Writes everything anew in a language. */
function speak(code) {
  setLanguage(code);
  makeTabs();
  makeLayers();
  openTab(shown.tab);
  time.speak();
  alerts?.draw();
  if (!shown.timeline) return;
  const { forecast, observations } = shown.timeline;
  const ahead = time.step() - shown.timeline.split;
  shown.timeline = timelineOf(forecast, observations);
  draw(ahead);
}

/** Puts MapLibre's map in place of the sketch; where there is no WebGL the sketch stays. */
async function makeView() {
  const sketch = map;
  try {
    const { makeMap } = await import("./map.js");
    map = await makeMap(at("map"), select, padding, () => {
      sketch.remove();
      performance.mark("map");
    });
  } catch (error) {
    at("nomap").hidden = false;
    console.info(error);
    return;
  }
  map.show(shown.timeline, shown.node);
  map.setEdges(shown.edges);
  map.setAreas(shown.areas);
  map.paint(time.step());
}

async function start() {
  speak(firstLanguage());
  for (const button of document.querySelectorAll("button[data-language]"))
    button.addEventListener("click", () => speak(button.dataset.language));
  onScheme(legend);
  try {
    ({ datasets } = await read("/v1/datasets"));
  } catch (error) {
    return problem(error, () => location.reload());
  }
  makeLayers();
  if (!datasets.length) return at("places").replaceChildren(make("p", {}, say("empty")));
  alerts = makeAlerts(at("alerts"), at("banner"), datasets, (name, node) => show(datasets.find((one) => one.name === name), node));
  await show(datasets[0]);
  requestAnimationFrame(() => setTimeout(() => {
    performance.mark("nodes"); // the first view has been painted
    makeView();
    alerts.load();
  }));
  setInterval(() => document.hidden || refresh(), REFRESH_MS);
}

/** Reads what is newer, without moving what people look at. */
async function refresh() {
  alerts.load();
  ({ datasets } = await read("/v1/datasets"));
  const newer = datasets.find(({ name }) => name === shown.dataset.name);
  if (newer && newer.data_as_of !== shown.dataset.data_as_of) show(newer);
}

start();
