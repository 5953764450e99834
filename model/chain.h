// chain.h - model 2: two hops, A pushes to H, H is reached by or reaches B. Model 3: the hop H -> B alone.
#pragma once
#include "relay.h"

struct Origin {                                      // A, as in model 1 without epochs
  u64 place : 2, placeD : 2, out : 3, outD : 3, maybe : 1, claimed : 1, expired : 1;
  u64 post : 2, revoke : 1, heard : 8;               // its request to H; all that H ever answered
};
struct Chain { Origin a; Relay h; Wire w[1]; Home b[1]; Faults f; };


template <class Emit> static void originSteps(const Chain &s, Emit emit) {
  Chain n = s;
  auto done = [&](const char *name) { emit(n, name, 0); n = s; };
  const Origin &a = s.a;
  if (!a.expired) { n.a.expired = 1; done("A clock passes expires_at"); } else if (mayStepBack(n.f)) { n.a.expired = 0; done("A clock steps back"); }
  n = s;
  if (a.place != a.placeD) { n.a.placeD = a.place; done("A outbox/ flushed"); }
  if (a.out != a.outD) { n.a.outD = a.out; done("A outcome flushed"); }
  bool closed = !a.maybe && a.post == FREE, sent = a.place == SENT || (a.place == OUTBOX && !closed);
  if (a.place == HANDOFF && !a.out) { n.a.place = OUTBOX; n.a.maybe = 0; done("A takes handoff/X -> outbox/H/T~X"); }
  if (a.expired && !a.out && (a.place == HANDOFF || (a.place == OUTBOX && closed))) { n.a.out = UNDELIVERED; done("A expires it alone: never sent"); }
  if (a.place == OUTBOX && a.placeD != HANDOFF && !a.out && !a.expired && a.post == FREE) { n.a.post = FLYING; done("A sends POST"); }
  if (a.post == FLYING) { n.a.post = ABANDONED; n.a.maybe = 1; done("A gives up waiting for POST"); }
  if (a.post == REFUSED) { n.a.post = FREE; const Chain lost = n; done("A gets H's complete not-admitted"); n = lost; n.a.maybe = 1; done("not-admitted lost"); }
  if (sent && !a.out && !a.revoke) { n.a.revoke = 1; done("A sends REVOKE"); }
  if (!a.out && a.place != HANDOFF) {
    if ((a.heard & (A_STORED | A_LEASED)) && a.place == OUTBOX) { n.a.place = SENT; done("A moves outbox/ -> sent/"); }
    if ((a.heard & A_CLAIMED) && !a.claimed) { n.a.claimed = 1; done("A shows claimed"); }
    for (int x : {A_DONE, A_REJ, A_UNDEL, A_UNC, A_LOST}) if (a.heard & x) { n.a.out = outcomeFor(x); done("A writes H's final outcome"); }
  }
  auto dies = [&]() { n.a.maybe = 1; n.a.claimed = 0; if (a.post == FLYING) n.a.post = ABANDONED; if (a.post == REFUSED) n.a.post = FREE; };
  if (spend(n.f, HOST_A, 'c')) { dies(); done("A process crash"); }
  n = s;
  if (spend(n.f, HOST_A, 'p')) { n.a.place = a.placeD; n.a.out = a.outD; dies(); done("A power cut"); }
}

// H as receiver of what A sends.
template <class Emit> static void receiveSteps(const Chain &s, Emit emit) {
  WRONG(relay_revokes_lease);
  Chain n = s;
  auto done = [&](const char *name) { emit(n, name, 0); n = s; };
  bool up = !s.h.start, idle = up && s.h.step == 0, knows = s.h.out || s.h.rc || s.h.v;
  if (idle && (s.a.post == FLYING || s.a.post == ABANDONED)) {
    auto taken = [&]() { if (s.a.post == FLYING) n.a.maybe = 1; n.a.post = FREE; };
    if (knows) { if (relayReport(s)) { taken(); n.a.heard |= say(n); done("H answers known POST with its state"); } }
    else if (s.h.expired) { n.h.out = UNDELIVERED; done("H refuses expired POST: tombstone"); }
    else { taken(); n.h.v = H_NEW; n.h.step = 1; done("H writes inbox/N.new"); }
    if (!knows) { n.a.post = s.a.post == FLYING ? REFUSED : FREE; done("H answers 503, not admitted"); }
    taken(); done("POST lost");
  }
  if (up && s.h.step == 1) { n.h.rc = 1; n.h.step = 2; done("H links receipt inbox/N"); }
  if (up && s.h.step == 2 && s.h.d == H_NEW && s.h.rcD) {
    n.h.step = 0; n.a.heard |= say(n); done("H has custody, answers stored");
    n.h.step = 0; done("H has custody, answer lost"); }
  if (idle && relayReport(s) && !(s.a.heard & relayReport(s))) { n.a.heard |= say(n); done("H answers a states query"); }
  if (!idle || !s.a.revoke) return;
  n.a.revoke = 0; const Chain lost = n;
  if (!knows) { n.h.out = UNDELIVERED; done("H handles REVOKE: tombstone"); }
  else if (!s.h.out && alone(s)) { n.h.out = UNDELIVERED; done("H handles REVOKE: nothing can be out"); }
  else if (!s.h.out && relay_revokes_lease) { n.h.out = UNDELIVERED; done("MISTAKE H revokes a lease alone"); }
  else if (!s.h.out && s.w[0].epoch) { n.w[0].revoke = 1; n.w[0].rtag = s.w[0].epoch; done("H passes REVOKE on to B"); }
  n = lost; done("REVOKE lost");
}

struct ChainModel {
  typedef Chain State;
  static constexpr const char *other = "the second B";
  static Chain init() {
    Chain s; memset(&s, 0, sizeof s);
    s.b[0].epoch = s.w[0].epoch = s.w[0].epochD = 1; s.h.mode = s.h.note = s.h.noteD = opt.push ? PUSH : PULL;
    return s;
  }
  static int final(const Chain &s) { return s.a.outD; }
  template <class Emit> static void next(const Chain &s, Emit emit) { originSteps(s, emit); receiveSteps(s, emit); relaySteps(s, emit); }
  static const char *broken(const Chain &s) {
    const Origin &a = s.a; const Home &b = s.b[0];
    if (const char *why = relayBroken(s)) return why;
    if (a.place == SENT && !a.out && !s.h.rcD && !s.h.outD) return "I3 A was told stored, H has nothing durable";
    if (a.out == UNDELIVERED && b.claims) return "I5 not delivered, but an agent claimed it";
    if (a.out && a.out != UNDELIVERED && a.out != s.h.outD) return "I6 A and H end differently";
    if (a.claimed && (!b.claims || (b.epoch == 1 && !b.outD && !(b.d & ACTED)))) return "I6 a claim is shown that B could lose";
    return nullptr;
  }
  static const char *brokenStep(const Chain &s, const Chain &t) {
    if (s.a.outD && t.a.outD != s.a.outD) return "I6 A's final outcome changed";
    return relayBrokenStep(s, t);
  }
};

// ------------------------------------------------------------------------------------------ the hop H -> B alone
struct Hub { Relay h; Wire w[1]; Home b[1]; Faults f; };
struct HubOfTwo { Relay h; Wire w[2]; Home b[2]; Faults f; };        // two homes of one agent, both pulling

template <class S> struct RelayModel {
  typedef S State;
  static constexpr const char *other = "the second B";
  static S init() {   // H has custody, the token still bears the name of its arrival; or its own agent has written
    S s; memset(&s, 0, sizeof s);
    for (auto &b : s.b) b.epoch = 1;
    if (homes<S>() > 1) for (auto &w : s.w) w.epoch = w.epochD = 1;   // first contact is in the models with one B
    s.h.mode = s.h.note = s.h.noteD = opt.push ? PUSH : PULL;
    s.h.v = s.h.d = H_NEW; s.h.rc = s.h.rcD = !opt.origin;
    return s;
  }
  static int final(const S &s) { return s.h.outD; }
  template <class Emit> static void next(const S &s, Emit emit) { relaySteps(s, emit); }
  static const char *broken(const S &s) { return relayBroken(s); }
  static const char *brokenStep(const S &s, const S &t) { return relayBrokenStep(s, t); }
};
