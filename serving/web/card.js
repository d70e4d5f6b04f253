/** The model card, and the standing of the data that is always in view. */

import { make, read } from "./api.js";
import { clockIn, duration, either, named, percent, plain, say, secondsOf, unitOf } from "./language.js";

const APPROVALS = ["none", "demo", "approved"];

const chip = (text, title, caution) => make("li", { className: caution ? "caution" : "", title }, text);

/** Chips on what became of the forecasts and the sensors since; none where nobody has looked. */
function aged({ alarms, through }, clock) {
  const sensors = [...new Set(alarms.flatMap(({ node }) => node ?? []))], city = alarms.filter(({ node }) => node === null);
  const since = (some) => say("drift_since", { day: clock.day(Math.min(...some.map((alarm) => Date.parse(alarm.since)))) });
  const missing = city.filter(({ kind }) => kind === "missing"), worse = city.filter(({ kind }) => kind !== "missing");
  return [...(sensors.length ? [chip(say("drift_sensors", { n: sensors.length }), sensors.join(", "), true)] : []),
    ...(missing.length ? [chip(say("drift_missing"), since(missing), true)] : []),
    ...(worse.length ? [chip(say("drift_worse"), since(worse), true)] : []),
    ...(through && !worse.length ? [chip(say("drift_none", { day: clock.day(Date.parse(through)) }), say("drift_about"), false)] : [])];
}

/** Chips on how far to trust what is shown: freshness, ageing where it is known, synthetic, approval. */
export function standing({ data_as_of: until, synthetic, approval, timezone, step }, drift = null) {
  const age = until ? (Date.now() - Date.parse(until)) / 1000 : 0, stale = age > 3 * secondsOf(step);
  const fresh = until ? `${say("data_until", { moment: clockIn(timezone).moment(Date.parse(until)) })} (${
    say("age", { age: duration(age) })})` : say("no_data");
  const known = APPROVALS.includes(approval);
  return make("ul", { className: "chips" }, chip(fresh, "", false),
    ...(stale ? [chip(say("stale"), say("stale_about"), true)] : []),
    ...(drift ? aged(drift, clockIn(timezone)) : []),
    ...(synthetic ? [chip(say("synthetic"), say("synthetic_about"), true)] : []),
    chip(known ? say(`approval_${approval}`) : say("approval_other", { approval }),
      known ? say(`approval_${approval}_about`) : "", approval !== "approved"));
}

/** Bars of the release's error beside simpler methods'. */
function skill({ own, baselines, unit }) {
  const scores = [own, ...baselines.filter(({ name }) => name !== "backbone")].sort((a, b) => a.crps - b.crps);
  const most = Math.max(...scores.map(({ crps }) => crps));
  const row = ({ name, crps }) => {
    const bar = make("i", { className: "bar" });
    bar.style.setProperty("--share", crps / most);
    return make("li", { className: name === own.name ? "own" : "" }, make("span", {}, named(name)), make("b", {}, plain(crps)), bar);
  };
  const first = scores[0], beaten = first.name !== own.name;
  return [make("p", { className: "quiet" }, say("card_skill_said", { unit: unitOf(unit) })), make("ul", { className: "chances" }, ...scores.map(row)),
    ...(beaten ? [make("p", { className: "note" }, say("card_beaten", { name: named(first.name) }))] : [])];
}

function drawCard(host, card, dataset) {
  const clock = clockIn(dataset.timezone), day = (iso) => clock.day(Date.parse(iso));
  const span = ({ begin, end }) => say("card_trained_said", { begin: day(begin), end: day(end) });
  const step = secondsOf(card.step), { privacy, source, interval } = card;
  const statement = either([privacy.statement, privacy.statement_it ?? privacy.statement]);
  const open = either([privacy.not_protected, privacy.not_protected_it]);
  const section = (key, ...content) => make("section", {}, make("h3", {}, say(key)), ...content);
  const fact = (key, value) => (value ? [make("dt", {}, say(key)), make("dd", {}, value)] : []);
  const digest = make("code", { title: card.manifest_sha256 }, `${card.manifest_sha256.slice(0, 12)}…`);
  const known = APPROVALS.includes(card.approval);
  host.replaceChildren(
    make("h2", {}, `${named(card.target)}: ${say("tab_card").toLowerCase()}`),
    section("card_what", make("p", {}, say("card_what_said", { target: named(card.target), unit: unitOf(card.unit), nodes: card.nodes,
      step: duration(step), span: duration(step * card.horizon) }))),
    section("card_skill", ...skill(card)),
    section("card_coverage", make("p", {}, say("card_coverage_said",
      { nominal: percent(interval.nominal), empirical: percent(interval.empirical) }))),
    section("card_privacy", make("p", {}, statement),
      ...(open.length ? [make("h4", {}, say("card_not_protected")), make("ul", { className: "plain" },
        ...open.map((text) => make("li", {}, text)))] : [])),
    make("dl", { className: "facts" }, ...fact("card_trained", span(card.trained)), ...fact("card_tested", span(card.tested)),
      ...fact("card_approval", known ? say(`approval_${card.approval}_about`) : card.approval), ...fact("card_decision", card.decision),
      ...fact("card_source", [source.publisher, source.attribution].filter(Boolean).join(" · ")), ...fact("card_licence", source.licence),
      ...fact("card_release", make("span", {}, card.release, " ", digest)),
      ...fact("apps", make("a", { href: `/v1/forecasts/${encodeURIComponent(card.dataset)}` }, "JSON"))),
    make("p", { className: "doors" }, make("a", { href: either(["/neighbourhoods", "/quartieri"]) }, say("card_where"))),
  );
}

/** Makes the panel; it reads a card when it is first looked at. */
export function makeCard(host) {
  let drawn = null;
  return {
    async show(dataset) {
      drawn = dataset.name;
      host.replaceChildren(make("p", { className: "quiet" }, say("loading")));
      try {
        const card = await read(`/v1/datasets/${encodeURIComponent(dataset.name)}/card`);
        if (drawn === dataset.name) drawCard(host, card, dataset);
      } catch (error) {
        host.replaceChildren(make("p", { className: "note" }, error.message));
      }
    },
  };
}
