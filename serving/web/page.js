/** The page at `/`: reads the forecasting API and draws every dataset's forecast with its bands. */

const BANDS = [[0.05, 0.95], [0.1, 0.9], [0.3, 0.7]];
const CHART_HEIGHT = 300, REFRESH_MS = 5 * 60 * 1000;
const percent = (share) => `${Math.round(100 * share)} %`;
const tenths = (low, high) => `${Math.round(10 * (high - low))} in 10 chance`;
const bandName = (low) => `band${BANDS.findIndex((band) => band[0] === low)}`;
const sentenceCase = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
const APPROVALS = {
  none: "approval: none - not yet decided by the ethics board",
  demo: "approval: demo - signed by a throw-away demo board, not by the ethics board",
};

/** Gets JSON from the API. Throws an Error that carries the server's own `detail`. */
async function read(path, signal) {
  const response = await fetch(path, { signal, headers: { accept: "application/json" } }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The forecasting service does not answer. Is it running?");
  });
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Error(body?.detail ?? body?.title ?? `The service answered ${path} with status ${response.status}.`);
}

/** Makes an element with properties and children; text is never read as markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Writes instants (milliseconds) in a dataset's civil time zone; names the year when it is not this one. */
function clockIn(timeZone) {
  const format = new Intl.DateTimeFormat("en-GB", { timeZone, weekday: "short", day: "numeric", month: "short",
    year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short" });
  const read = (at) => Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
  const thisYear = read(Date.now()).year;
  const time = (at) => ["hour", "minute"].map((unit) => read(at)[unit]).join(":");
  const date = ({ weekday, day, month, year }) => `${weekday} ${day} ${month}${year === thisYear ? "" : ` ${year}`}`;
  const day = (at) => date(read(at));
  const moment = (at) => `${day(at)} ${time(at)}`;
  return { day, time, moment, zoned: (at) => `${moment(at)} ${read(at).timeZoneName}` };
}

/** Writes numbers with as many decimals as their size asks for. */
function numbersLike(values) {
  const largest = Math.max(...values.filter(Number.isFinite).map(Math.abs), 0);
  const digits = largest >= 100 ? 0 : largest >= 10 ? 1 : largest >= 1 ? 2 : 3;
  const format = new Intl.NumberFormat("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return (value) => (Number.isFinite(value) ? format.format(value) : "–");
}

/** Joins a forecast of one node and its observations into what the card draws. */
function viewOf(forecast, observations) {
  const feature = forecast.features[0];
  if (!feature) throw new Error(`The service holds no forecast for this place in ${forecast.dataset}.`);
  const seconds = (times) => times.map((time) => Date.parse(time) / 1000);
  const quantiles = new Map(Object.entries(feature.quantiles).map(([level, values]) => [Number(level), values]));
  const bands = BANDS.filter((pair) => pair.every((level) => quantiles.has(level)));
  const shown = [...bands.flatMap(([low, high]) => [high, low]), 0.5];
  const times = seconds(forecast.valid_times), past = observations?.features[0]?.values ?? [];
  const [x, ...columns] = window.uPlot.join([
    [times, ...shown.map((level) => quantiles.get(level) ?? times.map(() => null))],
    [past.length ? seconds(observations.times) : [], past],
  ]);
  const observed = columns.pop(), number = numbersLike([...columns.flat(), ...observed]);
  const threshold = (value, i) => ({ value, text: `threshold ${i + 1}: ${number(value)} ${forecast.unit}` });
  const thresholds = (feature.thresholds ?? []).map(threshold).filter(({ value }) => Number.isFinite(value));
  return { forecast, feature, quantiles, bands, shown, x, columns, observed, thresholds, times, number,
    init: Date.parse(forecast.init_time) / 1000, clock: clockIn(forecast.timezone) };
}

/** Says the forecast of one lead time in plain words. */
function sentence(view, step) {
  const { clock, number, quantiles, bands, times, forecast } = view;
  const at = (level) => number(quantiles.get(level)?.[step]);
  const [low, high] = bands.find(([level]) => level === 0.1) ?? bands[0] ?? [];
  const chance = low && `, ${tenths(low, high)} between ${at(low)} and ${at(high)}`;
  return [make("b", {}, clock.moment(times[step] * 1000)), `: ${at(0.5)} ${forecast.unit}${chance ?? ""}.`];
}

/** Draws what uPlot has no series for: thresholds, the line at init time, the chosen time. */
function drawMarks({ ctx, bbox, valToPos }, view, colour, chosen) {
  const { left, top, width, height } = bbox, px = window.uPlot.pxRatio;
  const right = left + width, bottom = top + height, above = top - 5 * px;
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
  for (const { value, text } of view.thresholds) {
    const y = valToPos(value, "y", true);
    if (y < top || y > bottom) continue;
    line(left, y, right, y, "threshold", [7, 4]);
    write(text, left + 6 * px, y - 2 * px, "threshold");
  }
  const made = valToPos(view.init, "x", true), x = valToPos(view.times[chosen], "x", true);
  if (made >= left && made <= right) {
    line(made, top - 18 * px, made, bottom, "quiet", [2, 3]);
    write("forecast", made + 8 * px, above, "quiet");
    if (made - left > 60 * px) write("observed", made - 8 * px, above, "quiet", "right");
  }
  write(view.forecast.unit, 4 * px, above, "quiet");
  line(x, top, x, bottom, "median");
  ctx.restore();
}

/** Draws the chart into `host`; `chosen()` gives the marked lead time, `hover(index)` hears the pointer. */
function drawChart(host, view, chosen, hover) {
  const { clock, bands, thresholds } = view;
  const colour = (name) => getComputedStyle(host).getPropertyValue(`--${name}`).trim();
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
    const day = clock.day(at * 1000);
    return clock.time(at * 1000) + (i && day === clock.day(splits[i - 1] * 1000) ? "" : `\n${day}`);
  });
  return new window.uPlot({
    width: host.clientWidth, height: CHART_HEIGHT, padding: [24, 44, 0, 0],
    tzDate: (at) => window.uPlot.tzDate(new Date(at * 1000), view.forecast.timezone),
    legend: { show: false }, cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    axes: [{ ...axis, space: 84, size: 46, values: timeLabels }, { ...axis, space: 36, size: 58 }],
    scales: { y: { range } }, series: [{}, ...bands.flatMap((band, i) => [edge(band, i), edge(band, i)]),
      { points: { show: false }, width: 2, stroke: () => colour("median") },
      { points: { size: 4 }, width: 1.75, stroke: () => colour("observed") }],
    bands: bands.map(([low], i) => ({ series: [2 * i + 1, 2 * i + 2], fill: () => colour(bandName(low)) })),
    hooks: { draw: [(u) => drawMarks(u, view, colour, chosen())],
      setCursor: [({ cursor }) => hover(cursor.left >= 0 ? cursor.idx : null)] },
  }, [view.x, ...view.columns, view.observed], host);
}

/** Fills the table with the numbers of the chart: the forecast, then the past from its latest value back. */
function fillTable(part, { clock, number, forecast, feature, shown, x, columns, observed, times }) {
  const order = shown.map((level, i) => [level, columns[i]]).sort(([a], [b]) => a - b);
  const heads = ["Time", ...order.map(([level]) => (level === 0.5 ? "Median" : percent(level))), "Observed"];
  const row = (at, i) => make("tr", {}, make("th", { scope: "row" }, clock.zoned(at * 1000)),
    ...[...order.map(([, values]) => values), observed].map((values) => make("td", {}, number(values[i]))));
  const rows = Array.from(x, row), first = x.findIndex((at) => at >= times[0]);
  part.caption.textContent = `${feature.name || feature.id}, ${forecast.unit}, times in ${forecast.timezone}`;
  part.head.replaceChildren(make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text))));
  part.rows.replaceChildren(...rows.slice(first), ...rows.slice(0, first).reverse());
}

/** Fills legend, thresholds, warnings and the facts on where the forecast comes from. */
function fillNotes(part, view) {
  const { forecast, bands, clock, thresholds } = view, { model, interval } = forecast;
  const received = view.feature.observed_fraction ?? NaN;
  const key = (className, text) => make("li", {}, make("i", { className }), text);
  part.legend.replaceChildren(key("observed", "observed"), key("median", "forecast, middle value (median)"),
    ...bands.map(([a, b]) => key(bandName(a), `${tenths(a, b)} (${percent(a)} to ${percent(b)})`)).reverse(),
    ...thresholds.map(({ text }) => key("threshold", text)), key("made", "forecast made"));
  part.warnings.replaceChildren(...(forecast.warnings ?? []).map((text) => make("li", {}, text)));
  const facts = [
    ["Forecast made", clock.zoned(Date.parse(forecast.init_time))],
    ["Data as of", forecast.data_as_of && clock.zoned(Date.parse(forecast.data_as_of))],
    ["Data received", received >= 0 && `${percent(received)} of the recent values of this place`],
    ["Range tested", Number.isFinite(interval?.empirical) && `the ${percent(interval.nominal)} range held ${
      percent(interval.empirical)} of the values (${[interval.window, interval.method].filter(Boolean).join("; ")})`],
    ["Release", make("span", {}, `${model.version}, sha256 `,
      make("code", { title: model.sha256 }, `${model.sha256.slice(0, 12)}…`))],
    ["Decision", model.decision && make("code", {}, String(model.decision))],
    ["Source", (forecast.attribution ?? []).join("; ")],
  ];
  part.facts.replaceChildren(...facts.filter(([, value]) => value)
    .flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, value)]));
}

/** Fills the marks that say how far a forecast may be trusted: synthetic, stale, approval. */
function fillMarks(part, { synthetic, stale, approval }) {
  const mark = (text, caution) => make("li", { className: caution ? "caution" : "" }, text);
  part.marks.replaceChildren(...(synthetic ? [mark("synthetic data", true)] : []),
    ...(stale ? [mark("stale: newer data should have come", true)] : []),
    mark(APPROVALS[approval] ?? `approval: ${approval}`, approval in APPROVALS));
}

/** Reads one place's forecast and past; without a place, the first one, after filling the list of places. */
async function readPlace(name, part, signal) {
  const path = encodeURIComponent(name), query = () => `nodes=${encodeURIComponent(part.nodes.value)}`;
  let forecast = await read(`/v1/forecasts/${path}${part.nodes.value && `?${query()}`}`, signal);
  if (!part.nodes.value) fillNodes(part, forecast.features);
  forecast = { ...forecast, features: forecast.features.filter(({ id }) => id === part.nodes.value) };
  const last = Math.max(24, Math.min(72, 2 * forecast.valid_times.length));
  return [forecast, await read(`/v1/observations/${path}?${query()}&last=${last}`, signal).catch(({ message }) => {
    signal.throwIfAborted();
    forecast.warnings = [...(forecast.warnings ?? []), `Past observations are missing: ${message}`];
  })];
}

/** Names a dataset's target in words, without the unit that its name may end in. */
function titleOf({ title, target, unit }) {
  return title ?? sentenceCase(target.replace(`_${unit.replace(/\W+/g, "_")}`, ""));
}

/** Makes the card of one dataset; it reads its own data and shows its own errors. */
function makeCard(dataset) {
  const card = document.getElementById("card").content.cloneNode(true).firstElementChild;
  const part = Object.fromEntries([...card.querySelectorAll("[data-part]")].map((e) => [e.dataset.part, e]));
  let chart, view, request, shownNode;
  part.title.textContent = titleOf(dataset);
  part.subtitle.textContent = `${dataset.unit} · ${dataset.name} · times in ${dataset.timezone}`;
  part.nodelabel.htmlFor = part.nodes.id = `place-${dataset.name}`;
  part.slidelabel.htmlFor = part.slider.id = `time-${dataset.name}`;
  card.setAttribute("aria-labelledby", (part.title.id = `title-${dataset.name}`));
  fillMarks(part, dataset);
  const choose = (step) => {
    part.slider.value = step;
    part.sentence.replaceChildren(...sentence(view, step));
    part.slider.setAttribute("aria-valuetext", part.sentence.textContent);
    chart?.redraw(false);
  };
  const hover = (index) => {
    const step = view.times.indexOf(view.x[index]), value = view.observed[index];
    if (step >= 0 || !Number.isFinite(value)) choose(step >= 0 ? step : part.slider.valueAsNumber);
    else part.sentence.replaceChildren(make("b", {}, view.clock.moment(view.x[index] * 1000)),
      `: ${view.number(value)} ${dataset.unit} observed.`);
  };
  const draw = (forecast, observations) => {
    view = viewOf(forecast, observations);
    const last = view.times.length - 1, { id, name } = view.feature;
    const step = shownNode === id ? Math.min(part.slider.valueAsNumber, last) : 0;
    shownNode = id;
    [part.body.hidden, part.problem.hidden] = [false, true];
    part.slider.max = last;
    part.chart.setAttribute("aria-label", `Chart for ${name || id}. The table below holds the same numbers.`);
    part.scroll.setAttribute("aria-label", `Table for ${name || id}, ${part.title.textContent}`);
    fillMarks(part, forecast);
    fillTable(part, view);
    fillNotes(part, view);
    chart = chart?.destroy();
    choose(step);
    chart = drawChart(part.chart, view, () => part.slider.valueAsNumber, hover);
  };
  const load = async () => {
    request?.abort();
    const { signal } = (request = new AbortController());
    part.body.ariaBusy = part.nodes.value !== shownNode;
    try {
      draw(...await readPlace(dataset.name, part, signal));
    } catch (error) {
      if (signal.aborted) return;
      part.detail.textContent = error.message;
      part.problem.hidden = false;
      part.body.hidden = part.nodes.value !== shownNode;
    }
    [part.loading.hidden, part.body.ariaBusy] = [true, false];
  };
  part.slider.addEventListener("input", () => choose(part.slider.valueAsNumber));
  part.nodes.addEventListener("change", load);
  part.retry.addEventListener("click", load);
  const resize = ([{ contentRect: { width } }]) => width && chart?.setSize({ width, height: CHART_HEIGHT });
  new ResizeObserver(resize).observe(part.chart);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart?.redraw(false));
  setInterval(() => document.hidden || load(), REFRESH_MS);
  load();
  return card;
}

/** Fills the list of places, by name; a name that two places share gets its id. */
function fillNodes({ nodes, choice }, features) {
  const names = features.map(({ id, name }) => name || id);
  const label = (name, id) => (names.indexOf(name) === names.lastIndexOf(name) ? name : `${name} (${id})`);
  const options = features.map(({ id }, i) => make("option", { value: id }, label(names[i], id)));
  nodes.replaceChildren(...options.sort((a, b) => a.text.localeCompare(b.text, "en", { numeric: true })));
  choice.hidden = !options.length;
}

/** Lists the datasets by domain and makes their cards. */
async function start() {
  const [main, status] = ["main", "#status"].map((selector) => document.querySelector(selector));
  try {
    const { datasets } = await read("/v1/datasets");
    const domains = [...new Set(datasets.map(({ domain }) => domain))];
    for (const domain of domains) {
      const cards = datasets.filter((dataset) => dataset.domain === domain).map(makeCard);
      if (cards.length) main.append(make("section", {}, make("h2", {}, sentenceCase(domain)), ...cards));
    }
    status.hidden = datasets.length > 0;
    status.replaceChildren("No forecasts are served yet. Make some with ", make("code", {}, "felsina up"), ".");
  } catch (error) {
    Object.assign(status, { className: "problem", textContent: error.message });
  }
}

start();
