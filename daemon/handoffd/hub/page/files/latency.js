// How long things took: for each step a small picture of the last day, five minutes a stroke from the median to what
// nine of ten stayed within, on a logarithmic scale.

import { element, now, shape, took } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 96;
const LEFT = 52;
const BOTTOM = 16;
const DAY_MS = 86400000;
const HOUR_MS = 3600000;
const SLOT_MS = 300000;
const TITLES = {
  take_to_stored: "Taken until stored at the peer", take_to_claimed: "Taken until the claim is known",
  take_to_home: "Taken until the outcome is home", stored_to_published: "Stored until published here",
  published_to_claimed: "Published until an agent claims", claimed_to_final: "Claimed until the agent is done",
};

const scale = (value) => (value >= 1 ? `${value} s` : `${Number((value * 1000).toPrecision(1))} ms`);

const decades = (low, high) => {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) found.push(10 ** power);
  return found.length > 1 ? found : [found[0], found[0] * 10];
};

const chart = (slots, label) => {
  const end = now();
  const start = Math.max(end - DAY_MS, Math.min(end - HOUR_MS, slots[0].at));
  const values = slots.flatMap((slot) => [slot.p50_s, slot.p90_s]).map((value) => Math.max(value, 1e-5));
  const lines = decades(Math.min(...values), Math.max(...values));
  const [low, high] = [Math.log10(lines[0]), Math.log10(lines.at(-1))];
  const x = (at) => LEFT + ((at - start) / (end - start)) * (WIDTH - LEFT - 4);
  const y = (value) => 6 + (1 - (Math.log10(Math.max(value, 1e-5)) - low) / (high - low)) * (HEIGHT - BOTTOM - 12);
  const step = Math.max(1, Math.ceil(lines.length / 4));
  const hours = Math.round((end - start) / HOUR_MS);
  return shape("svg", { role: "img", "aria-label": label, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart" },
    lines.map((value, index) => [
      shape("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }),
      index % step ? null : shape("text", { class: "small", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, scale(value)),
    ].filter(Boolean)),
    slots.filter((slot) => slot.at >= start - SLOT_MS).map((slot) => {
      const at = Math.max(LEFT + 2, Math.min(WIDTH - 4, x(slot.at + SLOT_MS / 2)));
      return [
        shape("line", { class: "stroke", x1: at, x2: at, y1: y(slot.p50_s), y2: y(slot.p90_s) }),
        shape("circle", { class: "median", cx: at, cy: y(slot.p50_s), r: 1.5 }),
      ];
    }),
    shape("text", { class: "small", x: LEFT, y: HEIGHT - 2 }, `${hours} h ago`),
    shape("text", { class: "small", x: WIDTH, y: HEIGHT - 2, "text-anchor": "end" }, "now"));
};

const seconds = (value) => (value === null ? "–" : took(value * 1000));

// Draw what was measured; tell whether there is anything.
export const drawLatency = (list, told) => {
  const cards = Object.keys(TITLES).flatMap((name) => {
    const slots = told.history.filter((slot) => slot.steps[name]).map((slot) => ({ at: slot.at * 1000, ...slot.steps[name] }));
    if (!slots.length) return [];
    const hour = told.last_hour?.[name] ?? { count: 0, p50_s: null, p90_s: null, p99_s: null };
    const label = `${TITLES[name]}, last hour: half within ${seconds(hour.p50_s)}, nine of ten within ${seconds(hour.p90_s)}`;
    return [element("li", {}, element("h3", { title: told.meaning[name] }, TITLES[name]),
      element("dl", { class: "row" }, ["p50_s", "p90_s", "p99_s"].map((key) => element("div", {},
        element("dt", {}, key.slice(0, 3)), element("dd", {}, seconds(hour[key])))),
      element("div", {}, element("dt", {}, "last hour"), element("dd", {}, String(hour.count)))),
      chart(slots, label))];
  });
  list.replaceChildren(...cards);
  return cards.length > 0;
};
