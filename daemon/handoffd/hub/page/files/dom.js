// Small helpers to build the page. Text goes in as text nodes only: nothing here can turn a string into markup.

const SVG = "http://www.w3.org/2000/svg";

const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
};

export const element = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
export const shape = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);
export const byId = (id) => document.getElementById(id);

// Set text only where it differs: a screen reader or a selection is not disturbed for nothing.
export const say = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

// The host's clock, from the time in its events: ages are true even where the browser's clock is wrong.
let ahead = 0;
export const hearClock = (time) => { ahead = Date.parse(time) - Date.now(); };
export const now = () => Date.now() + ahead;

// 42 s, 3 min 05 s, 14 min, 2 h 10 min, 5 d 03 h: two units only while the larger one is small.
const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
export const span = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [size, unit, lower, name] of UNITS) {
    if (whole >= size) {
      const most = Math.floor(whole / size);
      const rest = String(Math.floor((whole % size) / lower)).padStart(2, "0");
      return most < 10 ? `${most} ${unit} ${rest} ${name}` : `${most} ${unit}`;
    }
  }
  return `${whole} s`;
};

// Milliseconds, in the unit a person would choose.
export const took = (ms) => {
  const size = Math.abs(ms);
  if (size >= 60000) return span(ms / 1000);
  if (size >= 10000) return `${(ms / 1000).toFixed(1)} s`;
  if (size >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  if (size >= 10 || Number.isInteger(ms)) return `${Math.round(ms)} ms`;
  return size >= 1 ? `${ms.toFixed(1)} ms` : `${ms.toFixed(2)} ms`;
};

// An age or a time to go, kept true by `showAges` of page.js.
export const moment = (name, at) => element("time", { datetime: at, "data-counts": name }, "");

// Words for people, in which `commands` stand out.
export const words = (text) => text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));

export const clock = (time) => new Date(time).toISOString().slice(11, 23);
export const day = (time) => new Date(time).toISOString().slice(0, 10);

// A word for a state with its mark; `doubt` wins over what the files say.
export const stateWord = (row) => (row.in_doubt ? "in doubt" : row.state ?? "not known");
const KINDS = {
  completed: "good", claimed: "held", rejected: "bad", refused: "bad", expired: "late", revoked: "late",
  "in doubt": "doubt", uncertain: "doubt", unknown: "doubt", stray: "doubt",
};
export const kind = (word) => KINDS[word] ?? "open";
export const badge = (word) => element("span", { class: "state", "data-kind": kind(word) }, word);
