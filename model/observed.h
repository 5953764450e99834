// observed.h - what of a model's state directories and answers show, for replay.h: docs/custody.md section 15.1.
#pragma once
#include "chain.h"
#include "hop.h"
#include "replay.h"

// One name at most is shown where a rename is one; the last word: several, or a mark that only --redeliver makes.
static u64 tokenIn(u64 entries) {
  switch (entries & TOKEN) { case 0: return 0; case NEW: return 1; case OFFERED: return 2; case CLAIMED: return 3;
                             case DONE: return 4; case REJ: return 5; case PULLED: return 6; default: return 7; }
}
// The same of the sender's name.
static u64 placeIn(u64 entries) {
  switch (entries) { case H_NEW: return 0; case H_OUT: return 1; case H_SENT: return 2; default: return 3; }
}
static const std::vector<std::string> PLACES = {"handoff", "outbox", "sent", "several"}, YES = {"no", "yes"}, TREES = {"0", "1", "2", "3"},
  TOKENS = {"none", "new", "offered", "claimed", "done", "rejected", "pulled", "several"},
  ENDS = {"none", "undelivered", "uncertain", "completed", "rejected", "lost", "unknown"},
  TOLD = {"nothing", "stored", "claimed", "completed", "rejected", "undelivered", "uncertain"};

// The receiver is the same in both models, and so is what it does that leaves a mark.
static const Home &homeOf(const Hop &s) { return s.b; }
static const Home &homeOf(const Hub &s) { return s.b[0]; }
template <class S> static std::vector<Field<S>> with(std::vector<Field<S>> all) {
  const std::vector<Field<S>> homes = {
    {"b.token", [](const S &s) { return tokenIn(homeOf(s).v); }, TOKENS}, {"b.token-flushed", [](const S &s) { return tokenIn(homeOf(s).d); }, TOKENS},
    {"b.receipt", [](const S &s) -> u64 { return !!(homeOf(s).v & RECEIPT); }, YES}, {"b.receipt-flushed", [](const S &s) -> u64 { return !!(homeOf(s).d & RECEIPT); }, YES},
    {"b.end", [](const S &s) -> u64 { return homeOf(s).out; }, ENDS}, {"b.end-flushed", [](const S &s) -> u64 { return homeOf(s).outD; }, ENDS},
    {"b.late", [](const S &s) -> u64 { return homeOf(s).expired; }, YES}, {"b.clean", [](const S &s) -> u64 { return homeOf(s).cleanD; }, YES},
    {"b.serves", [](const S &s) -> u64 { return homeOf(s).phase == UP; }, YES}, {"b.epoch", [](const S &s) -> u64 { return homeOf(s).epoch; }, TREES},
  };
  all.insert(all.end(), homes.begin(), homes.end());
  return all;
}
static std::vector<Heard> with(std::vector<Heard> all) {
  const std::vector<Heard> homes = {
    {"b-dies", {"B process crash"}}, {"b-power", {"B power cut"}},
    {"b-stops", {"B stops, clean mark durable"}}, {"b-loses", {"B loses relay/, new epoch", "B loses relay/ and all files, new epoch"}},
    {"b-stopping", {"B stopping: handoff/N -> inbox/N.new"}},
    {"agent", {"AGENT claims handoff/N -> claimed/N", "AGENT archives", "AGENT rejects"}},
  };
  all.insert(all.end(), homes.begin(), homes.end());
  return all;
}

// A link that A pushes over.
struct HopView {
  typedef HopModel Model;
  static std::vector<Field<Hop>> fields() {
    return with<Hop>({
      {"a.place", [](const Hop &s) -> u64 { return s.place; }, PLACES}, {"a.place-flushed", [](const Hop &s) -> u64 { return s.placeD; }, PLACES},
      {"a.end", [](const Hop &s) -> u64 { return s.out; }, ENDS}, {"a.end-flushed", [](const Hop &s) -> u64 { return s.outD; }, ENDS},
      {"a.claimed", [](const Hop &s) -> u64 { return s.claimed; }, YES}, {"a.late", [](const Hop &s) -> u64 { return s.expired; }, YES},
      {"a.epoch", [](const Hop &s) -> u64 { return s.epoch; }, TREES}, {"a.epoch-flushed", [](const Hop &s) -> u64 { return s.epochD; }, TREES},
      {"told.1", [](const Hop &s) -> u64 { return s.bag1; }, TOLD, true}, {"told.2", [](const Hop &s) -> u64 { return s.bag2; }, TOLD, true},
      {"told.3", [](const Hop &s) -> u64 { return s.bag3; }, TOLD, true},
    });
  }
  static std::vector<Heard> heard() {
    return with({
      {"a-dies", {"A process crash"}}, {"a-power", {"A power cut"}},
      {"withdraw", {"A ends it alone: its writer withdraws it, never sent"}},
      {"posts", {"A sends POST", "A sends POST again"}},
      {"post", {"B writes inbox/N.new", "B writes inbox/N.new, the same POST may come again", "B refuses expired POST: tombstone", "B answers known POST with its state", "B answers 412: other epoch", "B answers 503, not admitted"}},
      {"refusal", {"A gets B's complete not-admitted"}},
      {"revoke", {"B handles REVOKE", "B answers 412 to REVOKE"}},
    });
  }
};

// A link that B dials, to lease what H's own agent wrote: what is A in a trace is H in the model.
struct PullView {
  typedef RelayModel<Hub> Model;
  static std::vector<Field<Hub>> fields() {
    return with<Hub>({
      {"a.place", [](const Hub &s) { return placeIn(s.h.v); }, PLACES}, {"a.place-flushed", [](const Hub &s) { return placeIn(s.h.d); }, PLACES},
      {"a.end", [](const Hub &s) -> u64 { return s.h.out; }, ENDS}, {"a.end-flushed", [](const Hub &s) -> u64 { return s.h.outD; }, ENDS},
      {"a.claimed", [](const Hub &s) -> u64 { return s.w[0].claimed; }, YES}, {"a.late", [](const Hub &s) -> u64 { return s.h.expired; }, YES},
      {"a.epoch", [](const Hub &s) -> u64 { return s.w[0].epoch; }, TREES}, {"a.epoch-flushed", [](const Hub &s) -> u64 { return s.w[0].epochD; }, TREES},
      {"told.1", [](const Hub &s) -> u64 { return s.w[0].told1; }, TOLD, true}, {"told.2", [](const Hub &s) -> u64 { return s.w[0].told2; }, TOLD, true},
      {"told.3", [](const Hub &s) -> u64 { return s.w[0].told3; }, TOLD, true},
    });
  }
  static std::vector<Heard> heard() {
    return with({
      {"a-dies", {"H process crash"}}, {"a-power", {"H power cut"}},
      {"withdraw", {"H ends it alone: its writer withdraws it, nothing can be out"}},
      {"hello", {"B says hello to H", "H stores the peer's epoch", "H: peer's epoch changed, outcome peer_lost_state"}},
      {"lease", {"H leases: outbox/ -> sent/B"}},
      {"bytes", {"H hands out the bytes", "H hands out the bytes, and nobody waits"}},
      {"receive", {"B gets the bytes", "B gets the delayed bytes"}},
      {"told", {"H moves outbox/B -> sent/B", "H hears claimed from B", "H writes B's final outcome"}},
      {"forgets", {"H tells B to forget it"}}, {"wishes", {"H asks B for a verdict"}},
      {"verdict", {"B handles H's wish for a verdict"}},
    });
  }
};
