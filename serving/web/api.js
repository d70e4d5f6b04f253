/** Reads the forecasting API. */

import { say } from "./language.js";

const LEVELS = "0.05,0.1,0.3,0.5,0.7,0.9,0.95";

/** Gets JSON. Throws an Error that carries the server's own `detail`, and `status` where it answered. */
export async function read(path, options = {}) {
  const response = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error(say("silent"));
  });
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  const error = new Error(body?.detail ?? body?.title ?? say("failed", { path, status: response.status }));
  throw Object.assign(error, { status: response.status });
}

/** Posts JSON. */
export const ask = (path, body, signal) =>
  read(path, { method: "POST", signal, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** Gets what may not be there: null where the server has no such thing. */
export const readMaybe = (path) => read(path).catch((error) => {
  if (error.status === 404) return null;
  throw error;
});

/** Everything that is drawn of a dataset: its forecast, its past (null where none is held). */
export async function readDataset({ name, horizon, nodes }) {
  const path = encodeURIComponent(name), most = Math.floor(1_000_000 / nodes);
  const last = Math.max(1, Math.min(most, Math.max(24, Math.min(72, 2 * horizon))));
  return Promise.all([
    read(`/v1/forecasts/${path}?quantiles=${LEVELS}`),
    readMaybe(`/v1/observations/${path}?last=${last}`),
  ]);
}

/** Makes an element with properties and children; text is never read as markup. */
export function make(tag, properties = {}, ...children) {
  const { data, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}
