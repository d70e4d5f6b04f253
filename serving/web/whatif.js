/** What if: asks a simulator's stand-in for today and for a change, and draws the difference. */

import { ask, make, read } from "./api.js";
import { changeColour, changeGradient } from "./colours.js";
import { either, named, numbersLike, percent, plain, say, unitOf } from "./language.js";
import { MEASURES } from "./names.js";

const MOST_BARS = 12, WAIT_MS = 150;
const named_ = ({ name }) => name;
const atPlace = (input, p) => (Array.isArray(input.default) ? input.default[p] : input.default);

/** Makes the panel; `draw(lines)` shows a difference on the map, null takes it away. */
export function makeWhatIf(host, draw) {
  let every = null, detail = null, preset = null, changes = {}, caps = {}, output = null, request = null, waiting = null;
  const parts = {};

  /** Today's value of a scalar: its default, or the middle of its range. */
  const today = (one) => one.default ?? (one.low + one.high) / 2;
  const scalar = (name) => detail.scalars.find((one) => one.name === name);

  /** A measure's changes to this surrogate's inputs, or null where it lacks one of them. */
  function changeOf({ set = {}, add = {}, cap = {} }) {
    const given = { ...set };
    for (const [name, more] of Object.entries(add)) if (scalar(name)) given[name] = today(scalar(name)) + more;
    const fits = [...Object.keys(set), ...Object.keys(add)].every(scalar) &&
      Object.keys(cap).every((name) => detail.fields.some((one) => one.name === name && one.default !== null));
    return fits ? [given, cap] : null;
  }

  function scenarios() {
    const base = Object.fromEntries(detail.scalars.map((one) => [one.name, today(one)]));
    const fields = Object.entries(caps).map(([name, most]) => {
      const field = detail.fields.find((one) => one.name === name);
      return [name, detail.places.map((_, p) => Math.min(most, atPlace(field, p)))];
    });
    return [base, { ...base, ...changes, ...Object.fromEntries(fields) }];
  }

  async function answer() {
    request?.abort();
    request = new AbortController();
    const touched = Object.keys(changes).length + Object.keys(caps).length;
    if (!touched) {
      draw(null);
      return parts.answer.replaceChildren(make("p", { className: "quiet" }, say("whatif_nothing")));
    }
    try {
      const path = `/v1/scenarios/${encodeURIComponent(detail.name)}?extrapolate=true`;
      drawAnswer(await ask(path, { preset, scenarios: scenarios() }, request.signal));
    } catch (error) {
      if (error.name !== "AbortError") parts.answer.replaceChildren(make("p", { className: "note" }, error.message));
    }
  }
  const later = () => { clearTimeout(waiting); waiting = setTimeout(answer, WAIT_MS); };

  /** Today's and the changed median as two bars with their 8 in 10 ranges. */
  function pair(one, [before, after], p) {
    const found = [before, after].map(({ outputs }) => ["0.1", "0.5", "0.9"].map((level) => outputs[one.name].quantiles[level][p]));
    const most = Math.max(...found.flat(), 1e-9), number = numbersLike(found.flat());
    const bar = (key, [low, median, high], className) => {
      const drawn = make("i", { className: `bar ${className}` });
      drawn.style.setProperty("--share", Math.max(0, median / most));
      return [make("span", {}, say(key)), drawn, make("b", {}, number(median)),
        make("small", { className: "quiet" }, `${number(low)} – ${number(high)}`)];
    };
    const change = found[1][1] - found[0][1], share = found[0][1] ? change / Math.abs(found[0][1]) : NaN;
    const sign = change > 0 ? "+" : "";
    return make("section", { className: "outcome" }, make("h4", {}, named(one.name)),
      make("p", { className: "difference" }, make("b", {}, `${sign}${number(change)} ${unitOf(one.unit)}`),
        Number.isFinite(share) ? ` (${sign}${percent(share)})` : ""),
      make("div", { className: "pair" }, ...bar("whatif_today", found[0], "before"), ...bar("whatif_changed", found[1], "after")));
  }

  /** What a surrogate's errors were on runs that it never saw: the worst of its test sets. */
  function errors(error, one) {
    const worst = Object.values(error).map(({ outputs }) => outputs[one.name]).filter((found) => Number.isFinite(found?.mae))
      .sort((a, b) => b.mae - a.mae)[0];
    return worst ? [make("p", { className: "quiet" }, say("whatif_error",
      { mae: plain(worst.mae), unit: unitOf(one.unit), coverage: percent(worst.coverage_80) }))] : [];
  }

  function drawAnswer(found) {
    const outside = found.scenarios.flatMap(({ range_check: { outside: all } }) => all);
    const warnings = [...new Map(outside.map((one) => [one.input, one])).values()].map(({ input, value, low, high }) =>
      make("p", { className: "note" }, say("whatif_outside", { input: named(input), value: plain(value), low: plain(low), high: plain(high) })));
    if (found.places.length === 1) {
      draw(null);
      const told = detail.outputs.filter(({ name }) => found.scenarios.some(({ outputs }) => outputs[name].quantiles["0.5"][0] > 0));
      parts.answer.replaceChildren(...warnings, ...told.map((one) => pair(one, found.scenarios, 0)),
        ...errors(found.error, detail.outputs[0]));
      return;
    }
    const one = detail.outputs.find(({ name }) => name === output) ?? detail.outputs[0];
    const [before, after] = found.scenarios.map(({ outputs }) => outputs[one.name].quantiles["0.5"]);
    const change = after.map((value, p) => value - before[p]), sizes = change.map(Math.abs).sort((a, b) => a - b);
    const most = Math.max(sizes[Math.floor(0.98 * (sizes.length - 1))], 1e-9), number = numbersLike(change);
    const order = change.map((_, p) => p).sort((a, b) => Math.abs(change[b]) - Math.abs(change[a])).slice(0, MOST_BARS);
    const rows = order.map((p) => {
      const bar = make("i", { className: "bar" });
      bar.style.setProperty("--share", Math.min(1, Math.abs(change[p]) / most));
      bar.style.setProperty("--fill", changeColour(Math.sign(change[p])));
      return make("li", {}, make("span", {}, found.places[p]), make("b", {}, `${change[p] > 0 ? "+" : ""}${number(change[p])}`), bar);
    });
    const lines = detail.facts.lines;
    draw(lines ? found.places.map((_, p) => ({ line: lines[p], share: change[p] / most })) : null);
    parts.answer.replaceChildren(...warnings, ...choice(say("value"), detail.outputs.map(({ name }) => [name, named(name)]), one.name,
      (name) => { output = name; drawAnswer(found); }), ...grid(change, most),
      make("h4", {}, `${say(found.places.length > MOST_BARS ? "whatif_most" : "whatif_by", { n: MOST_BARS })} (${unitOf(one.unit)})`),
      make("ul", { className: "chances" }, ...rows), ...errors(found.error, one));
  }

  /** A difference over a grid of cells as a picture. */
  function grid(change, most) {
    const { rows, columns } = detail.facts;
    if (!rows || rows * columns !== change.length) return [];
    const canvas = make("canvas", { width: columns, height: rows, className: "grid", role: "img", ariaLabel: say("whatif_by") });
    const pen = canvas.getContext("2d");
    change.forEach((value, p) => {
      pen.fillStyle = changeColour(value / most);
      pen.fillRect(p % columns, Math.floor(p / columns), 1, 1);
    });
    const ramp = make("i", { className: "ramp" }), number = numbersLike([most]);
    ramp.style.background = changeGradient();
    return [canvas, ramp, make("p", { className: "ends" }, make("span", {}, number(-most)), make("span", {}, `+${number(most)}`))];
  }

  function choice(label, options, value, heard) {
    if (options.length < 2) return [];
    const list = make("select", { onchange: () => heard(list.value) }, ...options.map(([key, text]) =>
      make("option", { value: key, selected: key === value }, text)));
    return [make("label", { className: "field" }, make("span", {}, label), list)];
  }

  function slider(one) {
    const number = numbersLike([one.low, one.high]), now = () => changes[one.name] ?? today(one);
    const shown = make("output"), range = make("input", { type: "range", min: one.low, max: one.high, step: "any", title: one.about });
    const tell = () => {
      range.value = now();
      shown.textContent = `${number(now())} ${unitOf(one.unit)}`;
      range.setAttribute("aria-valuetext", shown.textContent);
      row.classList.toggle("touched", one.name in changes);
    };
    range.addEventListener("input", () => { changes[one.name] = range.valueAsNumber; tell(); later(); });
    const row = make("label", { className: "input" }, make("span", {}, named(one.name)), shown, range);
    parts.sliders.push(tell);
    tell();
    return row;
  }

  function drawForm() {
    const offered = MEASURES.map((measure) => [measure, changeOf(measure)]).filter(([, change]) => change);
    const near = new Set(offered.flatMap(([, [given]]) => Object.keys(given)));
    const reset = make("button", { type: "button", className: "back", onclick: () => { [changes, caps] = [{}, {}]; tell(); answer(); } },
      say("whatif_reset"));
    const buttons = offered.map(([{ name }, [given, cap]]) => make("button", { type: "button", className: "measure", onclick: () => {
      [changes, caps] = [{ ...given }, { ...cap }];
      tell();
      answer();
    } }, either(name)));
    parts.sliders = [];
    const tell = () => parts.sliders.forEach((one) => one());
    const rest = detail.scalars.filter(({ name }) => offered.length && !near.has(name));
    parts.answer = make("div", { className: "answer", ariaLive: "polite" });
    const lacking = preset ? [] : detail.fields.filter((one) => one.default === null);
    host.replaceChildren(make("h2", {}, say("whatif_measures")),
      ...choice(say("whatif_which"), every.map((one) => [one.name, named(one.name)]), detail.name, (name) => open(name)),
      ...choice(say("whatif_setting"), detail.presets.map((name) => [name, named(name)]), preset, (name) => { preset = name; answer(); }),
      ...(lacking.length ? [make("p", { className: "note" }, say("whatif_need", { inputs: lacking.map(named_).join(", ") }))] : [
        ...(buttons.length ? [make("div", { className: "measures" }, ...buttons, reset)] : [reset]),
        parts.answer, make("h3", {}, say("whatif_adjust")), ...detail.scalars.filter((one) => !rest.includes(one)).map(slider),
        ...(rest.length ? [make("details", {}, make("summary", {}, say("whatif_inputs")), ...rest.map(slider))] : [])]));
    host.append(make("p", { className: "quiet hint" }, say("whatif_about", { simulator: detail.simulator })));
    if (!lacking.length) answer();
  }

  async function open(name) {
    detail = await read(`/v1/scenarios/${encodeURIComponent(name)}`);
    [preset, changes, caps, output] = [detail.presets[0] ?? null, {}, {}, null];
    drawForm();
  }

  return {
    /** Reads what may be asked, the first time; draws it anew in the language chosen. */
    async show() {
      try {
        every ??= (await read("/v1/scenarios")).surrogates;
        if (!every.length) host.replaceChildren(make("h2", {}, say("tab_whatif")), make("p", {}, say("whatif_none")));
        else if (detail) drawForm();
        else await open(every[0].name);
      } catch (error) {
        host.replaceChildren(make("p", { className: "note" }, error.message));
      }
    },
    hide: () => draw(null),
  };
}
