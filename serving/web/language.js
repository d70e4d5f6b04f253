/** The chosen language: words, names, numbers and moments in it. */

import { NAMES } from "./names.js";
import { WARNINGS, WORDS } from "./words.js";

const LANGUAGES = ["en", "it"], LOCALES = { en: "en-GB", it: "it-IT" }, KEPT = "felsina-language";
let language = "en";

const column = () => LANGUAGES.indexOf(language);
const locale = () => LOCALES[language];

/** A phrase with its `{names}` filled in. */
export function say(key, values = {}) {
  return WORDS[key][column()].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** A quantity's name for people, or a readable form of what the service calls it. */
export function named(key) {
  const words = key.replaceAll("_", " ");
  return NAMES[key]?.[column()] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

const UNITS = [["veh/h", ["vehicles/h", "veicoli/h"]], ["degC", ["°C", "°C"]], ["m2", ["m²", "m²"]], ["m3", ["m³", "m³"]]];

/** A unit as people write it. */
export const unitOf = (unit) => UNITS.reduce((text, [from, to]) => text.replaceAll(from, to[column()]), unit);

/** One of an English and an Italian text. */
export const either = (pair) => pair[column()] ?? pair[0];

/** A warning of the service in the chosen language, where it is one that the page knows. */
export function warned(text) {
  if (language === "en") return text;
  const [pattern, italian] = WARNINGS.find(([known]) => known.test(text)) ?? [];
  return pattern ? text.replace(pattern, italian) : text;
}

/** Chooses a language, remembers it, and writes the fixed words of the page. */
export function setLanguage(code) {
  language = LANGUAGES.includes(code) ? code : "en";
  try { localStorage.setItem(KEPT, language); } catch { /* a browser may keep nothing */ }
  document.documentElement.lang = language;
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
  for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = say(element.dataset.label);
  for (const link of document.querySelectorAll(`a[data-${language}]`)) link.href = link.dataset[language];
  for (const button of document.querySelectorAll("button[data-language]"))
    button.ariaPressed = String(button.dataset.language === language);
}

/** The language chosen before, else the browser's. */
export function firstLanguage() {
  let kept = null;
  try { kept = localStorage.getItem(KEPT); } catch { /* none kept */ }
  return kept ?? navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

export const percent = (share) =>
  Number.isFinite(share) ? new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: 0 }).format(share)
    .replace("-", "−") : "–";

/** Writes numbers with as many decimals as their size asks for. */
export function numbersLike(values) {
  let largest = 0;
  for (const value of values) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  const digits = largest >= 100 ? 0 : largest >= 10 ? 1 : 2;
  const format = new Intl.NumberFormat(locale(), { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const zero = format.format(0), minusZero = format.format(-0);
  return (value) => {
    if (!Number.isFinite(value)) return "–";
    const text = format.format(value);
    return (text === minusZero ? zero : text).replace("-", "−");
  };
}

/** A number with at most three decimals. */
export const plain = (value) => new Intl.NumberFormat(locale(), { maximumSignificantDigits: 3 }).format(value);

/** Writes instants (milliseconds) in a civil time zone; names the year when it is not this one. */
export function clockIn(timeZone) {
  const format = new Intl.DateTimeFormat(locale(), { timeZone, weekday: "short", day: "numeric", month: "short",
    year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const read = (at) => Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
  const thisYear = read(Date.now()).year;
  const time = (at) => ["hour", "minute"].map((unit) => read(at)[unit]).join(":");
  const date = ({ weekday, day, month, year }) => `${weekday} ${day} ${month}${year === thisYear ? "" : ` ${year}`}`;
  const day = (at) => date(read(at));
  const short = (at) => (({ weekday, day: number, month }) => `${weekday} ${number} ${month}`)(read(at));
  return { day, short, time, moment: (at) => `${day(at)}, ${time(at)}` };
}

const STEPS = { s: 1, min: 60, h: 3600, d: 86400 };

/** A dataset's step, such as `30min`, in seconds. */
export function secondsOf(step) {
  const [, many, unit] = step.match(/^(\d*)\s*(s|min|h|d)$/i);
  return (Number(many) || 1) * STEPS[unit.toLowerCase()];
}

/** A length of time in the largest unit that fits: `6 h`, `3 days`. */
export function duration(seconds) {
  const [size, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"]].find(([size]) => seconds >= 2 * size) ??
    (seconds >= 3600 ? [3600, "hour"] : [60, "minute"]);
  return new Intl.NumberFormat(locale(), { style: "unit", unit, unitDisplay: "long",
    maximumFractionDigits: 0 }).format(seconds / size);
}
