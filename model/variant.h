// variant.h - model 4: two payloads T1, T2 with one signed identity S reach B at once, in any order and grouping.
//
// docs/custody.md section 6: S is reserved in the same step as its check, released when the bytes did not become
// durable, kept until expires_at, and rebuilt from the files at start. Kept small: no clocks (both expire together,
// and then neither is admitted), a disk that may refuse a write, crashes and power cuts at any point.
#pragma once
#include "home.h"

enum VOutcome { V_NONE, V_VARIANT, V_COMPLETED, V_UNCERTAIN };
enum VStep    { V_IDLE, V_JUDGED, V_WRITTEN, V_LINKED, V_LATER };  // one T on its way through a group; LATER: to be refused as variant

struct Payload {
  u64 v : 8, d : 8, out : 2, outD : 2, step : 3, post : 1, told : 2, claims : 2;   // told: 1 stored, 2 variant
};
struct Pair { Payload t[2]; u64 holder : 2, open : 1, start : 1, cut : 1; Faults f; };   // who holds S in memory; a group is open

struct VariantModel {
  typedef Pair State;
  static constexpr const char *other = "T2";
  static Pair init() { Pair s; memset(&s, 0, sizeof s); s.t[0].post = s.t[1].post = 1; return s; }
  static bool known(const Payload &t) { return t.out || (t.v & (NEW | RECEIPT)); }
  static bool ended(const Payload &t) { return t.out && t.out == t.outD; }
  static int final(const Pair &s) { return ended(s.t[0]) && ended(s.t[1]) ? (s.t[0].outD == V_COMPLETED || s.t[1].outD == V_COMPLETED ? COMPLETED : UNCERTAIN) : 0; }

  template <class Emit> static void next(const Pair &s, Emit emit) {
    WRONG(variant_unreserved); WRONG(variant_too_early); WRONG(variant_kept); WRONG(variant_forgotten);
    Pair n = s;
    auto done = [&](const char *name, int i = 0) { emit(n, name, i); n = s; };
    bool serving = !s.start;
    for (int i = 0; i < 2; i++) {
      const Payload &t = s.t[i], &u = s.t[!i]; Payload &m = n.t[i]; const u64 me = i + 1;
      // kernel flush or fsync, any time
      if ((t.v ^ t.d) & TOKEN) { m.d = (t.d & ~TOKEN) | (t.v & TOKEN); done("token's directories flushed", i); }
      if ((t.v ^ t.d) & RECEIPT) { m.d = (t.d & ~RECEIPT) | (t.v & RECEIPT); done("receipt flushed", i); }
      if (t.out != t.outD) { m.outD = t.out; done("outcome flushed", i); }
      // b2, b3: one step of the engine for each T of the group; a group is closed before anything is written
      if (serving && s.open && t.step == V_IDLE && t.post && !known(t)) {
        bool other = variant_unreserved ? VariantModel::known(u) : s.holder && s.holder != me;
        m.step = other ? V_LATER : V_JUDGED; if (!other) n.holder = me;
        done(other ? "other bytes of this S came first" : "judged, S is reserved", i);
      }
      if (!serving || s.open) continue;
      // b4: write, link; or the disk refuses and the reservation goes
      if (t.step == V_JUDGED) {
        m.v |= NEW; m.step = V_WRITTEN; done("written as inbox/N.new", i);
        m.step = V_IDLE; if (!variant_kept) n.holder = 0;
        done(variant_kept ? "MISTAKE the disk refuses, S stays reserved" : "the disk refuses, S is released, 503", i); }
      if (t.step == V_WRITTEN) { m.v |= RECEIPT; m.step = V_LINKED; done("receipt linked", i); }
      if (t.step == V_LINKED && (t.v & t.d & RECEIPT) && (t.v & TOKEN) == (t.d & TOKEN)) { m.step = V_IDLE; m.told = 1; done("answers stored", i); }
      // the refusal comes after the others of the group, and only if the first bytes are durable by then
      if (t.step == V_LATER) {
        bool durable = (u.d & u.v & RECEIPT) || (u.out && u.outD), pending = u.step != V_IDLE;
        if (variant_too_early || (durable && !pending) || (variant_kept && s.holder && s.holder != me && !pending)) { m.out = V_VARIANT; m.step = V_IDLE; done("writes outcome variant", i); }
        else if (!pending) { m.step = V_IDLE; done("the first bytes were not stored, 503", i); }
      }
      if (t.out == V_VARIANT && t.outD == V_VARIANT && t.told != 2) { m.told = 2; m.post = 0; done("answers 409 variant", i); }
      // b6, the agent, its outcome
      if (t.step == V_IDLE && (t.v & NEW) && (t.v & RECEIPT) && !t.out && (t.v & t.d & RECEIPT)) { move(m, NEW, OFFERED); done("published", i); }
      if (t.step == V_IDLE && (t.v & CLAIMED) && (t.d & CLAIMED) && !t.out) { m.out = V_COMPLETED; done("writes outcome completed", i); }
    }
    for (int i = 0; i < 2; i++)
      if (!s.cut && (s.t[i].v & OFFERED)) { move(n.t[i], OFFERED, CLAIMED); if (n.t[i].claims < 3) n.t[i].claims++; done("AGENT claims", i); }
    bool busy = s.t[0].step || s.t[1].step;
    bool waiting = false; for (auto &t : s.t) waiting |= t.post && !known(t);
    if (serving && !s.open && !busy && waiting) { n.open = 1; done("a group is gathered"); }
    if (s.open) { n.open = 0; done("the group is closed"); }

    auto dies = [&](const char *name) { for (auto &t : n.t) t.step = V_IDLE; n.holder = n.open = 0; n.start = 1; emit(n, name, 0); n = s; };
    if (spend(n.f, HOST_B, 'c')) dies("process crash");
    n = s;
    if (spend(n.f, HOST_B, 'p')) { for (auto &t : n.t) { t.v = t.d; t.out = t.outD; } n.cut = 1; dies("power cut"); }
    n = s;
    if (!s.start) return;
    // start: as in home.h, for each T; S from receipts and from outcomes other than variant
    for (int i = 0; i < 2; i++) {
      const Payload &t = s.t[i]; Payload &m = n.t[i];
      if ((t.v & NEW) && !(t.v & RECEIPT)) { m.v &= ~NEW; done("start: N.new without receipt, deleted", i); return; }
      if (s.cut && (t.v & (NEW | OFFERED)) && (t.out || (t.v & (CLAIMED | RECEIPT)))) {
        move(m, NEW | OFFERED, t.v & CLAIMED ? 0 : PULLED); done("start after power cut: taken back", i); return; }
      if (!t.out && (t.v & RECEIPT) && !(t.v & CLAIMED) && (s.cut || !(t.v & TOKEN))) {
        if ((t.v & TOKEN) == (t.d & TOKEN)) { m.out = V_UNCERTAIN; done("start: outcome uncertain", i); }
        return; }
    }
    for (int i = 0; i < 2; i++)
      if (!variant_forgotten && ((s.t[i].v & RECEIPT) || s.t[i].out > V_VARIANT)) n.holder = i + 1;
    n.start = n.cut = 0; done("start: done");
  }

  static const char *broken(const Pair &s) {
    const Payload &t = s.t[0], &u = s.t[1];
    if (t.claims + u.claims > 1) return "I12 two payloads of one signed identity claimed";
    if (!s.cut && (t.v & OFFERED) && (u.v & OFFERED)) return "I12 two payloads of one signed identity visible";
    for (int i = 0; i < 2; i++) {
      const Payload &refused = s.t[i], &first = s.t[!i];
      if (refused.outD == V_VARIANT && !(first.d & RECEIPT) && !(first.outD > V_VARIANT)) return "I12 refused as variant of bytes that are not durable";
    }
    return nullptr;
  }
  static const char *brokenStep(const Pair &s, const Pair &t) {
    for (int i = 0; i < 2; i++) if (s.t[i].outD && t.t[i].outD != s.t[i].outD) return "I6 a final outcome changed";
    return nullptr;
  }
};
