/** The slider over past and forecast, with its words and its play button. */

import { say } from "./language.js";

const BEAT_MS = 450, CALM_MS = 1200;

/** Wires the slider; `move(step)` hears every change. */
export function makeTime(move) {
  const [slider, play, moment, kind] = ["slider", "play", "moment", "kind"].map((id) => document.getElementById(id));
  let timeline = null, timer = null;

  const tell = () => {
    const step = slider.valueAsNumber, forecast = step >= timeline.split;
    moment.textContent = timeline.clock.moment(timeline.times[step]);
    kind.textContent = say(forecast ? "forecast" : "observed");
    kind.classList.toggle("ahead", forecast);
    slider.setAttribute("aria-valuetext", `${moment.textContent}, ${kind.textContent}`);
  };
  const go = (step) => {
    slider.value = step;
    tell();
    move(step);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    label();
  };
  const label = () => {
    play.ariaLabel = say(timer ? "pause" : "play");
    play.classList.toggle("playing", Boolean(timer));
  };
  const start = () => {
    const last = Number(slider.max);
    if (slider.valueAsNumber >= last) go(0);
    const beat = matchMedia("(prefers-reduced-motion: reduce)").matches ? CALM_MS : BEAT_MS;
    timer = setInterval(() => (slider.valueAsNumber >= last ? stop() : go(slider.valueAsNumber + 1)), beat);
    label();
  };
  slider.addEventListener("input", () => { stop(); go(slider.valueAsNumber); });
  play.addEventListener("click", () => (timer ? stop() : start()));

  return {
    step: () => slider.valueAsNumber,
    go,
    /** Shows a timeline, at its first forecast or as many steps from it as said. */
    show(next, ahead = 0) {
      stop();
      timeline = next;
      const last = next.times.length - 1;
      slider.max = last;
      slider.style.setProperty("--split", `${100 * (next.split - 0.5) / last}%`);
      slider.parentElement.style.setProperty("--split", `${100 * (next.split - 0.5) / last}%`);
      slider.value = Math.max(0, Math.min(last, next.split + ahead));
      tell();
    },
    speak: () => { label(); if (timeline) tell(); },
  };
}
