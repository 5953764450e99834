// hop.h - model 1: one hop, A pushes to B.
#pragma once
#include "home.h"

struct Hop {
  u64 place : 2, placeD : 2, out : 3, outD : 3;    // A's file; A's outcome
  u64 maybe : 1;                                   // an attempt's result is unknown (true for all after a restart)
  u64 claimed : 1;                                 // A shows claimed
  u64 expired : 1, epoch : 2, epochD : 2;          // A's clock; A's note of B's epoch
  u64 hello : 2;                                   // fresh hello answer on its way, 0 none
  u64 post0 : 2, post1 : 2, tag0 : 2, tag1 : 2;    // two concurrent POSTs and their epochs
  u64 revoke : 1, rtag : 2;
  u64 bag1 : 6, bag2 : 6, bag3 : 6;                // answers B ever gave, by epoch: may arrive late, often, never
  u64 aBack : 2, bBack : 2;
  u64 stale : 1, copy : 1;                         // on disk handoff/ still shows X beside outbox/; a power cut has shown it
  u64 held : 1;                                    // an attempt is open of which no byte has left
  u64 forgot : 1;                                  // B has deleted what it knew, by the rule of forgetting
  Home b;
  Faults f;
};
static u64 bag(const Hop &s, int e) { return e == 1 ? s.bag1 : e == 2 ? s.bag2 : s.bag3; }
static void put(Hop &s, int e, int a) { if (e == 1) s.bag1 |= a; else if (e == 2) s.bag2 |= a; else s.bag3 |= a; }

struct HopModel {
  typedef Hop State;
  static constexpr const char *other = "the second B";
  static Hop init() { Hop s; memset(&s, 0, sizeof s); s.b.epoch = 1; return s; }
  static int final(const Hop &s) { return s.outD; }

  template <class Emit> static void next(const Hop &s, Emit emit) {
    WRONG(send_before_sync); WRONG(forget_maybe); WRONG(expire_alone); WRONG(epoch_first); WRONG(epoch_unsynced);
    WRONG(no_request_epoch); WRONG(no_reply_epoch); WRONG(proxy_no_is_final); WRONG(no_tombstone); WRONG(forget_early);
    WRONG(copy_anew);
    WRONG(loop_outcome); WRONG(loop_tombstone);
    Hop n = s;
    auto done = [&](const char *name) { emit(n, name); n = s; };
    // clocks
    if (!s.expired) { n.expired = 1; done("A clock passes expires_at"); }
    else if ((int)s.aBack < opt.back) { n.expired = 0; n.aBack++; done("A clock steps back"); }
    if (!s.b.expired) { n.b.expired = 1; done("B clock passes expires_at"); }
    else if ((int)s.bBack < opt.back) { n.b.expired = 0; n.bBack++; done("B clock steps back"); }
    // A's disk
    if (s.place != s.placeD) { n.placeD = s.place; n.stale = s.stale || (opt.splitA && s.placeD == HANDOFF); done("A outbox/ flushed"); }
    if (s.stale && !s.copy) { n.stale = 0; done("A handoff/ flushed"); }
    if (s.out != s.outD) { n.outD = s.out; done("A outcome flushed"); }
    if (s.epoch != s.epochD) { n.epochD = s.epoch; done("A peer's epoch flushed"); }
    // A: custody
    bool closed = !s.maybe && !s.held && s.post0 == FREE && s.post1 == FREE;       // nothing ever left, or all of it came back refused
    bool sent = s.place == SENT || (s.place == OUTBOX && !closed);
    if (s.place == HANDOFF && !s.out) { n.place = OUTBOX; n.maybe = 0; done("A takes handoff/X -> outbox/B/T~X"); }
    if (s.copy && copy_anew) { n.copy = 0; n.maybe = 0; n.place = OUTBOX; done("MISTAKE A takes the other name for a new handoff"); }
    else if (s.copy) { n.copy = 0; done("A ends the other name: duplicate"); }
    if (s.expired && !s.out && (s.place == HANDOFF || (s.place == OUTBOX && (closed || expire_alone)))) { n.out = UNDELIVERED; done("A expires it alone: never sent"); }
    if (opt.loose && !s.out && (s.place == HANDOFF || (s.place == OUTBOX && closed))) { n.out = UNDELIVERED; done("A ends it alone: its writer withdraws it, never sent"); }
    // A: hello and the peer's epoch
    if (s.b.phase == UP && !s.hello && s.epoch != s.b.epoch) { n.hello = s.b.epoch; done("B answers hello"); }
    if (s.hello) {
      if (!s.epoch || s.epoch == s.hello || (!sent && !s.out) || s.outD || epoch_first) { n.epoch = s.hello; n.hello = 0; done("A stores the peer's epoch"); }
      else if (!s.out) { n.out = LOST; done("A: peer's epoch changed, outcome peer_lost_state"); }
    }
    // A: push
    bool ready = s.place == OUTBOX && (s.placeD == OUTBOX || s.placeD == SENT || send_before_sync) && s.epoch && (s.epochD == s.epoch || epoch_unsynced);
    const bool flushed = s.place == OUTBOX && s.placeD != HANDOFF;
    if (opt.loose && flushed && !s.out && !s.expired && !s.held) { n.held = 1; done("A opens an attempt"); }
    if (s.held) { n.held = 0; done("A closes an attempt of which no byte left"); }
    if (ready && !s.out && (opt.loose ? s.held : !s.expired)) {
      n.held = 0; const Hop m = n;
      if (s.post0 == FREE) { n.post0 = FLYING; n.tag0 = s.epoch; done("A sends POST"); n = m; }
      if (s.post1 == FREE) { n.post1 = FLYING; n.tag1 = s.epoch; done("A sends POST again"); }
      n = s;
    }
    if (s.post0 == FLYING) { n.post0 = ABANDONED; n.maybe = !proxy_no_is_final; done("A gives up waiting for POST"); }
    if (s.post1 == FLYING) { n.post1 = ABANDONED; n.maybe = !proxy_no_is_final; done("A gives up waiting for POST"); }
    if (s.post0 == REFUSED) { n.post0 = FREE; done("A gets B's complete not-admitted"); n.post0 = FREE; n.maybe = 1; done("not-admitted lost"); }
    if (s.post1 == REFUSED) { n.post1 = FREE; done("A gets B's complete not-admitted"); n.post1 = FREE; n.maybe = 1; done("not-admitted lost"); }
    // A: revoke, at expiry or whenever the writer withdraws
    if (sent && !s.out && !s.revoke && s.epoch && s.epochD == s.epoch) { n.revoke = 1; n.rtag = s.epoch; done("A sends REVOKE"); }
    // A: answers
    u64 heard = s.epoch ? bag(s, s.epoch) : 0;
    if (no_reply_epoch) heard = s.bag1 | s.bag2 | s.bag3;
    if (!s.out && s.place != HANDOFF) {
      if ((opt.loose ? heard : heard & A_STORED) && s.place == OUTBOX) { n.place = SENT; done("A moves outbox/ -> sent/"); }
      if ((heard & A_CLAIMED) && !s.claimed) { n.claimed = 1; done("A shows claimed"); }
      for (int a : {A_DONE, A_REJ, A_UNDEL, A_UNC}) if (heard & a) { n.out = outcomeFor(a); done("A writes B's final outcome"); }
      if (opt.giveup && s.expired && sent) { n.out = UNKNOWN; done("A gives up after doubt_max: outcome_unknown"); }
    }
    // A: the same bytes reach it by another way, as a lease or a POST, or somebody there revokes them
    if (opt.model == Options::WAYS && !s.out) {
      if (s.place == HANDOFF) { n.out = UNDELIVERED; done("A refuses what is not at home here, or is revoked: tombstone"); }
      else if (loop_outcome || loop_tombstone) { n.out = UNDELIVERED; done("MISTAKE A writes an outcome for what it is sending on"); }
    }
    // A: crash and power cut
    auto aDies = [&]() {
      n.maybe = !forget_maybe; n.claimed = 0; n.hello = 0; n.held = 0;
      if (n.post0 == FLYING) n.post0 = ABANDONED;
      if (n.post1 == FLYING) n.post1 = ABANDONED;
      if (n.post0 == REFUSED) n.post0 = FREE;
      if (n.post1 == REFUSED) n.post1 = FREE; };
    if (spend(n.f, HOST_A, 'c')) { aDies(); done("A process crash"); }
    if (spend(n.f, HOST_A, 'p')) { n.place = s.placeD; n.copy = s.stale; n.out = s.outD; n.epoch = s.epochD; aDies(); done("A power cut"); }
    // B forgets: final, A has said that it recorded the outcome, expired by B's clock, no old request can still arrive
    bool quiet = s.outD && s.b.expired && s.post0 == FREE && s.post1 == FREE && !s.revoke;
    if (opt.forget && s.b.phase == UP && s.b.step == 0 && s.b.outD && s.b.out == s.b.outD && (quiet || forget_early)) {
      n.b.v = n.b.d = n.b.out = n.b.outD = 0; n.forgot = 1; done("B forgets T"); }
    // requests reach B
    if (s.b.phase == UP && s.b.step == 0) {
      for (int i = 0; i < 2; i++) {
        int p = i ? s.post1 : s.post0, tag = i ? s.tag1 : s.tag0;
        if (p != FLYING && p != ABANDONED) continue;
        auto close = [&](int v) { if (i) { n.post1 = v; n.tag1 = 0; } else { n.post0 = v; n.tag0 = 0; } };
        auto taken = [&]() { if (p == FLYING) n.maybe = 1; close(FREE); };   // B acts; its answer goes through the bag
        if (tag != (int)s.b.epoch && !no_request_epoch) { close(p == FLYING ? REFUSED : FREE); done("B answers 412: other epoch"); continue; }
        if (known(s.b)) { if (report(s.b)) { taken(); put(n, s.b.epoch, report(s.b)); done("B answers known POST with its state"); } }
        else if (s.b.expired && no_tombstone) { taken(); put(n, s.b.epoch, A_UNDEL); done("MISTAKE B refuses without tombstone"); }
        else { if (s.b.expired) { admit(n.b); done("B refuses expired POST: tombstone"); }
               else { taken(); admit(n.b); done("B writes inbox/N.new");
                      if (opt.loose) {
                        n.maybe = 1; close(ABANDONED); if (i) n.tag1 = tag; else n.tag0 = tag;
                        admit(n.b); done("B writes inbox/N.new, the same POST may come again"); } } }
        if (!known(s.b)) { close(p == FLYING ? REFUSED : FREE); done("B answers 503, not admitted"); }
        taken(); done("POST lost");
      }
      if (s.revoke) {
        if (s.rtag != s.b.epoch && !no_request_epoch) { n.revoke = 0; n.rtag = 0; done("B answers 412 to REVOKE"); }
        else { revokeAt(n.b); n.revoke = 0; n.rtag = 0; done("B handles REVOKE"); }
        n.revoke = 0; n.rtag = 0; done("REVOKE lost");
      }
      int r = report(s.b);
      if (r && s.place != HANDOFF && !(bag(s, s.b.epoch) & r)) { put(n, s.b.epoch, r); done("B answers a states query"); }
      if (holds(s.b) && s.place != HANDOFF && !(bag(s, s.b.epoch) & A_STORED)) { put(n, s.b.epoch, A_STORED); done("B answers a states query, and has not looked"); }
    }
    homeSteps(s, emit, [](auto &x) -> auto & { return const_cast<Home &>(x.b); },
      [](Hop &x) { put(x, x.b.epoch, A_STORED); },
      [](Hop &x, char kind) { return (kind != 'w' || (int)x.b.epoch <= opt.wipes) && spend(x.f, HOST_B, kind); });
  }

  static const char *broken(const Hop &s) {
    int wiped = s.b.epoch - 1 + s.forgot;   // B may have lost, or may have forgotten
    if ((int)s.b.claims > 1 + (opt.redeliver ? s.f.power[HOST_B] : 0)) return "I1 claimed twice";
    if (s.place == SENT && !s.out && !wiped && !(s.b.d & RECEIPT) && !s.b.outD) return "I3 A was told stored, B has nothing durable";
    if ((s.out == UNDELIVERED || s.b.out == UNDELIVERED) && s.b.claims) return "I5 not delivered, but an agent claimed it";
    if ((s.claimed || s.out == COMPLETED || s.out == REJECTED) && !s.b.claims) return "I6 A shows a claim that never was";
    if (s.claimed && !wiped && !s.b.outD && !(s.b.d & ACTED)) return "I6 A shows a claim that B could lose";
    if (s.out && s.out <= REJECTED && s.out != UNDELIVERED && !wiped && s.out != s.b.outD) return "I6 A and B end differently";
    if ((s.out == UNCERTAIN || s.b.out == UNCERTAIN) && !s.f.power[HOST_B] && !s.b.restored) return "I9 uncertain without a power cut";
    if (s.out == LOST && s.b.epoch == 1) return "I9 peer_lost_state without lost state";
    return nullptr;
  }
  static const char *brokenStep(const Hop &s, const Hop &t) {
    if (s.outD && t.outD != s.outD) return "I6 A's final outcome changed";
    if (s.b.outD && t.b.outD != s.b.outD && t.b.epoch == s.b.epoch && t.b.restored == s.b.restored && !t.forgot) return "I6 B's final outcome changed";
    return nullptr;
  }
};

