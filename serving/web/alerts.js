/** Active alerts as a banner and a list, each rule with how it would have done in the past. */

import { make, readMaybe } from "./api.js";
import { clockIn, duration, named, percent, plain, say, secondsOf } from "./language.js";

const number = (value) => (value === null || value === undefined ? "–" : plain(value));

/** A rule's back-test in words. */
function tested({ backtest }, clock, span) {
  if (!backtest) return say("rule_untested");
  const { events, pod, far, up_share: up, lead_time_hours_median: lead, from, to } = backtest;
  if (!events && !up)
    return say("rule_quiet", { begin: clock.day(Date.parse(from)), end: clock.day(Date.parse(to)) });
  const shares = { pod: percent(pod ?? NaN), far: percent(far ?? NaN), up: percent(up ?? NaN) };
  return say("rule_test", { events, lead: number(lead), span, ...shares });
}

/** Makes banner and panel; `choose(dataset, node)` hears an alert that is looked at. */
export function makeAlerts(host, banner, datasets, choose) {
  let alerts = [], rules = null;
  const zone = (name) => datasets.find((dataset) => dataset.name === name)?.timezone ?? "Europe/Rome";
  const titled = (name) => named(datasets.find((dataset) => dataset.name === name)?.target ?? name);

  /** So many leads of a dataset in words. */
  const within = (name, leads) => duration(leads * secondsOf(datasets.find((dataset) => dataset.name === name)?.step ?? "1h"));
  const said = (alert) => say("alert_said", { place: alert.name || alert.node, k: alert.threshold,
    span: within(alert.dataset, alert.within_lead), chance: percent(alert.probability) });

  function entry(alert) {
    const { acknowledged, dataset, node, raised_at: raised } = alert, clock = clockIn(zone(dataset));
    const button = make("button", { type: "button", className: "link", onclick: () => choose(dataset, node) },
      make("span", { className: "mark", textContent: alert.threshold, ariaHidden: "true" }), said(alert));
    // who did so is told to operators alone
    const status = acknowledged ? say(acknowledged.by ? "acknowledged" : "acknowledged_at",
      { by: acknowledged.by, moment: clock.moment(Date.parse(acknowledged.at)) }) : say("unacknowledged");
    return make("li", {}, button, make("p", { className: "quiet" },
      `${titled(dataset)} · ${say("alert_from", { moment: clock.moment(Date.parse(raised)) })} · ${status}`));
  }

  function ruleEntry(rule) {
    const span = within(rule.dataset, rule.within);
    const words = say("rule", { dataset: titled(rule.dataset), k: rule.threshold, span, chance: percent(rule.raise_at) });
    return make("li", {}, words, make("p", { className: "quiet" }, tested(rule, clockIn(zone(rule.dataset)), span)));
  }

  function draw() {
    const list = alerts.length ? make("ul", { className: "alerts" }, ...alerts.map(entry)) :
      make("p", {}, say(rules === null || !rules.length ? "alerts_off" : "alerts_none"));
    host.replaceChildren(make("h2", {}, say("tab_alerts")), list, ...(rules?.length ? [make("h3", {}, say("rules")),
      make("ul", { className: "alerts" }, ...rules.map(ruleEntry))] : []));
    banner.replaceChildren(...(alerts.length ? [make("section", { className: "alarm", ariaLabel: say("tab_alerts") },
      make("b", {}, alerts.length === 1 ? say("alert_one") : say("alert_count", { n: alerts.length })),
      make("button", { type: "button", className: "link", onclick: () => choose(alerts[0].dataset, alerts[0].node) },
        said(alerts[0])))] : []));
  }

  return {
    draw,
    count: () => alerts.length,
    /** Reads what is active now; a server without alerts has none. */
    async load() {
      const [active, known] = await Promise.all([readMaybe("/v1/alerts?state=active"), readMaybe("/v1/alerts/rules")]);
      alerts = (active?.alerts ?? []).sort((a, b) => b.threshold - a.threshold || b.probability - a.probability);
      rules = known?.rules ?? null;
      draw();
    },
  };
}
