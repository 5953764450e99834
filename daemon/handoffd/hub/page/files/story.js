// One handoff: its facts, and its way over the hosts as a picture. Time runs down, each host is a line; a distance on
// the paper grows with the logarithm of the time between, so that milliseconds and minutes are both to be seen.

import { badge, clock, day, element, kind, moment, shape, stateWord, took } from "./dom.js";

const GUTTER = 62;
const LABEL = 88;
const TOP = 34;
const ROW = 36;
const STRETCH = 11;
const DOT = 4.5;

// ---------------------------------------------------------------- what is drawn

// Each step, and for each that happened elsewhere the moment this host heard of it. `from`: the mark its arrow comes from.
const marksOf = (told) => {
  const marks = told.timeline.map((step) => ({
    step, host: step.host, at: step.after_ms, name: step.event, small: clock(step.at), sure: step.corrected, from: null,
  }));
  for (const mark of [...marks]) {
    const known = mark.step.known_here_ms;
    if (mark.host !== told.host && mark.sure && known !== null) {
      // The clocks' offset is measured to a millisecond or two: news cannot really have come before the event.
      const later = Math.max(0, known);
      marks.push({ ...mark, host: told.host, at: mark.at + later, name: "heard", small: later ? `${took(later)} later` : "at once", from: mark, news: true });
    }
  }
  const order = new Map(marks.map((mark, index) => [mark, index]));
  marks.sort((a, b) => a.at - b.at || order.get(a) - order.get(b));
  const left = marks.find((mark) => !mark.news);
  const there = marks.find((mark) => !mark.news && mark.host !== left?.host && mark.at >= left.at);
  if (there) there.from = left;
  return marks;
};

// The sender's host stands left, then the one it went to, then the others in the order of the story.
const hostsOf = (told, marks) => {
  const hosts = [...new Set(marks.map((mark) => mark.host))];
  const beyond = hosts.filter((host) => host !== told.peer);
  if (["receiver", "relay"].includes(told.role) && told.peer) return [told.peer, ...beyond];
  if (told.role === "sender" && told.peer) {
    return [...beyond.filter((host) => host === told.host), told.peer, ...beyond.filter((host) => host !== told.host)];
  }
  return hosts.length ? hosts : [told.host];
};

const placesOf = (hosts, width) => {
  const first = GUTTER + LABEL;
  const last = width - LABEL;
  return new Map(hosts.map((host, index) => [
    host, hosts.length < 2 ? first : first + ((last - first) * index) / (hosts.length - 1),
  ]));
};

const arrow = (from, to, kindOf) => {
  const turn = Math.atan2(to.y - from.y, to.x - from.x);
  const end = { x: to.x - Math.cos(turn) * (DOT + 2.5), y: to.y - Math.sin(turn) * (DOT + 2.5) };
  const wing = (side) => `${end.x - 7 * Math.cos(turn + side)} ${end.y - 7 * Math.sin(turn + side)}`;
  return shape("g", { class: `arrow ${kindOf}` },
    shape("line", { x1: from.x, y1: from.y, x2: end.x, y2: end.y }),
    shape("polygon", { points: `${end.x} ${end.y} ${wing(0.42)} ${wing(-0.42)}` }));
};

const text = (x, y, words, name, anchor = "start") => shape("text", { x, y, class: name, "text-anchor": anchor }, words);

// A host's name and what there is to say of it, above its line as far as that fits between `low` and `high`.
const pen = document.createElement("canvas").getContext("2d");
const above = (words, y, name, x, [low, high]) => {
  pen.font = `${name === "host" ? "600 13px" : "11px"} ${getComputedStyle(document.body).fontFamily}`;
  let shown = words;
  while (shown.length > 1 && pen.measureText(shown).width > high - low) shown = `${shown.replace(/…$/, "").slice(0, -1)}…`;
  const half = pen.measureText(shown).width / 2 + 1;
  const label = text(Math.min(Math.max(x, low + half), high - half), y, shown, name, "middle");
  if (shown !== words) label.append(shape("title", {}, words));
  return label;
};

export const picture = (told, width) => {
  const marks = marksOf(told);
  const hosts = hostsOf(told, marks);
  const places = placesOf(hosts, width);
  let y = TOP + 22;
  marks.forEach((mark, index) => {
    if (index) y += ROW + STRETCH * Math.log10(1 + Math.max(0, mark.at - marks[index - 1].at));
    Object.assign(mark, { x: places.get(mark.host), y });
  });
  const height = y + 34;
  const known = new Set(marks.map((mark) => mark.host));
  const lanes = hosts.map((host, index) => {
    const x = places.get(host);
    const room = [
      index ? (x + places.get(hosts[index - 1])) / 2 + 4 : 2,
      index < hosts.length - 1 ? (x + places.get(hosts[index + 1])) / 2 - 4 : width - 2,
    ];
    return [
      shape("line", { class: known.has(host) ? "lane" : "lane dim", x1: x, y1: TOP, x2: x, y2: height - 12 }),
      above(host, 14, "host", x, room),
      above(host === told.host ? "this host" : known.has(host) ? "" : "times not known here", 28, "small", x, room),
    ];
  });
  const arrows = marks.filter((mark) => mark.from)
    .map((mark) => arrow(mark.from, mark, mark.news ? "news" : "payload"));
  const first = marks[0];
  const stranger = hosts.find((host) => !known.has(host));
  if (first && stranger && told.role === "receiver") {
    arrows.unshift(arrow({ x: places.get(stranger), y: first.y }, first, "payload unsure"));
  }
  const dots = marks.map((mark) => {
    const isLeft = hosts.length > 1 && mark.host === hosts[0];
    const [x, anchor] = isLeft ? [mark.x - 11, "end"] : [mark.x + 11, "start"];
    return shape("g", { class: mark.news ? "mark news" : "mark", "data-kind": kind(mark.name) },
      text(GUTTER - 8, mark.y + 4, `${mark.sure ? "" : "? "}${mark.at > 0 ? "+" : ""}${took(mark.at)}`, "after", "end"),
      shape("circle", { cx: mark.x, cy: mark.y, r: mark.news ? DOT - 1.5 : DOT, class: mark.sure ? null : "unsure" }),
      text(x, mark.y + 1, mark.name.replaceAll("_", " "), "event", anchor),
      text(x, mark.y + 14, mark.small, "small", anchor));
  });
  const words = marks.filter((mark) => !mark.news)
    .map((mark) => `${took(mark.at)}: ${mark.name.replaceAll("_", " ")} at ${mark.host}`).join("; ");
  return shape("svg", {
    role: "img", "aria-label": `The way of this handoff. ${words}`, width, height, viewBox: `0 0 ${width} ${height}`,
  }, shape("line", { class: "edge", x1: GUTTER, y1: TOP, x2: GUTTER, y2: height - 12 }), ...lanes.flat(), ...arrows, ...dots);
};

// ---------------------------------------------------------------- the words around it

const LEFT_OUT = new Set(["at", "after_ms", "host", "event", "corrected", "known_here_ms", "source", "peer", "file", "detail"]);
const wordsOf = (step) => Object.entries(step).filter(([key, value]) => !LEFT_OUT.has(key) && value !== step.event)
  .map(([key, value]) => `${key.replaceAll("_", " ")} ${value}`).join(", ");

const table = (told) => element("details", {}, element("summary", {}, "The same as a table"),
  element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Steps" },
    element("table", {}, element("thead", {}, element("tr", {}, ["After", "At (UTC)", "Host", "Step", "Known here"].map(
      (head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, told.timeline.map((step) => element("tr", {},
      element("td", {}, took(step.after_ms)), element("td", {}, `${step.corrected ? "" : "? "}${clock(step.at)}`),
      element("td", {}, step.host),
      element("td", {}, [step.event.replaceAll("_", " "), wordsOf(step)].filter(Boolean).join(": ")),
      element("td", {}, step.known_here_ms === null ? "" : step.known_here_ms > 0 ? `${took(step.known_here_ms)} later` : "at once")))))));

const fact = (name, value) => (value === null || value === undefined || value === "" ? []
  : [element("div", {}, element("dt", {}, name), element("dd", {}, value))]);

const payload = (told) => (typeof told.payload === "string"
  ? element("details", {}, element("summary", {}, "Payload"), element("pre", { tabindex: "0" }, told.payload)) : null);

// Put the story into its place. `told` null: neither files nor journal know of it any more.
export const drawStory = (place, told, tid, close) => {
  const shut = element("button", { type: "button", class: "close", "aria-label": "Close this handoff" }, "Close");
  shut.addEventListener("click", close);
  if (!told) {
    place.replaceChildren(shut, element("h3", { id: "story-title" }, "Not known here any more"),
      element("p", {}, `Neither the files nor the journal of this host know ${tid.slice(0, 12)}.`));
    return;
  }
  const opened = [...place.querySelectorAll("details[open] > summary")].map((node) => node.textContent);
  const word = stateWord(told);
  const first = told.timeline[0];
  const figure = element("figure", {});
  place.replaceChildren(...[shut,
    element("h3", { id: "story-title" }, `${told.from ?? "?"} → ${told.to ?? "?"} `, badge(word)),
    told.reason && told.reason !== told.state ? element("p", { class: "reason" }, told.reason.replaceAll("_", " ")) : null,
    told.detail ? element("p", { class: "words" }, told.detail) : null,
    element("dl", {},
      fact("handoff", told.handoff_id), fact("T", element("code", { title: tid }, tid.slice(0, 12))),
      fact("this host is", { sender: "where it comes from", receiver: "where it goes to", relay: "on its way",
        local: "home of both agents" }[told.role]),
      fact(told.ended ? "ended" : "here for", told.since ? moment(told.ended ? "ago" : "for", told.since) : null),
      fact(told.ended ? "" : "expires", told.ended || !told.expires_at ? null : moment("to", told.expires_at))),
    first ? figure : element("p", { class: "note" }, "Nothing was noted of its way."),
    element("ul", { class: "notes" }, [first ? `${day(first.at)}, times in UTC by the clock of ${told.host}` : null,
      ...told.notes].filter(Boolean).map((note) => element("li", {}, note))),
    first ? table(told) : null, payload(told)].filter(Boolean));
  for (const node of place.querySelectorAll("details > summary")) {
    if (opened.includes(node.textContent)) node.parentElement.open = true;
  }
  place.hidden = false;
  if (first) figure.append(picture(told, Math.max(280, Math.min(560, figure.clientWidth || 320))));
};
