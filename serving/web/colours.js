/** Colour scales that differ in lightness throughout, so that they read without colour vision too. */

const LIGHT = ["#fff1c4", "#fdc97b", "#f5935c", "#de5d66", "#a93a7c", "#6a2580", "#2f1160"];
const DARK = ["#3a2170", "#6d2f8b", "#a9448a", "#dc6474", "#f59563", "#fcca7d", "#fff3c9"];
const CHANGE_LIGHT = ["#08519c", "#5a9fd4", "#c3d9ea", "#e8e6e1", "#f5cda5", "#e58a3c", "#a34700"];
const CHANGE_DARK = ["#7cc0f5", "#3f86c4", "#2b4f70", "#3d4048", "#7a5130", "#cf7f35", "#ffb469"];
const dark = matchMedia("(prefers-color-scheme: dark)");

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function along(stops, share) {
  const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(place)), part = place - i;
  const [a, b] = [rgb(stops[i]), rgb(stops[i + 1])];
  return `rgb(${a.map((from, k) => Math.round(from + part * (b[k] - from))).join(",")})`;
}

const values = () => (dark.matches ? DARK : LIGHT);
const changes = () => (dark.matches ? CHANGE_DARK : CHANGE_LIGHT);

/** Colour of a share of the scale, 0 to 1. */
export const valueColour = (share) => along(values(), share);
/** Colour of a change, -1 to 1. */
export const changeColour = (share) => along(changes(), (share + 1) / 2);
/** The scale as a CSS gradient. */
export const valueGradient = () => `linear-gradient(90deg, ${values().join(", ")})`;
export const changeGradient = () => `linear-gradient(90deg, ${changes().join(", ")})`;
/** A colour of the page, by the name of its variable. */
export const pageColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
/** Calls back when the scheme changes. */
export const onScheme = (listener) => dark.addEventListener("change", listener);
