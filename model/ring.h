// ring.h - model 5: a loop. H forwards T to R, and R is configured to forward it to H.
//
// docs/custody.md section 11.6: H knows T without a receipt from R, so it refuses `loop` and writes nothing; R ends, and
// what R says final, H says final to the origin. No agent is anywhere in the ring: all there is to lose is the end.
// With --pull H dials R: it leases T there, and tells `unroutable` of what it is sending on itself (11.3).
#pragma once
#include "home.h"

struct Relaying {                                    // one host of the ring, as sender
  u64 has : 1, hasD : 1, sent : 1, maybe : 1, out : 3, outD : 3, expired : 1;
  u64 post : 2, refusal : 1, revoke : 1, verdict : 1, heard : 1;   // its POST, a `loop` on its way back; its revoke, `loop` in answer; told stored
};
struct Circle { Relaying h[2]; Faults f; };          // 0 is H, which has T from the origin; 1 is R, which gets it from H

struct RingModel {
  typedef Circle State;
  static constexpr const char *other = "R";
  static Circle init() { Circle s; memset(&s, 0, sizeof s); s.h[0].has = s.h[0].hasD = 1; return s; }
  static int final(const Circle &s) { return s.h[0].outD; }

  template <class Emit> static void next(const Circle &s, Emit emit) {
    WRONG(loop_unseen); WRONG(loop_revoke_unheard); WRONG(loop_lease_known);
    Circle n = s;
    for (int i = 0; i < 2; i++) {
      const Relaying &me = s.h[i], &peer = s.h[!i]; Relaying &m = n.h[i], &p = n.h[!i];
      auto done = [&](const char *name) { emit(n, name, i); n = s; };
      const bool loop = i == 1 && !loop_unseen;      // the peer has T, and no receipt of ours
      const bool lends = i == 1 && opt.pull;         // H takes T from R by a lease
      bool open = !lends && (me.maybe || me.post == FLYING);
      if (!me.expired) { m.expired = 1; done("clock passes expires_at"); } else if (mayStepBack(n.f)) { m.expired = 0; done("clock steps back"); }
      n = s;
      if (me.has != me.hasD) { m.hasD = 1; done("custody flushed"); }
      if (me.out != me.outD) { m.outD = me.out; done("outcome flushed"); }
      if (lends && me.has && me.hasD && !me.sent && !me.out && !me.expired) { m.sent = 1; done("leases: outbox/ -> sent/"); }
      if (lends && me.sent && !me.out && loop) {     // the bytes reach H again and again, or a wish for a verdict does
        if (!loop_lease_known) { m.verdict = 1; done("the visitor tells unroutable, loop"); }
        else if (peer.outD && peer.out) { m.out = peer.out; done("MISTAKE the visitor tells the state of what it sends on itself"); } }
      if (!lends && me.has && me.hasD && !me.sent && !me.out && !me.expired && !me.post) { m.post = FLYING; done("sends POST"); }
      if (me.post == FLYING) { m.post = ABANDONED; m.maybe = 1; done("gives up waiting for POST"); }
      if (me.post) {
        m.post = FREE; if (me.post == FLYING) m.maybe = 1;
        const Circle taken = n;
        done("POST lost");
        n = taken;
        if (loop) { if (me.post == FLYING) m.refusal = 1; done("the peer answers 421 loop, or it is lost"); }
        else if (peer.outD && peer.out) { m.heard = 1; done("the peer answers with its outcome"); }
        else if (peer.has && peer.hasD) { m.heard = 1; done("the peer answers stored"); }
        else if (!peer.has && !peer.out && peer.expired) { p.out = UNDELIVERED; done("the peer refuses expired POST: tombstone"); }
        else if (!peer.has && !peer.out) { p.has = 1; done("the peer takes custody"); }
        n = s;
      }
      if (me.refusal) { m.refusal = 0; if (!me.out) m.out = REJECTED; done("hears 421 loop, outcome unroutable"); n.h[i].refusal = 0; done("421 lost"); }
      if (me.heard && !me.sent && !me.out) { m.sent = 1; done("moves outbox/ -> sent/"); }
      if (!loop && me.sent && !me.out && peer.out && peer.out == peer.outD) { m.out = peer.out; done("writes the peer's final outcome"); }
      if (me.has && !me.out && me.expired && !me.sent && !open) { m.out = UNDELIVERED; done("expires it alone"); }
      if (!lends && me.has && !me.out && (me.sent || open) && !me.revoke) { m.revoke = 1; done("sends REVOKE"); }
      if (me.revoke) {
        m.revoke = 0; const Circle heard = n;
        done("REVOKE lost");
        n = heard;
        if (loop) { if (!loop_revoke_unheard && !(lends && loop_lease_known)) { m.verdict = 1; done("the peer answers REVOKE unroutable, loop"); } }
        else if (!peer.has && !peer.out) { p.out = UNDELIVERED; done("the peer handles REVOKE: tombstone"); }
        else if (peer.out && peer.out == peer.outD) { if (!me.out) m.out = peer.out; done("the peer answers REVOKE with its outcome"); }
        else if (peer.has && !peer.out && !peer.sent && !peer.maybe && peer.post != FLYING) { p.out = UNDELIVERED; done("the peer handles REVOKE: nothing can be out"); }
        else if (peer.has && !peer.out && !peer.revoke) { p.revoke = 1; done("the peer passes REVOKE on"); }
        n = s;
      }
      if (me.verdict) { m.verdict = 0; if (!me.out) m.out = REJECTED; done("hears loop, outcome unroutable"); n.h[i].verdict = 0; done("answer lost"); }
      auto dies = [&](const char *name) { m.maybe = 1; m.refusal = m.verdict = 0; if (me.post == FLYING) m.post = ABANDONED; done(name); };
      if (spend(n.f, i ? HOST_B : HOST_H, 'c')) dies("process crash");
      n = s;
      if (spend(n.f, i ? HOST_B : HOST_H, 'p')) { m.has = me.hasD; m.out = me.outD; if (!me.hasD) m.sent = 0; dies("power cut"); }
      n = s;
    }
  }
  static const char *broken(const Circle &s) {
    if (s.h[0].outD && s.h[1].has && s.h[1].outD && s.h[0].outD != s.h[1].outD) return "I6 H and R end differently";
    return nullptr;
  }
  static const char *brokenStep(const Circle &s, const Circle &t) {
    for (int i = 0; i < 2; i++) if (s.h[i].outD && t.h[i].outD != s.h[i].outD) return "I6 a final outcome changed";
    return nullptr;
  }
};
