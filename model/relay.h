// relay.h - H between A and one or two B: receiver for A, sender for B by push or by lease, one outcome for both.
//
// The steps are those of docs/custody.md section 11. A state that uses them has the members
//   Relay h; Wire w[n]; Home b[n]; Faults f;        n is 1, or 2 for several homes
// and emit(state, what happened, which B).
#pragma once
#include "home.h"

enum HName  { H_NEW = 1, H_OUT = 2, H_SENT = 4, H_SENT2 = 8, H_LEFT = H_SENT | H_SENT2, H_TOKEN = 15 };  // H's token, by directory
enum Mode   { PULL, PUSH };                          // how H reaches B
enum Reply  { NOTHING, ASKED, BYTES };               // the lease: request on its way, bytes on their way back

struct Relay {
  u64 v : 4, d : 4, rc : 1, rcD : 1;                 // names of the token, now and as flushed; A's receipt
  u64 out : 3, outD : 3, step : 2, expired : 1, start : 1;
  u64 mode : 1, note : 1, noteD : 1, switched : 1;   // how B is reached; peers/B.json; the configuration has changed
  u64 lied : 1;                                      // H said stored while B could have the bytes
};
struct Wire {                                        // what H knows of one B, and what is on its way between them
  u64 epoch : 2, epochD : 2, hello : 2;              // H's note of B's epoch; the epoch of a hello just accepted
  u64 challenge : 2, old : 2;                        // to which epoch the challenge went; one that was replaced or lost
  u64 ask : 2, askTag : 2, stray : 2, late : 2;      // the lease, by B's epoch; requests and bytes B has given up
  u64 post : 2, tag : 2, maybe : 1;                  // push, as in one hop
  u64 revoke : 1, rtag : 2, told1 : 6, told2 : 6, told3 : 6;   // H's wish for a verdict; what B has told, by epoch
  u64 claimed : 1, sentTo : 2;                       // H has heard claimed; the epoch that got the bytes
};

template <class S> static constexpr int homes() { return sizeof(S::b) / sizeof(Home); }
static int told(const Wire &w, int epoch) { return epoch == 1 ? w.told1 : epoch == 2 ? w.told2 : epoch == 3 ? w.told3 : 0; }
static void tell(Wire &w, const Home &b, int answer) { if (b.epoch == 1) w.told1 |= answer; else if (b.epoch == 2) w.told2 |= answer; else w.told3 |= answer; }

// Two hops together: challenges and delayed bytes on the second wire are left to the models of that hop alone.
static bool wireInFull() { return opt.model != Options::CHAIN; }
static bool helloInFull() { return wireInFull() && !opt.brief; }

// No attempt of a push is open: nothing left since this process took it over, or B's complete refusal came back.
static bool closed(const Wire &w) { return !w.maybe && w.post != FLYING && w.post != REFUSED; }

// H may end T by itself. Pull: what was never leased. Push: what never left.
template <class S> static bool alone(const S &s) {
  if (s.h.v & H_LEFT) return false;
  if (!(s.h.v & H_OUT)) return true;
  return s.h.mode == PULL ? !s.w[0].maybe : closed(s.w[0]);
}

// What H may say to A. 0 = nothing yet.
template <class S> static int relayReport(const S &s) {
  WRONG(second_stored);
  if (s.h.out) return s.h.out == s.h.outD ? answerFor(s.h.out) : 0;
  for (auto &w : s.w) if (w.claimed) return A_CLAIMED;
  return !(s.h.rc && s.h.rcD) ? 0 : alone(s) || second_stored ? A_STORED : A_LEASED;
}
static bool couldHaveIt(const Wire &w, const Home &b) {
  return w.post == FLYING || w.post == ABANDONED || w.ask == BYTES || w.late || (b.v & (TOKEN | RECEIPT));
}
template <class S> static int say(S &s) {            // the same, noting a lie
  int answer = relayReport(s);
  for (int i = 0; i < homes<S>(); i++) if (answer == A_STORED && couldHaveIt(s.w[i], s.b[i])) s.h.lied = 1;
  return answer;
}

// ------------------------------------------------------------------------------------------ H's disk, faults, start
template <class S, class Emit> static void diskSteps(const S &s, Emit emit) {
  S n = s;
  auto done = [&](const char *name) { emit(n, name, 0); n = s; };
  if (opt.splitH) {   // the new name may come before the old one goes
    for (int e : {H_NEW, H_OUT, H_SENT, H_SENT2})
      if (((s.h.v ^ s.h.d) & e) && ((s.h.v & e) || !(s.h.v & ~s.h.d))) {
        n.h.d = (s.h.d & ~e) | (s.h.v & e); done("H one directory flushed"); }
  } else if (s.h.v != s.h.d) { n.h.d = s.h.v; done("H token's directories flushed"); }
  if (s.h.rc != s.h.rcD) { n.h.rcD = s.h.rc; done("H receipt flushed"); }
  if (s.h.out != s.h.outD) { n.h.outD = s.h.out; done("H outcome flushed"); }
  if (s.h.note != s.h.noteD) { n.h.noteD = s.h.note; done("H peer's mode flushed"); }
  for (int i = 0; i < homes<S>(); i++)
    if (s.w[i].epoch != s.w[i].epochD) { n.w[i].epochD = s.w[i].epoch; emit(n, "H peer's epoch flushed", i); n = s; }
}

template <class S, class Emit> static void faultSteps(const S &s, Emit emit) {
  WRONG(second_forgets);
  S n = s;
  auto dies = [&](const char *name) {
    n.h.step = 0; n.h.start = 1;
    for (auto &w : n.w) {
      if (w.challenge) w.old = w.challenge;
      w.claimed = w.hello = w.challenge = 0;
      w.maybe = n.h.mode == PUSH && !second_forgets;
      if (w.post == FLYING) w.post = ABANDONED;
      if (w.post == REFUSED) w.post = FREE;
      if (w.ask == BYTES) { if (wireInFull()) w.late = w.askTag; w.ask = w.askTag = 0; }
    }
    const S crashed = n;
    emit(n, name, 0);
    if (opt.modes && !s.h.switched) {
      n = crashed; n.h.mode ^= 1; n.h.switched = 1;
      for (auto &w : n.w) w.maybe = n.h.mode == PUSH;
      emit(n, "H restarts, B's mode is another one", 0);
    }
    n = s;
  };
  if (spend(n.f, HOST_H, 'c')) dies("H process crash");
  n = s;
  if (spend(n.f, HOST_H, 'p')) {
    n.h.v = s.h.d; n.h.rc = s.h.rcD; n.h.out = s.h.outD; n.h.note = s.h.noteD;
    for (auto &w : n.w) w.epoch = w.epochD;
    dies("H power cut");
  }
}

// Start-up, one thing at a time, before serving. Nothing is uncertain here.
template <class S, class Emit> static void startSteps(const S &s, Emit emit) {
  WRONG(forgets_lease); WRONG(stale_name_wins); WRONG(mode_by_run); WRONG(mode_note_first); WRONG(mode_sent_stays);
  S n = s;
  auto done = [&](const char *name) { emit(n, name, 0); };
  if (!s.h.start) return;
  const bool changed = s.h.mode != s.h.note;
  int furthest = H_SENT2; while (furthest > H_NEW && !(s.h.v & furthest)) furthest /= 2;
  int stalest = H_NEW; while (stalest < H_SENT2 && !(s.h.v & stalest)) stalest *= 2;
  if (s.h.v & (s.h.v - 1)) {
    n.h.v = stale_name_wins ? stalest : furthest; done(stale_name_wins ? "MISTAKE H start: the stalest name stays" : "H start: the furthest name stays"); }
  else if (s.h.v == H_NEW && !s.h.rc && !s.h.out && !opt.origin) { n.h.v = 0; done("H start: N.new without receipt, deleted"); }
  else if (s.h.rc && !s.h.v && !s.h.out) { n.h.v = H_NEW; done("H start: receipt alone, token linked again"); }
  else if (forgets_lease && (s.h.v & H_LEFT)) { n.h.v = H_OUT; done("MISTAKE H start: sent/ -> outbox/, offered again"); }
  else if (changed && mode_by_run) { n.h.note = s.h.mode; n.w[0].maybe = 1; done("MISTAKE H start: outbox/ is maybe-sent, in memory"); }
  else if (changed && mode_note_first) { n.h.note = s.h.mode; done("MISTAKE H start: notes the mode, cut off before the moves"); }
  else if (changed && s.h.mode == PULL && s.h.v == H_OUT) { n.h.v = H_SENT; done("H start: pulls now, outbox/B -> sent/B"); }
  else if (changed && s.h.mode == PUSH && s.h.v == H_SENT && !mode_sent_stays) { n.h.v = H_OUT; done("H start: pushed to now, sent/B -> outbox/B"); }
  else if (changed) { if (s.h.v == s.h.d) { n.h.note = s.h.mode; done("H start: notes the mode"); } }
  else if (s.h.note == s.h.noteD) { n.h.start = 0; done("H start: done"); }
}

// ------------------------------------------------------------------------------------------ H as sender
// hello with a challenge: H learns B's epoch. An old hello may arrive at any time.
template <class S, class Emit> static void helloSteps(const S &s, Emit emit, int i) {
  WRONG(lease_any_epoch); WRONG(hello_unchallenged); WRONG(lost_offered_again);
  const Wire &w = s.w[i]; const Home &b = s.b[i]; S n = s;
  auto done = [&](const char *name) { emit(n, name, i); n = s; };
  auto accepted = [&](int epoch) { n.w[i].hello = epoch == (int)w.epoch ? 0 : epoch; };
  if (s.h.start) return;
  if (!helloInFull()) { if (b.phase == UP && w.epoch != b.epoch && !w.hello) { accepted(b.epoch); done("B says hello to H"); } }
  else if (b.phase == UP && w.challenge != b.epoch && w.epoch != b.epoch && !w.hello) {
    n.w[i].challenge = b.epoch; if (w.challenge) n.w[i].old = w.challenge; done("B says hello, H answers a challenge"); }
  if (w.challenge && !w.hello) { accepted(w.challenge); n.w[i].challenge = 0; done("hello with the challenge reaches H"); }
  if (w.challenge) { n.w[i].old = w.challenge; n.w[i].challenge = 0; done("H's challenge is replaced by one for an old hello"); }
  if (w.old && !w.hello) { if (hello_unchallenged) accepted(w.old); n.w[i].old = 0; done(hello_unchallenged ? "MISTAKE H believes an old hello" : "H refuses an old challenge"); }
  if (w.hello) {
    bool concerned = !alone(s) && (s.h.mode == PUSH || (s.h.v & (H_SENT << i)));   // what the old tree may have had
    if (!w.epoch || !concerned || s.h.outD || lease_any_epoch) { n.w[i].epoch = w.hello; n.w[i].hello = 0; done("H stores the peer's epoch"); }
    else if (!s.h.out && lost_offered_again) { n.h.v = H_OUT; done("MISTAKE H offers again what a lost B had"); }
    else if (!s.h.out) { n.h.out = LOST; done("H: peer's epoch changed, outcome peer_lost_state"); }
  }
}

// What B has told, by poll or by states; and the wish for a verdict.
template <class S, class Emit> static void newsSteps(const S &s, Emit emit, int i) {
  WRONG(relay_expires_lease); WRONG(second_alone);
  const Wire &w = s.w[i]; const Home &b = s.b[i]; const int mine = H_SENT << i; S n = s;
  auto done = [&](const char *name) { emit(n, name, i); n = s; };
  bool up = !s.h.start, idle = up && s.h.step == 0;
  bool left = (s.h.v & mine) || ((s.h.v & H_OUT) && (s.h.mode == PUSH ? !closed(w) : w.maybe));   // B may have it
  if (up && !s.h.out && left) {
    int heard = told(w, w.epoch);
    if ((heard & A_STORED) && s.h.v == H_OUT) { n.h.v = mine; done("H moves outbox/B -> sent/B"); }
    if ((heard & A_CLAIMED) && !w.claimed) { n.w[i].claimed = 1; done("H hears claimed from B"); }
    for (int a : {A_DONE, A_REJ, A_UNDEL, A_UNC}) if (heard & a) { n.h.out = outcomeFor(a); done("H writes B's final outcome"); }
  }
  if (idle && opt.giveup && s.h.expired && !s.h.out && left) { n.h.out = UNKNOWN; done("H gives up after doubt_max: outcome_unknown"); }
  if (idle && s.h.expired && !s.h.out && left && (s.h.mode == PULL ? relay_expires_lease : second_alone)) { n.h.out = UNDELIVERED; done("MISTAKE H expires it alone"); }
  if (idle && !s.h.out && left && w.epoch && w.epochD == w.epoch && !w.revoke) { n.w[i].revoke = 1; n.w[i].rtag = w.epoch; done("H asks B for a verdict"); }
  if (opt.loose && up && s.h.out && s.h.out == s.h.outD) done("H tells B to forget it");   // no state of this model: forgetting is hop.h's
  // push: a T in sent/ that B does not know (section 8)
  if (idle && s.h.mode == PUSH && s.h.v == H_SENT && !s.h.out && b.phase == UP && b.step == 0 && w.epoch == b.epoch && !known(b)) {
    n.h.out = LOST; done("B does not know what is in sent/, outcome peer_lost_state"); }
  if (b.phase != UP || b.step) return;
  if (w.revoke) {
    n.w[i].revoke = n.w[i].rtag = 0; const S heard = n;
    if (w.rtag == b.epoch) revokeAt(n.b[i]);
    done("B handles H's wish for a verdict");
    n = heard; done("H's wish lost"); }
  int r = report(b);
  if (r && !(told(w, b.epoch) & r)) { tell(n.w[i], b, r); done("B tells H its state"); }
  if (holds(b) && !(told(w, b.epoch) & A_STORED)) { tell(n.w[i], b, A_STORED); done("B tells H its state, and has not looked"); }
}

template <class S, class Emit> static void pullSteps(const S &s, Emit emit, int i) {
  WRONG(lease_unsynced); WRONG(homes_lease_unsynced); WRONG(lease_by_copy);
  const bool unsynced = lease_unsynced || homes_lease_unsynced;
  const Wire &w = s.w[i]; const Home &b = s.b[i]; const int mine = H_SENT << i; S n = s;
  auto done = [&](const char *name) { emit(n, name, i); n = s; };
  // A lease request reaches H. The bytes go back only to the request that B still waits for. Loosely: any may come again.
  auto lease = [&](int tag, bool live) {
    if (live) n.w[i].ask = n.w[i].askTag = 0; else if (!opt.loose) n.w[i].stray = 0;
    const S refused = n;
    if (tag != (int)w.epoch || w.epoch != w.epochD || s.h.out || (!(s.h.v & (H_OUT | mine)))) { done("H answers the lease 404, 409, 410 or 412"); return; }
    if (!(s.h.v & mine)) {
      n = unsynced ? refused : s;
      n.h.v = lease_by_copy ? (s.h.v | mine) : mine; n.w[i].sentTo = tag;
      if (!unsynced) { done("H leases: outbox/ -> sent/B"); return; }
    }
    if (live && ((s.h.d & mine) || unsynced)) { n.w[i].ask = BYTES; n.w[i].askTag = n.w[i].sentTo = tag; done("H hands out the bytes"); }
    n = refused; if (opt.loose && !live && (s.h.d & mine)) done("H hands out the bytes, and nobody waits");
    n = s;
  };
  if (!s.h.start && s.h.step == 0 && s.h.mode == PULL) {
    if (w.ask == ASKED) lease(w.askTag, true);
    if (w.stray) lease(w.stray, false);
  }
  if (w.ask == ASKED) { n.w[i].ask = n.w[i].askTag = 0; if (!w.stray || opt.loose) n.w[i].stray = w.askTag; done("B gives up waiting for the lease"); }
  if (w.ask == BYTES) {
    n.w[i].ask = n.w[i].askTag = 0; const S lost = n; done("the leased bytes are lost");
    if (!w.late && wireInFull()) { n = lost; n.w[i].late = w.askTag; done("the leased bytes are delayed"); } }
  if (b.phase != UP || b.step) return;
  auto arrive = [&](int tag) { if (tag == (int)b.epoch && !known(b)) admit(n.b[i]); };
  if (!w.ask && !known(b) && s.h.mode == PULL) { n.w[i].ask = ASKED; n.w[i].askTag = b.epoch; done("B asks for the lease"); }
  if (w.ask == BYTES) { n.w[i].ask = n.w[i].askTag = 0; arrive(w.askTag); done("B gets the bytes"); }
  if (w.late) { n.w[i].late = 0; arrive(w.late); done("B gets the delayed bytes"); }
}

template <class S, class Emit> static void pushSteps(const S &s, Emit emit, int i) {
  WRONG(forward_unsynced);
  const Wire &w = s.w[i]; const Home &b = s.b[i]; S n = s;
  auto done = [&](const char *name) { emit(n, name, i); n = s; };
  bool idle = !s.h.start && s.h.step == 0;
  bool ready = s.h.v == H_OUT && ((s.h.d & H_OUT) || forward_unsynced) && w.epoch && w.epochD == w.epoch;
  if (s.h.mode == PUSH && idle && ready && !s.h.out && !s.h.expired && w.post == FREE) { n.w[i].post = FLYING; n.w[i].tag = n.w[i].sentTo = w.epoch; done("H sends POST to B"); }
  if (w.post == FLYING) { n.w[i].post = ABANDONED; n.w[i].maybe = 1; done("H gives up waiting for POST"); }
  if (w.post == REFUSED) { n.w[i].post = FREE; const S lost = n; done("H gets B's complete not-admitted"); n = lost; n.w[i].maybe = 1; done("not-admitted lost"); }
  if (b.phase != UP || b.step || (w.post != FLYING && w.post != ABANDONED)) return;
  auto refused = [&]() { n.w[i].post = w.post == FLYING ? REFUSED : FREE; n.w[i].tag = 0; };
  auto taken = [&]() { if (w.post == FLYING) n.w[i].maybe = 1; n.w[i].post = FREE; n.w[i].tag = 0; };
  if (w.tag != b.epoch) { refused(); done("B answers H 412: other epoch"); return; }
  if (known(b)) { if (report(b)) { taken(); tell(n.w[i], b, report(b)); done("B answers H's known POST with its state"); } }
  else if (b.expired) { admit(n.b[i]); done("B refuses H's expired POST: tombstone"); }
  else { taken(); admit(n.b[i]); done("B writes inbox/N.new"); }
  if (!known(b)) { refused(); done("B answers H 503, not admitted"); }
  taken(); done("H's POST lost");
}

// ------------------------------------------------------------------------------------------ all that H and its B do
template <class S, class Emit> static void relaySteps(const S &s, Emit emit) {
  S n = s;
  auto done = [&](const char *name, int i = 0) { emit(n, name, i); n = s; };
  if (!s.h.expired) { n.h.expired = 1; done("H clock passes expires_at"); } else if (mayStepBack(n.f)) { n.h.expired = 0; done("H clock steps back"); }
  n = s;
  diskSteps(s, emit); faultSteps(s, emit); startSteps(s, emit);
  bool idle = !s.h.start && s.h.step == 0;
  if (idle && s.h.v == H_NEW && s.h.rc && s.h.rcD && s.h.d && !s.h.out) {
    n.h.v = H_OUT; n.w[0].maybe = 0; done("H forwards inbox/N.new -> outbox/"); }
  if (idle && s.h.v == H_NEW && opt.origin && !s.h.out) { n.h.v = H_OUT; n.w[0].maybe = 0; done("H takes handoff/X -> outbox/B/T~X"); }
  const bool mayEnd = idle && !s.h.out && (s.h.rc || opt.origin) && alone(s);
  if (mayEnd && s.h.expired) { n.h.out = UNDELIVERED; done("H expires it alone: nothing can be out"); }
  if (mayEnd && opt.loose) { n.h.out = UNDELIVERED; done("H ends it alone: its writer withdraws it, nothing can be out"); }
  for (int i = 0; i < homes<S>(); i++) {
    if (!s.b[i].expired) { n.b[i].expired = 1; done("B clock passes expires_at", i); } else if (mayStepBack(n.f)) { n.b[i].expired = 0; done("B clock steps back", i); }
    n = s;
    helloSteps(s, emit, i); newsSteps(s, emit, i);
    if (s.h.mode == PULL || opt.modes) pullSteps(s, emit, i);
    if (s.h.mode == PUSH || opt.modes) pushSteps(s, emit, i);
    homeSteps(s, [&](const S &x, const char *name) {
        S y = x; Wire &w = y.w[i];
        if (y.b[i].phase != UP && s.b[i].phase == UP) {   // B is gone: what was on its way comes late, or never
          if (w.ask == ASKED && !w.stray) w.stray = w.askTag;
          if (w.ask == BYTES && !w.late && wireInFull()) w.late = w.askTag;
          w.ask = w.askTag = 0; }
        emit(y, name, i);
      }, [i](auto &x) -> auto & { return const_cast<Home &>(x.b[i]); },
      [i](S &x) { tell(x.w[i], x.b[i], A_STORED); },
      [i](S &x, char kind) { return (kind != 'w' || (int)x.b[i].epoch <= opt.wipes) && spend(x.f, HOST_B, kind); });
  }
}

// What must be true at H and its B in every state.
template <class S> static const char *relayBroken(const S &s) {
  const Relay &h = s.h; int claims = 0, visible = 0, powerCuts = s.f.power[HOST_B];
  for (auto &b : s.b) { claims += b.claims; visible += (b.v & OFFERED) && b.phase != POWERCUT; }
  if (claims > 1) return "I1 claimed twice";
  if (homes<S>() > 1 && (s.b[0].v & (TOKEN | RECEIPT)) && (s.b[homes<S>() - 1].v & (TOKEN | RECEIPT))) return "I1 two homes have it";
  if (visible > 1) return "I1 visible twice";
  if (visible && claims) return "I1 visible after a claim";
  if (h.rc && !h.out && !h.v && !h.start) return "I2 H has a receipt and no token";
  if (opt.origin && !h.out && !h.v) return "I2 H has lost what its agent wrote";
  if (h.lied) return "I11 H says stored, but B could have the bytes";
  if (h.out == UNDELIVERED && claims) return "I5 not delivered, but an agent claimed it";
  if ((h.out == COMPLETED || h.out == REJECTED) && !claims) return "I6 a claim is shown that never was";
    for (int i = 0; i < homes<S>(); i++) {
    const Home &b = s.b[i]; const Wire &w = s.w[i]; bool wiped = b.epoch > 1 || b.restored, mine = homes<S>() == 1 || (h.v & (H_SENT << i));
    if (b.out == UNDELIVERED && b.claims) return "I5 not delivered, but an agent claimed it";
    if (b.out == UNCERTAIN && !powerCuts && !b.restored) return "I9 uncertain without a power cut at B";
    if (h.out == LOST && mine && w.sentTo == b.epoch) return "I9 peer_lost_state, but B has not lost what it got";
    if (w.claimed && (!claims || (!wiped && !b.outD && !(b.d & ACTED)))) return "I6 a claim is shown that B could lose";
    if ((h.out == COMPLETED || h.out == REJECTED || h.out == UNCERTAIN) && mine && !wiped && h.out != b.outD) return "I6 H and B end differently";
  }
  return nullptr;
}
template <class S> static const char *relayBrokenStep(const S &s, const S &t) {
  if (s.h.outD && t.h.outD != s.h.outD) return "I6 H's final outcome changed";
  for (int i = 0; i < homes<S>(); i++)
    if (s.b[i].outD && t.b[i].outD != s.b[i].outD && t.b[i].epoch == s.b[i].epoch && t.b[i].restored == s.b[i].restored) return "I6 B's final outcome changed";
  return nullptr;
}
