/** The legend of the map: what colour, halo and mark mean. */

import { make } from "./api.js";
import { changeGradient, valueGradient } from "./colours.js";
import { named, say, unitOf } from "./language.js";

const AREAS = ["© Comune di Bologna, CC BY 4.0"];

/** Draws it into `host`: of a timeline, or of a change. */
export function drawLegend(host, { target, unit }, timeline, changing, areas) {
  const ramp = make("i", { className: "ramp" });
  ramp.style.background = changing ? changeGradient() : valueGradient();
  const ends = changing ? [say("legend_less"), say("legend_more")] : [timeline.number(timeline.low), timeline.number(timeline.high)];
  const key = (className, text, word) => make("li", {}, make("i", { className, textContent: text ?? "" }), say(word));
  const thresholds = timeline.features.some(({ thresholds: all }) => all?.some((level) => level !== null));
  host.replaceChildren(
    make("p", {}, changing ? say("whatif_by") : make("span", {}, make("b", {}, named(target)), `, ${unitOf(unit)}`)),
    ramp, make("p", { className: "ends" }, ...ends.map((text) => make("span", {}, text))),
    ...(changing ? [] : [make("ul", {}, key("halo", "", "legend_halo"), ...(thresholds ? [key("mark", "1", "legend_mark")] : []))]),
    ...(areas ? [make("p", { className: "source" }, ...AREAS)] : []));
}
