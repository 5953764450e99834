// search.h - breadth-first search over every order of events, with the shortest run to what is broken.
#pragma once
#include "option.h"
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>
using std::vector;
namespace chrono = std::chrono;

template <class M> struct Search {
  typedef typename M::State S;
  struct Slot { u32 state = UINT32_MAX, tag = 0; };   // tag: the upper half of the hash, so that other states are not looked at
  struct Reached { S state; u64 hash; };
  vector<S> states; vector<u32> parent, edges; vector<u64> firstEdge; vector<Slot> slots; vector<Reached> reached;
  u64 count = 0; bool quiet; int ends = 0;

  static u64 hash(const S &s) {
    u64 w[sizeof(S) / 8], h = 0x9E3779B97F4A7C15ull; memcpy(w, &s, sizeof s);
    for (u64 x : w) { h ^= x; h *= 0xBF58476D1CE4E5B9ull; h ^= h >> 29; h *= 0x94D049BB133111EBull; h ^= h >> 32; }
    return h;
  }
  void grow() {
    vector<Slot> bigger(slots.empty() ? 1 << 20 : slots.size() * 2); u64 mask = bigger.size() - 1;
    for (u32 i = 0; i < states.size(); i++) { u64 h = hash(states[i]), at = h & mask; while (bigger[at].state != UINT32_MAX) at = (at + 1) & mask; bigger[at] = {i, u32(h >> 32)}; }
    slots.swap(bigger);
  }
  u32 add(const S &s, u64 h, u32 from) {
    if (states.size() * 10 >= slots.size() * 6) grow();
    u64 mask = slots.size() - 1, at = h & mask; u32 tag = h >> 32;
    for (; slots[at].state != UINT32_MAX; at = (at + 1) & mask) if (slots[at].tag == tag && !memcmp(&states[slots[at].state], &s, sizeof s)) return slots[at].state;
    slots[at] = {u32(states.size()), tag}; states.push_back(s); parent.push_back(from); return slots[at].state;
  }
  void path(u32 i) {
    if (quiet) return;
    vector<u32> way; for (; i; i = parent[i]) way.push_back(i);
    u32 from = 0; int step = 0;
    for (auto it = way.rbegin(); it != way.rend(); from = *it++) {
      const char *name = "?"; int which = 0;
      M::next(states[from], [&](const S &t, const char *a, int i = 0) { if (!memcmp(&t, &states[*it], sizeof t)) name = a, which = i; });
      printf("   %2d  %s", ++step, name); if (which) printf("   (%s)", M::other); puts("");
    }
  }
  int run(const char *title, bool quietly = false) {
    auto t0 = chrono::steady_clock::now(); quiet = quietly;
    auto seconds = [&]() { return chrono::duration<double>(chrono::steady_clock::now() - t0).count(); };
    add(M::init(), hash(M::init()), 0);
    for (u32 i = 0; i < states.size(); i++) {
      const S s = states[i]; bool stuck = true;
      ends |= 1 << M::final(s);
      if (const char *why = M::broken(s)) return fail(title, why, i, seconds());
      if (opt.live) firstEdge.push_back(edges.size());
      const char *whyStep = nullptr; u32 bad = 0;
      // All of them first: while one is looked up, memory fetches what the next ones need.
      reached.clear();
      M::next(s, [&](const S &t, const char *, int = 0) {
        reached.push_back({t, hash(t)}); __builtin_prefetch(&slots[reached.back().hash & (slots.size() - 1)]); });
      for (const Reached &r : reached) {
        count++; stuck = false; u32 to = add(r.state, r.hash, i);
        if (opt.live) edges.push_back(to);
        if (!whyStep && (whyStep = M::brokenStep(s, r.state))) bad = to;
      }
      if (whyStep) return fail(title, whyStep, bad, seconds());
      if (stuck && !M::final(s)) return fail(title, "I10 nothing can happen any more", i, seconds());
    }
    if (opt.live) if (u32 i = hopeless()) return fail(title, "I10 no final outcome can be reached", i, seconds());
    printf("ok      %-34s %11zu states %12llu steps %6.1f s%s\n", title, states.size(), (unsigned long long)count, seconds(), opt.live ? "" : "  (I10 not checked)");
    static const char *names[] = {"", "undelivered", "uncertain", "completed", "rejected", "peer_lost_state", "outcome_unknown"};
    printf("        ends reached:"); for (int o = 1; o < 7; o++) if (ends >> o & 1) printf(" %s", names[o]); puts("");
    return 0;
  }
  int fail(const char *title, const char *why, u32 i, double sec) {
    printf("BROKEN  %-34s %11zu states %6.1f s  %s\n", title, states.size(), sec, why); path(i); return 1;
  }
  u32 hopeless() {   // a state from which no final outcome can be reached, or 0
    u32 size = states.size(); firstEdge.push_back(edges.size());
    vector<u64> in(size + 1, 0); for (u32 to : edges) in[to + 1]++;
    for (u32 i = 0; i < size; i++) in[i + 1] += in[i];
    vector<u32> from(edges.size()); { vector<u64> at(in.begin(), in.end() - 1);
      for (u32 i = 0; i < size; i++) for (u64 e = firstEdge[i]; e < firstEdge[i + 1]; e++) from[at[edges[e]]++] = i; }
    vector<bool> ok(size, false); vector<u32> todo;
    for (u32 i = 0; i < size; i++) if (M::final(states[i])) { ok[i] = true; todo.push_back(i); }
    for (size_t k = 0; k < todo.size(); k++) for (u64 e = in[todo[k]]; e < in[todo[k] + 1]; e++) if (!ok[from[e]]) { ok[from[e]] = true; todo.push_back(from[e]); }
    for (u32 i = 0; i < size; i++) if (!ok[i]) return i;
    return 0;
  }
};
