// Who is looking, and the stream of news. The token lives in this tab alone: never in a cookie, an address or a log.

import { hearClock } from "./dom.js";

const KEY = "handoffd.token";
const SILENCE_MS = 25000; // the daemon is heard every 10 s
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15000;
const STORY_TRIES = 5; // the daemon tells few at once

export class Refused extends Error {}

export const token = () => sessionStorage.getItem(KEY);
export const keep = (text) => sessionStorage.setItem(KEY, text);
export const forget = () => sessionStorage.removeItem(KEY);

// Take the code out of the address before anything else: it must not stay in the history.
export const takeCode = () => {
  const code = /^#enter=([A-Za-z0-9_-]+)$/.exec(location.hash)?.[1] ?? null;
  if (code) history.replaceState(null, "", location.pathname);
  return code;
};

export const enter = async (code) => {
  const answer = await fetch("session", { method: "POST", body: JSON.stringify({ code }), cache: "no-store" });
  const told = await answer.json();
  if (!answer.ok) throw new Refused(told.detail);
  keep(told.token);
};

const asked = async (path, headers = {}, signal = undefined) => {
  const answer = await fetch(path, {
    headers: { Authorization: `Bearer ${token()}`, ...headers }, cache: "no-store", signal,
  });
  if (answer.status === 401 || answer.status === 403) {
    throw new Refused((await answer.json().catch(() => ({}))).detail ?? "The daemon does not let you in.");
  }
  return answer;
};

export const story = async (tid) => {
  const path = `handoffs/${encodeURIComponent(tid)}`;
  let answer = await asked(path);
  for (let tries = 1; answer.status === 429 && tries < STORY_TRIES; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(answer.headers.get("Retry-After") ?? 1)));
    answer = await asked(path);
  }
  return answer.ok ? answer.json() : null;
};

// The stream: read by hand, because EventSource cannot send a token in a header. `hear(name, value)` for each part,
// `tell(word, seconds)` for how the stream itself is. It rests while nobody can see the page.
export class Stream {
  #last = "";
  #pause = FIRST_PAUSE_MS;
  #open = null;
  #timer = 0;
  #over = false;

  constructor(hear, tell, refused) {
    Object.assign(this, { hear, tell, refused });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#rest() : this.#go()));
    if (!document.hidden) this.#go();
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#open?.abort();
    if (!this.#over) this.tell("paused");
  }

  async #go() {
    clearTimeout(this.#timer);
    this.#open?.abort();
    if (this.#over) return;
    const mine = (this.#open = new AbortController());
    try {
      const headers = this.#last ? { "Last-Event-ID": this.#last } : {};
      const answer = await asked("events", headers, mine.signal);
      if (!answer.ok) throw new Error(answer.status === 429 ? "crowded" : "no stream");
      await this.#read(answer.body.getReader(), mine);
      this.#pause = FIRST_PAUSE_MS / 2; // it ended in order: the daemon lets no stream live for ever
    } catch (error) {
      if (error instanceof Refused) {
        this.#over = true;
        this.refused(error.message);
        return;
      }
      if (mine !== this.#open || document.hidden) return;
      this.tell(error.message === "crowded" ? "crowded" : "lost", this.#pause / 1000);
    }
    if (mine !== this.#open || document.hidden) return;
    this.#timer = setTimeout(() => this.#go(), this.#pause * (0.75 + Math.random() / 2));
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
  }

  async #read(reader, mine) {
    const decoder = new TextDecoder();
    let text = "";
    let silence = 0;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => mine.abort(), SILENCE_MS);
    };
    try {
      for (listen(); ; listen()) {
        const { done, value } = await reader.read();
        if (done) return;
        text += decoder.decode(value, { stream: true });
        const events = text.split("\n\n");
        text = events.pop();
        events.forEach((event) => this.#take(event));
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #take(event) {
    const fields = Object.fromEntries(event.split("\n").map((line) => {
      const at = line.indexOf(":");
      return [line.slice(0, at), line.slice(at + 1).trimStart()];
    }));
    const { time, value } = JSON.parse(fields.data);
    this.#last = fields.id;
    this.#pause = FIRST_PAUSE_MS;
    hearClock(time);
    this.tell("live");
    if (fields.event !== "beat") this.hear(fields.event, value);
  }
}
