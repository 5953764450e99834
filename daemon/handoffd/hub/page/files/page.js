// The board: puts each part that arrives in its place. What one handoff went through is story.js, times are latency.js.

import { badge, byId, clock, day, element, kind, moment, now, say, span, stateWord, took, words } from "./dom.js";
import { drawLatency } from "./latency.js";
import { Refused, Stream, enter, forget, keep, story, takeCode, token } from "./session.js";
import { drawStory } from "./story.js";

const ALWAYS = ["queued", "stored", "published", "claimed"];
const ORDER = ["untaken", "arriving", "queued", "stored", "leased", "published", "claimed", "stray", "in doubt"];
const STATE_MEANS = {
  untaken: "in handoff/, not in custody", queued: "in custody here, the peer has not said that it has it",
  stored: "on the disk of the host it goes to", leased: "the next host may have it",
  published: "an agent can claim it", claimed: "an agent has it", "in doubt": "past its time, without a verdict",
};
const board = { handoffs: null, only: "", chosen: null, told: "" };

// ---------------------------------------------------------------- rows of handoffs

const rowOf = (row) => {
  const word = stateWord(row);
  const title = row.handoff_id ?? row.tid.slice(0, 12);
  const way = `${row.from ?? "?"} → ${row.to ?? "?"}`;
  const cell = (name, ...inside) => element("td", { role: "cell", class: name }, ...inside);
  return element("tr", { role: "row", "data-tid": row.tid },
    cell("what", badge(word)),
    element("td", { role: "cell", class: "way", title: way }, way),
    cell("name", element("a", { href: `#handoff=${row.tid}`, title },
      element("span", {}, title.slice(0, -8)), element("span", {}, title.slice(-8)))),
    cell("age", moment(row.ended ? "ago" : "for", row.since)),
    row.ended ? cell("why", row.reason && row.reason !== row.state ? row.reason.replace(/^rejected_/, "").replaceAll("_", " ") : "")
      : cell("left", row.expires_at ? moment("to", row.expires_at) : ""),
    cell("peer", row.peer ?? (row.role === "local" ? "this host" : "")));
};

// Rows are kept, and not even moved, as long as they say the same: focus and selection stay where they are.
const fillRows = (body, rows) => {
  const known = new Map([...body.children].map((node) => [node.dataset.tid, node]));
  const wanted = rows.map((row) => {
    const said = JSON.stringify(row);
    const old = known.get(row.tid);
    if (old?.said === said) return old;
    const fresh = rowOf(row);
    fresh.said = said;
    if (old) {
      const focused = old.contains(document.activeElement);
      old.replaceWith(fresh);
      if (focused) fresh.querySelector("a").focus();
    }
    return fresh;
  });
  const kept = new Set(wanted);
  for (const node of [...body.children]) if (!kept.has(node)) node.remove();
  wanted.forEach((node, index) => {
    if (body.children[index] !== node) body.insertBefore(node, body.children[index] ?? null);
  });
};

const fits = (row) => !board.only || stateWord(row) === board.only;

const showRows = () => {
  const { open, ended, counts, limits } = board.handoffs;
  const shown = open.filter(fits);
  const past = ended.filter(fits);
  fillRows(byId("open"), shown);
  fillRows(byId("ended"), past);
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const only = board.only ? ` that is ${board.only}` : "";
  say(byId("open-note"), all > open.length ? `The oldest ${open.length} of ${all} are shown.`
    : shown.length ? "" : `Nothing is open${only}.`);
  say(byId("ended-note"), ended.length >= limits.ended ? `The last ${limits.ended} are shown.`
    : past.length ? "" : `Nothing has ended here yet${only}.`);
  markChosen();
  showAges();
};

const showAges = () => {
  const at = now();
  for (const node of document.querySelectorAll("time[data-counts]")) {
    const age = (at - Date.parse(node.dateTime)) / 1000;
    const name = node.dataset.counts;
    say(node, name === "to" && age < 0 ? `in ${span(-age)}` : name === "for" ? span(age) : `${span(age)} ago`);
    if (name === "to") node.classList.toggle("over", age >= 0);
  }
};

// ---------------------------------------------------------------- states

const showStates = () => {
  const { counts, open, ended, since_start: all } = board.handoffs;
  const oldest = {};
  const here = { ...counts };
  for (const row of open) {
    const word = stateWord(row);
    oldest[word] ??= row.since;
    if (word !== row.state) {
      here[row.state] -= 1;
      here[word] = (here[word] ?? 0) + 1;
    }
  }
  const shown = ORDER.map((word) => [word, here[word] ?? 0])
    .filter(([word, count]) => count || ALWAYS.includes(word));
  const past = { ...Object.fromEntries(ended.map((row) => [row.state, 0])), ...all };
  const tile = (word, count, since) => element("button", {
    type: "button", "data-word": word, "data-kind": kind(word), "aria-pressed": String(board.only === word),
    title: STATE_MEANS[word], class: count ? null : "none",
  }, element("b", {}, String(count)), element("span", {}, word), since ? moment("for", since) : null);
  const group = (title, tiles) => element("div", { class: "tiles" }, element("h3", {}, title), element("div", {}, tiles));
  const focused = document.activeElement?.dataset?.word;
  byId("states").replaceChildren(
    group("Open now", shown.map(([word, count]) => tile(word, count, count ? oldest[word] : null))),
    ...(Object.keys(past).length
      ? [group("Ended since the daemon started",
        Object.entries(past).sort((a, b) => b[1] - a[1]).map(([word, count]) => tile(word, count, null)))] : []));
  if (focused) byId("states").querySelector(`[data-word="${CSS.escape(focused)}"]`)?.focus();
};

byId("states").addEventListener("click", (event) => {
  const word = event.target.closest("button")?.dataset.word;
  if (!word) return;
  board.only = board.only === word ? "" : word;
  showStates();
  showRows();
});

// ---------------------------------------------------------------- host, warnings, links

const showHost = (told) => {
  document.title = `${told.warnings?.length ? `(${told.warnings.length}) ` : ""}${told.host} · handoffd`;
  say(byId("host"), told.host);
  const since = told.started ? ` · since ${day(told.started)} ${clock(told.started).slice(0, 5)} UTC` : "";
  say(byId("about"), `${told.version}${since}${told.ready ? "" : " · not ready"}`);
  const list = byId("warnings").querySelector("ul");
  byId("warnings").hidden = !told.warnings?.length;
  list.replaceChildren(...(told.warnings ?? []).map((one) => element("li", {},
    element("b", {}, [one.peer, one.word.replaceAll("_", " ")].filter(Boolean).join(": ")), " ", words(one.detail),
    element("span", { class: "remedy" }, words(one.remedy)))));
};

const fact = (name, value, title = null) =>
  (value === null || value === undefined || value === "" ? [] : [element("div", { title },
    element("dt", {}, name), element("dd", {}, value))]);

const linkCard = (link) => {
  const offset = link.clock_offset_ms;
  const kindOf = { up: "good", refused: "bad", down: "bad" }[link.state] ?? "open";
  return element("li", {},
    element("h3", {}, link.peer, " ", element("span", { class: "state", "data-kind": kindOf }, link.state)),
    element("dl", {},
      fact(`${link.state} for`, link.since ? moment("for", link.since) : null),
      fact("round trip", link.round_trip_ms === null ? null : link.round_trip_ms < 1 ? "below 1 ms" : took(link.round_trip_ms)),
      fact("its clock", offset === null ? null : offset === 0 ? "agrees with ours"
        : `${took(Math.abs(offset))} ${offset > 0 ? "ahead" : "behind"}`),
      fact("last success", link.last_success ? moment("ago", link.last_success) : null),
      fact("agents", (link.homes ?? []).join(", ")),
      fact("waiting here", String(link.backlog)),
      fact("under way", String(link.in_flight ?? 0)),
      fact("address", link.url)),
    link.error ? element("p", { class: "trouble" }, element("b", {}, link.error.word.replaceAll("_", " ")),
      " ", words(link.error.detail), element("span", { class: "remedy" }, words(link.error.remedy))) : null);
};

const sharedCard = (one) => element("li", {},
  element("h3", {}, `whichever of ${one.homes.join(", ") || "no listed peer now"}`),
  element("dl", {}, fact("for", one.agent), fact("waiting here", String(one.count))));

const showLinks = ({ links, shared }) => {
  byId("links").replaceChildren(...(links.length ? [...links.map(linkCard), ...shared.map(sharedCard)]
    : [element("li", { class: "empty" }, "No peer is configured.")]));
  showAges();
};

// ---------------------------------------------------------------- one handoff

const chosenTid = () => /^#handoff=([0-9a-f]{64})$/.exec(location.hash)?.[1] ?? null;

const markChosen = () => {
  for (const link of document.querySelectorAll("tbody a")) {
    const row = link.closest("tr");
    row.classList.toggle("chosen", row.dataset.tid === board.chosen);
    if (row.dataset.tid === board.chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
};

const showStory = async (moveFocus) => {
  const tid = (board.chosen = chosenTid());
  const place = byId("story");
  markChosen();
  if (!tid) {
    place.hidden = true;
    board.told = "";
    return;
  }
  try {
    const told = await story(tid);
    if (tid !== chosenTid()) return;
    drawStory(place, told, tid, close);
    place.hidden = false;
    showAges();
    if (moveFocus) place.focus();
  } catch (error) {
    if (error instanceof Refused) ask(error.message);
  }
};

const close = () => {
  const was = board.chosen;
  history.pushState(null, "", location.pathname);
  showStory(false);
  document.querySelector(`tr[data-tid="${was}"] a`)?.focus();
};

// Tell the story again when its row says something new.
const followStory = () => {
  const row = [...board.handoffs.open, ...board.handoffs.ended].find((one) => one.tid === board.chosen);
  const said = row ? JSON.stringify(row) : "";
  if (board.chosen && said !== board.told) showStory(false);
  board.told = said;
};

addEventListener("hashchange", () => showStory(true));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && board.chosen) close();
});
for (const id of ["open", "ended"]) {
  byId(id).addEventListener("click", (event) => {
    if (!event.target.closest("a") && !String(getSelection())) event.target.closest("tr")?.querySelector("a")?.click();
  });
}
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width && board.chosen) showStory(false);
  width = innerWidth;
});

// ---------------------------------------------------------------- life

const PARTS = {
  host: showHost,
  links: showLinks,
  latency: (told) => { byId("latency").hidden = !drawLatency(byId("latencies"), told); },
  handoffs: (told) => {
    board.handoffs = told;
    showStates();
    showRows();
    followStory();
  },
};

const LIVE = {
  live: () => "live",
  paused: () => "paused",
  crowded: (s) => `too many viewers, trying again in ${Math.ceil(s)} s`,
  lost: (s) => `no answer, trying again in ${Math.ceil(s)} s; what is shown may be old`,
};

const tell = (word, seconds) => {
  const node = byId("live");
  node.dataset.live = word;
  say(node, LIVE[word](seconds));
};

const watch = () => {
  byId("enter").hidden = true;
  byId("board").hidden = false;
  new Stream((name, value) => PARTS[name]?.(value), tell, ask);
  showStory(false);
};

const ask = (why) => {
  forget();
  byId("board").hidden = true;
  byId("enter").hidden = false;
  say(byId("enter-why"), why);
  byId("live").dataset.live = "out";
  say(byId("live"), "not signed in");
  byId("token").focus();
};

byId("enter-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("token").value.trim();
  byId("token").value = "";
  keep(text);
  watch();
});

setInterval(() => { if (!document.hidden && board.handoffs) showAges(); }, 1000);

const code = takeCode();
try {
  if (code) await enter(code);
  if (token()) watch();
  else ask("");
} catch (error) {
  ask(error instanceof Refused ? error.message : "The daemon does not answer.");
}
