/** A dataset's past and forecast on one row of moments. */

import { clockIn, numbersLike } from "./language.js";

export const BANDS = [[0.05, 0.95], [0.1, 0.9], [0.3, 0.7]];
const INNER = 2, OUTER = 98;

/**
 * Joins a forecast and what was observed before it.
 *
 * `times` are milliseconds, the first `split` of them observed. `value(node, t)` is the observation or the median,
 * `width(node, t)` that of the 8 in 10 band (0 where observed), `reached(node, t)` the highest threshold not above the
 * value (0 for none). `low` and `high` are the ends of the colour scale.
 */
export function timelineOf(forecast, observations) {
  const { features } = forecast, init = Date.parse(forecast.init_time);
  const seen = (observations?.times ?? []).map((time) => Date.parse(time));
  const split = seen.filter((at) => at <= init).length;
  const past = new Map((observations?.features ?? []).map(({ id, values }) => [id, values]));
  const observed = features.map(({ id }) => (past.get(id) ?? []).slice(0, split));
  const times = [...seen.slice(0, split), ...forecast.valid_times.map((time) => Date.parse(time))];
  const at = (node, level, t) => features[node].quantiles[level]?.[t - split];
  const value = (node, t) => (t < split ? observed[node][t] : at(node, "0.5", t)) ?? NaN;
  const width = (node, t) => (t < split ? 0 : at(node, "0.9", t) - at(node, "0.1", t) || 0);
  const reached = (node, t) =>
    (features[node].thresholds ?? []).reduce((most, level, k) =>
      (level !== null && value(node, t) >= level ? k + 1 : most), 0);
  const every = features.flatMap((_, node) => times.map((_, t) => value(node, t))).filter(Number.isFinite)
    .sort((a, b) => a - b);
  const share = (percentile) => every[Math.round((every.length - 1) * percentile / 100)] ?? 0;
  let [low, high] = [share(INNER), share(OUTER)];
  if (low > 0 && low < high / 2) low = 0;
  if (!(high > low)) high = low + 1;
  return { forecast, observations, features, times, split, init, observed, value, width, reached, at, low, high,
    number: numbersLike(every), clock: clockIn(forecast.timezone) };
}

/** The name of a node for people. */
export const nameOf = ({ name, id }) => name || id;
