// custody_model.cpp - explicit-state model checker for the custody protocol in docs/custody.md.
//
//   build    make model  (g++ -O2 -std=c++17 -o custody_model custody_model.cpp)
//   run      ./custody_model                  the standard set of runs, under a minute
//            ./custody_model --hop            one hop A -> B (push) with the bounds given by options
//            ./custody_model --chain          two hops A -> H (push), H -> B (pull)
//            ./custody_model --chain --pull   the pull hop H -> B alone
//            ./custody_model --mistakes       every seeded mistake, each must be caught
//            ./custody_model --help
//   exit     0 all invariants hold, 1 one is broken (the shortest run to it is printed), 2 bad option
//
// One handoff T is followed through every order of events. The network may lose, delay, repeat and re-order.
// Each host may crash (memory lost) or lose power (memory lost, and every directory falls back to what was
// flushed; the kernel may flush any object at any time). Clocks are independent and may step back. The agent
// at B never calls fsync and may act at any moment, except during start-up after a power cut (the unit
// files start agents after the daemon). rename() is atomic across a power cut: old name or new name, never
// neither; with --split-b a power cut may also show both names at B.
// Out of scope: disk corruption, file contents (a file's bytes count as flushed before it gets a name that
// means something), more than one T, push as the second hop, timing.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <chrono>
#include <string>
#include <vector>
using namespace std;
typedef uint32_t u32;
typedef uint64_t u64;

// ------------------------------------------------------------------------------------------ bounds and options
struct Options {
  int aCrash = 1, aPower = 1, hCrash = 1, hPower = 1, bCrash = 1, bPower = 1;  // crashes and power cuts per host
  int back = 1;       // backward clock steps per host
  int wipes = 0;      // times B loses its relay/ tree
  int faults = 99;    // crashes + power cuts + wipes + clean stops of all hosts together
  int stops = 0;      // orderly stops of B (the machine may lose power while B is stopped)
  bool chain = false, pull = false, live = true, split = false, redeliver = false, giveup = false, forget = false;
} opt;

// Seeded mistakes: name, what is done wrong, what the run that shows it needs. The harmless ones must pass: they are
// flushes that the protocol keeps for plain reading of the directories, not for an invariant.
#define MISTAKES(X) \
  X(send_before_sync, "A sends before outbox/ and handoff/ are flushed", "") \
  X(forget_maybe, "A takes every file in outbox/ as never sent after a restart", "") \
  X(expire_alone, "A expires a maybe-sent handoff by its own clock", "") \
  X(epoch_first, "A stores B's new epoch before the old maybe-sent files have ended", "wipes") \
  X(epoch_unsynced, "A sends before the peer's epoch is durable", "wipes") \
  X(no_request_epoch, "B does not check the epoch of requests", "wipes") \
  X(no_reply_epoch, "A does not check the epoch of replies", "wipes") \
  X(proxy_no_is_final, "A closes an attempt on a refusal that B did not write (a proxy's 503)", "") \
  X(no_tombstone, "B refuses an expired POST without a durable outcome", "") \
  X(tombstone_unsynced, "B reports an outcome before it is durable", "") \
  X(ack_early, "B answers stored before inbox/ is flushed", "") \
  X(publish_early, "B publishes before inbox/ is flushed", "") \
  X(receipt_first, "B makes the receipt before the token", "") \
  X(claim_unsynced, "B reports a claim before claimed/ and handoff/ are flushed", "") \
  X(outcome_then_pull, "B's janitor writes the outcome, then takes the file back", "") \
  X(offer_again, "B leaves unclaimed files in handoff/ after a power cut", "") \
  X(agent_first, "agents start before B's recovery after a power cut", "") \
  X(boot_first, "B writes its boot id before recovery has ended", "") \
  X(leave_strays, "B with a new epoch leaves old published files in handoff/", "wipes") \
  X(forget_early, "B forgets an outcome that A has not recorded", "forget") \
  X(clean_no_pull, "orderly stop leaves files in handoff/", "stops") \
  X(clean_no_sync, "orderly stop does not flush the agents' directories", "stops") \
  X(clean_mark_stays, "the clean mark is not durably removed before the first publish", "stops") \
  X(lease_unsynced, "H lets the bytes out before the move to sent/ is durable", "pull") \
  X(lease_any_epoch, "H leases again to a B that has lost its state", "pull wipes") \
  X(relay_expires_lease, "H expires a leased handoff without B's verdict", "pull") \
  X(relay_revokes_lease, "H answers a revoke of a leased handoff by itself", "chain") \
  X(pull_unsynced, "B writes the outcome before the pull is flushed", "harmless") \
  X(final_unsynced, "B writes the outcome before archive/ is flushed", "harmless")
#define AS_ENUM(name, text, args) M_##name,
#define AS_ROW(name, text, args) {#name, text, args},
enum { MISTAKES(AS_ENUM) MISTAKE_COUNT };
static const struct { const char *name, *text, *args; } mistakes[] = {MISTAKES(AS_ROW)};
static bool on[MISTAKE_COUNT];
#define WRONG(x) const bool x = on[M_##x]

// ------------------------------------------------------------------------------------------ words shared by both models
enum Place   { HANDOFF, OUTBOX, SENT };                              // where A's file is
enum Outcome { NONE, UNDELIVERED, UNCERTAIN, COMPLETED, REJECTED, LOST, UNKNOWN };  // outcome/T.json
enum Post    { FREE, FLYING, ABANDONED, REFUSED };                   // a request slot; REFUSED: complete "not admitted" on its way
enum Answer  { A_STORED = 1, A_CLAIMED = 2, A_DONE = 4, A_REJ = 8, A_UNDEL = 16, A_UNC = 32, A_LOST = 64 };
enum Entry   { NEW = 1, OFFERED = 2, CLAIMED = 4, DONE = 8, REJ = 16, PULLED = 32,  // the token, by the name it bears
               ACTED = CLAIMED | DONE | REJ, AGENTS = OFFERED | ACTED, TOKEN = 63, RECEIPT = 64, AGAIN = 128 };                          // AGAIN: offered again after a power cut (redeliver)
enum Phase   { UP, RESTART, POWERCUT, STOPPED };                     // B: serving, recovering, recovering after power cut, stopped

static int answerFor(int outcome) {
  switch (outcome) {
    case UNDELIVERED: return A_UNDEL;  case UNCERTAIN: return A_UNC;  case COMPLETED: return A_DONE;
    case REJECTED: return A_REJ;       case LOST: return A_LOST;      default: return 0; }
}
static int outcomeFor(int answer) {
  switch (answer) {
    case A_UNDEL: return UNDELIVERED;  case A_UNC: return UNCERTAIN;  case A_DONE: return COMPLETED;
    case A_REJ: return REJECTED;       case A_LOST: return LOST;      default: return NONE; }
}

// The receiver that is the agent's home; the same in both models.
struct Home {
  u64 v : 8, d : 8;          // directory entries now, and as flushed
  u64 out : 3, outD : 3;     // outcome/T.json now, and as flushed
  u64 step : 2;              // admission: 1 token written, 2 receipt linked
  u64 phase : 2, expired : 1, clean : 1, cleanD : 1, claims : 2, epoch : 2;
};
template <class B> static bool known(const B &b) { return b.out || (b.v & (RECEIPT | NEW)); }
template <class B> static bool flushed(const B &b, int mask) { return (b.v & mask) == (b.d & mask); }
template <class B> static void move(B &b, int from, int to) { b.v = (b.v & ~from) | to; }

// What B may say about T: only what is durable. 0 = says nothing yet.
template <class B> static int report(const B &b) {
  WRONG(claim_unsynced); WRONG(tombstone_unsynced);
  if (b.out) return (b.out == b.outD || tombstone_unsynced) ? answerFor(b.out) : 0;
  if (b.v & ACTED) return (flushed(b, AGENTS) || claim_unsynced) ? A_CLAIMED : 0;
  if ((b.v & b.d) & RECEIPT) return A_STORED;
  return 0;
}

// Everything B does alone: flushes, admission, publishing, observing, janitor, the agent, crashes, recovery.
// emit(state, name); get(state) is B inside the whole state; fault(state) spends one fault or says no.
template <class S, class Emit, class Get, class Stored, class Fault>
static void homeSteps(const S &s, Emit emit, Get get, Stored stored, Fault fault) {
  WRONG(ack_early); WRONG(publish_early); WRONG(receipt_first); WRONG(outcome_then_pull); WRONG(offer_again);
  WRONG(agent_first); WRONG(boot_first); WRONG(clean_no_pull); WRONG(clean_no_sync); WRONG(clean_mark_stays); WRONG(leave_strays);
  WRONG(pull_unsynced); WRONG(final_unsynced);
  const Home b = get(s); S n = s;
  auto B = [&]() -> Home & { return get(n); };
  auto done = [&](const char *name) { emit(n, name); n = s; };
  bool up = b.phase == UP, idle = up && b.step == 0;

  // kernel flush or fsync, any time. A rename is atomic; with --split-b the new name may come before the old one goes
  if (opt.split) {
    for (int e : {NEW, OFFERED, CLAIMED, DONE, REJ, PULLED})
      if (!flushed(b, e) && ((b.v & e) || !(b.v & ~b.d & TOKEN))) { B().d = (b.d & ~e) | (b.v & e); done("B one directory flushed"); }
  } else if (!flushed(b, TOKEN)) { B().d = (b.d & ~TOKEN) | (b.v & TOKEN); done("B token's directories flushed"); }
  if (!flushed(b, RECEIPT)) { B().d = (b.d & ~RECEIPT) | (b.v & RECEIPT); done("B receipt flushed"); }
  if (!flushed(b, AGAIN))   { B().d = (b.d & ~AGAIN) | (b.v & AGAIN); done("B again-mark flushed"); }
  if (b.out != b.outD)      { B().outD = b.out; done("B outcome flushed"); }
  if (b.clean != b.cleanD)  { B().cleanD = b.clean; done("B boot file flushed"); }

  // admission, continued from the first write
  if (up && b.step == 1) {
    B().v |= receipt_first ? NEW : RECEIPT; B().step = 2;
    done(receipt_first ? "MISTAKE B makes token after receipt" : "B links receipt inbox/N");
  }
  if (up && b.step == 2 && (ack_early || flushed(b, NEW | RECEIPT))) {
    B().step = 0; stored(n); done("B has custody, answers stored");
    B().step = 0; done("B has custody, answer lost");
  }
  // publish: consumes the token
  if (up && (b.v & NEW) && (b.v & RECEIPT) && !b.out && (idle || publish_early) &&
      (publish_early || flushed(b, NEW | RECEIPT)) && (clean_mark_stays || (!b.clean && !b.cleanD))) {
    move(B(), NEW, OFFERED); if (b.step) B().step = 0; done("B publishes inbox/N.new -> handoff/N");
  }
  // observing what the agent did
  if (idle && !b.out && (b.v & RECEIPT) && (flushed(b, AGENTS) || final_unsynced)) {
    if (b.v & DONE) { B().out = COMPLETED; done("B writes outcome completed"); }
    else if (b.v & REJ) { B().out = REJECTED; done("B writes outcome rejected_by_agent"); }
  }
  // janitor: take back first, write the outcome second
  if (idle && b.expired && (b.v & RECEIPT) && (b.v & (NEW | OFFERED)) && !(b.v & ACTED) && !b.out) {
    if (outcome_then_pull) { B().out = UNDELIVERED; done("MISTAKE B outcome before pull"); }
    else { move(B(), NEW | OFFERED, PULLED); done("B janitor takes expired file back"); }
  }
  if (outcome_then_pull && idle && b.out && (b.v & (NEW | OFFERED))) { move(B(), NEW | OFFERED, PULLED); done("MISTAKE B pull after outcome"); }
  if (idle && (b.v & PULLED) && (flushed(b, TOKEN) || pull_unsynced) && !b.out) {
    B().out = (b.v & AGAIN) ? UNCERTAIN : UNDELIVERED; done("B writes outcome expired or revoked");
  }
  // the agent
  if ((b.v & OFFERED) && (agent_first || b.phase != POWERCUT)) {
    move(B(), OFFERED, CLAIMED); if (b.claims < 3) B().claims++; done("AGENT claims handoff/N -> claimed/N");
  }
  if (b.v & CLAIMED) { move(B(), CLAIMED, DONE); done("AGENT archives"); move(B(), CLAIMED, REJ); done("AGENT rejects"); }

  // orderly stop: take unclaimed files back to N.new, flush, leave the clean mark
  if (opt.stops && idle && !b.clean && !b.cleanD) {
    if ((b.v & OFFERED) && !clean_no_pull && !b.out) { move(B(), OFFERED, NEW); done("B stopping: handoff/N -> inbox/N.new"); }
    else if ((clean_no_sync || flushed(b, TOKEN | RECEIPT)) && fault(n, 'S')) { B().clean = 1; B().cleanD = 1; B().phase = STOPPED; done("B stops, clean mark durable"); }
    n = s;
  }
  if (b.phase == STOPPED) { B().phase = RESTART; done("B starts"); }
  // crash, power cut, state lost
  if (b.phase != STOPPED && fault(n, 'c')) {
    B().step = 0; B().phase = (b.phase == POWERCUT && !boot_first) ? POWERCUT : RESTART; done("B process crash"); }
  n = s;
  if (fault(n, 'p')) {
    B().step = 0; B().v = b.d; B().out = b.outD; B().clean = b.cleanD; B().phase = b.cleanD ? RESTART : POWERCUT; done("B power cut"); }
  n = s;
  for (int keep = 0; keep < 2; keep++) {
    if (fault(n, 'w')) {  // relay/ is gone; the agents' four directories may or may not be
      int left = keep ? AGENTS : 0;
      B().v &= left; B().d &= left; B().out = B().outD = B().step = B().clean = B().cleanD = 0; B().epoch++;
      B().phase = b.phase == POWERCUT ? POWERCUT : RESTART;   // agents that already run cannot be held back
      done(keep ? "B loses relay/, new epoch" : "B loses relay/ and all files, new epoch"); }
    n = s;
  }
  // start-up, one thing at a time, before serving
  if (b.phase == RESTART || b.phase == POWERCUT) {
    bool cut = b.phase == POWERCUT, acted = b.v & ACTED;
    if ((b.v & NEW) && !(b.v & RECEIPT) && !b.out) { move(B(), NEW, 0); done("B start: N.new without receipt, deleted"); }
    else if ((b.v & OFFERED) && !(b.v & RECEIPT) && !leave_strays) { move(B(), OFFERED, 0); done("B start: published file without receipt, quarantined"); }
    else if (b.clean && !cut) { B().clean = 0; B().cleanD = clean_mark_stays ? b.cleanD : 0; done("B start: clean mark removed"); }
    else if ((b.out || acted) && (b.v & (NEW | OFFERED)) && cut && !offer_again) { move(B(), NEW | OFFERED, acted ? 0 : PULLED); done("B start: stale name removed"); }
    else if (cut && (b.v & RECEIPT) && !b.out && !acted && opt.redeliver && (b.v & (NEW | OFFERED))) { B().v |= AGAIN; B().phase = UP; done("B start after power cut: offers again, marked"); }
    else if (cut && (b.v & RECEIPT) && !b.out && (b.v & (NEW | OFFERED)) && !offer_again) { move(B(), NEW | OFFERED, PULLED); done("B start after power cut: takes file back"); }
    else if (cut && (b.v & PULLED) && !b.out) { if (flushed(b, TOKEN)) { B().out = UNCERTAIN; B().phase = UP; done("B start: outcome uncertain_power_loss"); } }
    else if ((b.v & RECEIPT) && !(b.v & TOKEN) && !b.out) { B().out = UNCERTAIN; B().phase = UP; done("B start: receipt alone, outcome uncertain or vanished"); }
    else { B().phase = UP; done("B start: done, boot id written"); }
  }
}

// A request with the bytes reaches B, which serves it. Returns true when B starts or refuses an admission.
static bool admit(Home &b) {
  WRONG(receipt_first);
  if (b.expired) { b.out = UNDELIVERED; return true; }  // tombstone; reported when durable
  b.v |= receipt_first ? RECEIPT : NEW; b.step = 1; return true;
}
// A revoke reaches B. The answer, if any, is report().
static void revokeAt(Home &b) {
  if (!known(b)) b.out = UNDELIVERED;                                   // tombstone: a late POST meets it
  else if (!b.out && (b.v & (NEW | OFFERED)) && !(b.v & ACTED)) move(b, NEW | OFFERED, PULLED);
}

// ------------------------------------------------------------------------------------------ model 1: one hop, push
struct Hop {
  u64 place : 2, placeD : 2, out : 3, outD : 3;    // A's file; A's outcome
  u64 maybe : 1;                                   // an attempt's result is unknown (true for all after a restart)
  u64 claimed : 1;                                 // A shows claimed
  u64 expired : 1, epoch : 2, epochD : 2;          // A's clock; A's note of B's epoch
  u64 hello : 2;                                   // fresh hello answer on its way, 0 none
  u64 post0 : 2, post1 : 2, tag0 : 2, tag1 : 2;    // two concurrent POSTs and their epochs
  u64 revoke : 1, rtag : 2;
  u64 bag1 : 6, bag2 : 6, bag3 : 6;                // answers B ever gave, by epoch: may arrive late, often, never
  u64 aCrash : 2, aPower : 2, bCrash : 2, bPower : 2, aBack : 2, bBack : 2, faults : 3;
  u64 forgot : 1;                                  // B has deleted what it knew, by the rule of forgetting
  Home b;
};
static u64 bag(const Hop &s, int e) { return e == 1 ? s.bag1 : e == 2 ? s.bag2 : s.bag3; }
static void put(Hop &s, int e, int a) { if (e == 1) s.bag1 |= a; else if (e == 2) s.bag2 |= a; else s.bag3 |= a; }

struct HopModel {
  typedef Hop State;
  static Hop init() { Hop s; memset(&s, 0, sizeof s); s.b.epoch = 1; return s; }
  static int final(const Hop &s) { return s.outD; }

  template <class Emit> static void next(const Hop &s, Emit emit) {
    WRONG(send_before_sync); WRONG(forget_maybe); WRONG(expire_alone); WRONG(epoch_first); WRONG(epoch_unsynced);
    WRONG(no_request_epoch); WRONG(no_reply_epoch); WRONG(proxy_no_is_final); WRONG(no_tombstone); WRONG(forget_early);
    Hop n = s;
    auto done = [&](const char *name) { emit(n, name); n = s; };
    // clocks
    if (!s.expired) { n.expired = 1; done("A clock passes expires_at"); }
    else if ((int)s.aBack < opt.back) { n.expired = 0; n.aBack++; done("A clock steps back"); }
    if (!s.b.expired) { n.b.expired = 1; done("B clock passes expires_at"); }
    else if ((int)s.bBack < opt.back) { n.b.expired = 0; n.bBack++; done("B clock steps back"); }
    // A's disk
    if (s.place != s.placeD) { n.placeD = s.place; done("A outbox/, handoff/ flushed"); }
    if (s.out != s.outD) { n.outD = s.out; done("A outcome flushed"); }
    if (s.epoch != s.epochD) { n.epochD = s.epoch; done("A peer's epoch flushed"); }
    // A: custody
    bool closed = !s.maybe && s.post0 == FREE && s.post1 == FREE;       // nothing ever left, or all of it came back refused
    bool sent = s.place == SENT || (s.place == OUTBOX && !closed);
    if (s.place == HANDOFF && !s.out) { n.place = OUTBOX; n.maybe = 0; done("A takes handoff/X -> outbox/B/T~X"); }
    if (s.expired && !s.out && (s.place == HANDOFF || (s.place == OUTBOX && (closed || expire_alone)))) { n.out = UNDELIVERED; done("A expires it alone: never sent"); }
    // A: hello and the peer's epoch
    if (s.b.phase == UP && !s.hello && s.epoch != s.b.epoch) { n.hello = s.b.epoch; done("B answers hello"); }
    if (s.hello) {
      if (!s.epoch || s.epoch == s.hello || (!sent && !s.out) || s.outD || epoch_first) { n.epoch = s.hello; n.hello = 0; done("A stores the peer's epoch"); }
      else if (!s.out) { n.out = LOST; done("A: peer's epoch changed, outcome peer_lost_state"); }
    }
    // A: push
    bool ready = s.place == OUTBOX && (s.placeD == OUTBOX || s.placeD == SENT || send_before_sync) && s.epoch && (s.epochD == s.epoch || epoch_unsynced);
    if (ready && !s.out && !s.expired) {
      if (s.post0 == FREE) { n.post0 = FLYING; n.tag0 = s.epoch; done("A sends POST"); }
      if (s.post1 == FREE) { n.post1 = FLYING; n.tag1 = s.epoch; done("A sends POST again"); }
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
      if ((heard & A_STORED) && s.place == OUTBOX) { n.place = SENT; done("A moves outbox/ -> sent/"); }
      if ((heard & A_CLAIMED) && !s.claimed) { n.claimed = 1; done("A shows claimed"); }
      for (int a : {A_DONE, A_REJ, A_UNDEL, A_UNC}) if (heard & a) { n.out = outcomeFor(a); done("A writes B's final outcome"); }
      if (opt.giveup && s.expired && sent) { n.out = UNKNOWN; done("A gives up after doubt_max: outcome_unknown"); }
    }
    // A: crash and power cut
    auto aDies = [&]() {
      n.maybe = !forget_maybe; n.claimed = 0; n.hello = 0;
      if (n.post0 == FLYING) n.post0 = ABANDONED;
      if (n.post1 == FLYING) n.post1 = ABANDONED;
      if (n.post0 == REFUSED) n.post0 = FREE;
      if (n.post1 == REFUSED) n.post1 = FREE; };
    if ((int)s.aCrash < opt.aCrash && (int)s.faults < opt.faults) { n.aCrash++; if (opt.faults < 8) n.faults++; aDies(); done("A process crash"); }
    if ((int)s.aPower < opt.aPower && (int)s.faults < opt.faults) { n.aPower++; if (opt.faults < 8) n.faults++; n.place = s.placeD; n.out = s.outD; n.epoch = s.epochD; aDies(); done("A power cut"); }
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
               else { taken(); admit(n.b); done("B writes inbox/N.new"); } }
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
    }
    homeSteps(s, emit, [](auto &x) -> auto & { return const_cast<Home &>(x.b); },
      [](Hop &x) { put(x, x.b.epoch, A_STORED); },
      [](Hop &x, char kind) {
        if ((int)x.faults >= opt.faults) return false;
        if (opt.faults < 8) x.faults++;
        if (kind == 'c') { if ((int)x.bCrash >= opt.bCrash) return false; x.bCrash++; }
        if (kind == 'p') { if ((int)x.bPower >= opt.bPower) return false; x.bPower++; }
        if (kind == 'w' && (int)x.b.epoch > opt.wipes) return false;
        return true; });
  }

  static const char *broken(const Hop &s) {
    int wiped = s.b.epoch - 1 + s.forgot;   // B may have lost, or may have forgotten
    if ((int)s.b.claims > 1 + (opt.redeliver ? (int)s.bPower : 0)) return "I1 claimed twice";
    if (s.place == SENT && !s.out && !wiped && !(s.b.d & RECEIPT) && !s.b.outD) return "I3 A was told stored, B has nothing durable";
    if ((s.out == UNDELIVERED || s.b.out == UNDELIVERED) && s.b.claims) return "I5 not delivered, but an agent claimed it";
    if ((s.claimed || s.out == COMPLETED || s.out == REJECTED) && !s.b.claims) return "I6 A shows a claim that never was";
    if (s.claimed && !wiped && !s.b.outD && !(s.b.d & ACTED)) return "I6 A shows a claim that B could lose";
    if (s.out && s.out <= REJECTED && s.out != UNDELIVERED && !wiped && s.out != s.b.outD) return "I6 A and B end differently";
    if ((s.out == UNCERTAIN || s.b.out == UNCERTAIN) && !s.bPower) return "I9 uncertain without a power cut";
    if (s.out == LOST && s.b.epoch == 1) return "I9 peer_lost_state without lost state";
    return nullptr;
  }
  static const char *brokenStep(const Hop &s, const Hop &t) {
    if (s.outD && t.outD != s.outD) return "I6 A's final outcome changed";
    if (s.b.outD && t.b.outD != s.b.outD && t.b.epoch == s.b.epoch && !t.forgot) return "I6 B's final outcome changed";
    return nullptr;
  }
};

// ------------------------------------------------------------------------------------------ model 2: A -> H push, H -> B pull
// H is a relay: receiver for A, sender for B, one outcome record for both. H's token: N.new -> outbox/B -> sent/B.
enum RelayToken { R_NONE, R_NEW, R_OUTBOX, R_SENT };
struct Chain {
  u64 place : 2, placeD : 2, out : 3, outD : 3, maybe : 1, claimed : 1, expired : 1, post : 2, revoke : 1, bagA : 7;
  u64 tok : 2, tokD : 2, rc : 1, rcD : 1, hout : 3, houtD : 3, hstep : 2, hexpired : 1, hclaimed : 1, hstart : 1;
  u64 hepoch : 2, hepochD : 2, hello : 2;          // H's note of B's epoch; B's fresh hello on its way
  u64 acc : 2, acctag : 2, stray : 1, straytag : 2;  // accept: 1 request, 2 bytes on their way back; stray: request B has given up on
  u64 revoke2 : 1, rtag2 : 2, bag1 : 6, bag2 : 6;  // H's wish for a verdict; what B has told, by epoch
  u64 aCrash : 1, aPower : 1, hCrash : 1, hPower : 1, bCrash : 1, bPower : 1, back : 2, faults : 3;
  Home b;
};

struct ChainModel {
  typedef Chain State;
  static Chain init() {
    Chain s; memset(&s, 0, sizeof s); s.b.epoch = 1;
    if (opt.pull) { s.place = s.placeD = SENT; s.maybe = 1; s.tok = s.tokD = R_OUTBOX; s.rc = s.rcD = 1; }
    return s;
  }
  static int final(const Chain &s) { return opt.pull ? s.houtD : s.outD; }
  static int relayReport(const Chain &s) {
    if (s.hout) return s.hout == s.houtD ? answerFor(s.hout) : 0;
    if (s.hclaimed) return A_CLAIMED;
    return (s.rc && s.rcD) ? A_STORED : 0;
  }

  template <class Emit> static void next(const Chain &s, Emit emit) {
    WRONG(lease_unsynced); WRONG(lease_any_epoch); WRONG(relay_expires_lease); WRONG(relay_revokes_lease);
    Chain n = s;
    auto done = [&](const char *name) { emit(n, name); n = s; };
    auto back = [&]() { return (int)s.back < opt.back; };
    // clocks (one budget of backward steps for the three)
    if (!opt.pull) {
      if (!s.expired) { n.expired = 1; done("A clock passes expires_at"); } else if (back()) { n.expired = 0; n.back++; done("A clock steps back"); } }
    if (!s.hexpired) { n.hexpired = 1; done("H clock passes expires_at"); } else if (back()) { n.hexpired = 0; n.back++; done("H clock steps back"); }
    if (!s.b.expired) { n.b.expired = 1; done("B clock passes expires_at"); } else if (back()) { n.b.expired = 0; n.back++; done("B clock steps back"); }

    // ---- A, as in model 1 without epochs
    if (!opt.pull) {
      if (s.place != s.placeD) { n.placeD = s.place; done("A outbox/, handoff/ flushed"); }
      if (s.out != s.outD) { n.outD = s.out; done("A outcome flushed"); }
      bool closed = !s.maybe && s.post == FREE, sent = s.place == SENT || (s.place == OUTBOX && !closed);
      if (s.place == HANDOFF && !s.out) { n.place = OUTBOX; n.maybe = 0; done("A takes handoff/X -> outbox/H/T~X"); }
      if (s.expired && !s.out && (s.place == HANDOFF || (s.place == OUTBOX && closed))) { n.out = UNDELIVERED; done("A expires it alone: never sent"); }
      if (s.place == OUTBOX && s.placeD != HANDOFF && !s.out && !s.expired && s.post == FREE) { n.post = FLYING; done("A sends POST"); }
      if (s.post == FLYING) { n.post = ABANDONED; n.maybe = 1; done("A gives up waiting for POST"); }
      if (s.post == REFUSED) { n.post = FREE; done("A gets H's complete not-admitted"); n.post = FREE; n.maybe = 1; done("not-admitted lost"); }
      if (sent && !s.out && !s.revoke) { n.revoke = 1; done("A sends REVOKE"); }
      if (!s.out && s.place != HANDOFF) {
        if ((s.bagA & A_STORED) && s.place == OUTBOX) { n.place = SENT; done("A moves outbox/ -> sent/"); }
        if ((s.bagA & A_CLAIMED) && !s.claimed) { n.claimed = 1; done("A shows claimed"); }
        for (int a : {A_DONE, A_REJ, A_UNDEL, A_UNC, A_LOST}) if (s.bagA & a) { n.out = outcomeFor(a); done("A writes H's final outcome"); }
      }
      auto aDies = [&]() { n.maybe = 1; n.claimed = 0; if (n.post == FLYING) n.post = ABANDONED; if (n.post == REFUSED) n.post = FREE; };
      if (s.aCrash < opt.aCrash && s.faults < opt.faults) { n.aCrash++; n.faults++; aDies(); done("A process crash"); }
      if (s.aPower < opt.aPower && s.faults < opt.faults) { n.aPower++; n.faults++; n.place = s.placeD; n.out = s.outD; aDies(); done("A power cut"); }
    }

    // ---- H's disk, crashes, start-up
    bool up = !s.hstart, idle = up && s.hstep == 0;
    if (s.tok != s.tokD) { n.tokD = s.tok; done("H token's directories flushed"); }
    if (s.rc != s.rcD) { n.rcD = s.rc; done("H receipt flushed"); }
    if (s.hout != s.houtD) { n.houtD = s.hout; done("H outcome flushed"); }
    if (s.hepoch != s.hepochD) { n.hepochD = s.hepoch; done("H peer's epoch flushed"); }
    auto hDies = [&]() { n.hstep = 0; n.hclaimed = 0; n.hello = 0; n.hstart = 1; };
    if (s.hCrash < opt.hCrash && s.faults < opt.faults) { n.hCrash++; n.faults++; hDies(); done("H process crash"); }
    if (s.hPower < opt.hPower && s.faults < opt.faults) { n.hPower++; n.faults++; n.tok = s.tokD; n.rc = s.rcD; n.hout = s.houtD; n.hepoch = s.hepochD; hDies(); done("H power cut"); }
    if (s.hstart) {   // a relay has no agent: nothing is uncertain here
      if (s.tok == R_NEW && !s.rc && !s.hout) { n.tok = R_NONE; done("H start: N.new without receipt, deleted"); }
      else if (s.rc && s.tok == R_NONE && !s.hout) { n.tok = R_NEW; done("H start: receipt alone, token linked again"); }
      else { n.hstart = 0; done("H start: done"); }
    }
    // ---- H as receiver
    bool hknown = s.hout || s.rc || s.tok;
    if (idle && (s.post == FLYING || s.post == ABANDONED)) {
      auto taken = [&]() { if (s.post == FLYING) n.maybe = 1; n.post = FREE; };
      if (hknown) { if (relayReport(s)) { taken(); n.bagA |= relayReport(s); done("H answers known POST with its state"); } }
      else if (s.hexpired) { n.hout = UNDELIVERED; done("H refuses expired POST: tombstone"); }
      else { taken(); n.tok = R_NEW; n.hstep = 1; done("H writes inbox/N.new"); }
      if (!hknown) { n.post = s.post == FLYING ? REFUSED : FREE; done("H answers 503, not admitted"); }
      taken(); done("POST lost");
    }
    if (up && s.hstep == 1) { n.rc = 1; n.hstep = 2; done("H links receipt inbox/N"); }
    if (up && s.hstep == 2 && s.tokD == R_NEW && s.rcD) {
      n.hstep = 0; n.bagA |= A_STORED; done("H has custody, answers stored");
      n.hstep = 0; done("H has custody, answer lost"); }
    if (idle && s.tok == R_NEW && s.rc && s.rcD && s.tokD && !s.hout) { n.tok = R_OUTBOX; done("H forwards inbox/N.new -> outbox/B/T~N"); }
    if (idle && relayReport(s) && !(s.bagA & relayReport(s)) && !opt.pull) { n.bagA |= relayReport(s); done("H answers a states query"); }
    if (idle && s.revoke) {
      n.revoke = 0;
      if (!hknown) { n.hout = UNDELIVERED; done("H handles REVOKE: tombstone"); }
      else if (!s.hout && (s.tok == R_NEW || s.tok == R_OUTBOX)) { n.hout = UNDELIVERED; done("H handles REVOKE: never leased"); }
      else if (!s.hout && s.tok == R_SENT && relay_revokes_lease) { n.hout = UNDELIVERED; done("MISTAKE H revokes a lease alone"); }
      else if (!s.hout && s.tok == R_SENT && s.hepoch) { n.revoke2 = 1; n.rtag2 = s.hepoch; done("H passes REVOKE on to B"); }
      n = s; n.revoke = 0; done("REVOKE lost");
    }
    // ---- H as sender: expires alone what it never leased, else wants B's verdict
    if (idle && s.hexpired && !s.hout && s.rc && (s.tok == R_NEW || s.tok == R_OUTBOX || relay_expires_lease)) { n.hout = UNDELIVERED; done("H expires it alone: never leased"); }
    if (idle && !s.hout && s.tok == R_SENT && s.hepoch && s.hepochD == s.hepoch && !s.revoke2) { n.revoke2 = 1; n.rtag2 = s.hepoch; done("H asks B for a verdict"); }
    // hello with challenge: H learns B's epoch
    if (up && s.b.phase == UP && !s.hello && s.hepoch != s.b.epoch) { n.hello = s.b.epoch; done("B says hello to H"); }
    if (up && s.hello) {
      if (!s.hepoch || s.hepoch == s.hello || s.tok != R_SENT || s.houtD || lease_any_epoch) { n.hepoch = s.hello; n.hello = 0; done("H stores the peer's epoch"); }
      else if (!s.hout) { n.hout = LOST; done("H: peer's epoch changed, outcome peer_lost_state"); }
    }
    // accept: the lease
    auto accept = [&](int tag, bool live) {
      if (live) n.acc = 0; else { n.stray = 0; n.straytag = 0; }
      if (tag != (int)s.hepoch || s.hepoch != s.hepochD || s.hout) { done("H answers accept: 410 or 412"); return; }
      if (s.tok == R_OUTBOX && !lease_unsynced) { n = s; n.tok = R_SENT; done("H leases: outbox/B -> sent/B"); return; }
      if (lease_unsynced && s.tok == R_OUTBOX) n.tok = R_SENT;
      if (n.tok == R_SENT && (s.tokD == R_SENT || lease_unsynced)) { if (live) n.acc = 2; done("H hands out the bytes"); }
      n = s;
    };
    if (idle && s.acc == 1) accept(s.acctag, true);
    if (idle && s.stray) accept(s.straytag, false);
    // ---- the wire between H and B
    if (s.acc == 1) { n.acc = 0; if (!s.stray) { n.stray = 1; n.straytag = s.acctag; } n.acctag = 0; done("B gives up waiting for accept"); }
    if (s.acc == 2) { n.acc = 0; n.acctag = 0; done("accept's reply lost"); }
    u64 heard = s.hepoch == 1 ? s.bag1 : s.hepoch == 2 ? s.bag2 : 0;
    if (up && !s.hout && s.tok == R_SENT) {
      if ((heard & A_CLAIMED) && !s.hclaimed) { n.hclaimed = 1; done("H hears claimed from B"); }
      for (int a : {A_DONE, A_REJ, A_UNDEL, A_UNC}) if (heard & a) { n.hout = outcomeFor(a); done("H writes B's final outcome"); }
    }
    // ---- B as puller
    auto tell = [](Chain &x, int a) { if (x.b.epoch == 1) x.bag1 |= a; else x.bag2 |= a; };
    if (s.b.phase == UP && s.b.step == 0) {
      if (!s.acc && !known(s.b)) { n.acc = 1; n.acctag = s.b.epoch; done("B sends accept"); }
      if (s.acc == 2) {
        n.acc = 0; n.acctag = 0;
        if (s.acctag == s.b.epoch && !known(s.b)) admit(n.b);
        done("B gets the bytes");
      }
      if (s.revoke2) {
        n.revoke2 = 0; n.rtag2 = 0;
        if (s.rtag2 == s.b.epoch) revokeAt(n.b);
        done("B handles H's wish for a verdict");
        n.revoke2 = 0; n.rtag2 = 0; done("H's wish lost");
      }
      int r = report(s.b), have = s.b.epoch == 1 ? s.bag1 : s.bag2;
      if (r && !(have & r)) { tell(n, r); done("B tells H its state"); }
    }
    homeSteps(s, [&](const Chain &x, const char *name) {
        Chain y = x;
        if (y.b.phase != UP && s.b.phase == UP) { if (y.acc == 1 && !y.stray) { y.stray = 1; y.straytag = y.acctag; } y.acc = 0; y.acctag = 0; y.hello = 0; }
        emit(y, name);
      }, [](auto &x) -> auto & { return const_cast<Home &>(x.b); },
      [&](Chain &x) { tell(x, A_STORED); },
      [](Chain &x, char kind) {
        if ((int)x.faults >= opt.faults) return false;
        x.faults++;
        if (kind == 'c') { if (x.bCrash >= opt.bCrash) return false; x.bCrash++; }
        if (kind == 'p') { if (x.bPower >= opt.bPower) return false; x.bPower++; }
        if (kind == 'w' && (int)x.b.epoch > opt.wipes) return false;
        return true; });
  }

  static const char *broken(const Chain &s) {
    int wiped = s.b.epoch - 1;
    if (s.b.claims > 1) return "I1 claimed twice";
    if (!opt.pull && s.place == SENT && !s.out && !s.rcD && !s.houtD) return "I3 A was told stored, H has nothing durable";
    if (s.rc && !s.hout && !s.tok && !s.hstart) return "I2 H has a receipt and no token";
    if ((s.out == UNDELIVERED || s.hout == UNDELIVERED || s.b.out == UNDELIVERED) && s.b.claims) return "I5 not delivered, but an agent claimed it";
    for (int o : {(int)s.out, (int)s.hout}) {
      if ((o == COMPLETED || o == REJECTED) && !s.b.claims) return "I6 a claim is shown that never was";
      if (o == UNCERTAIN && !s.bPower) return "I9 uncertain without a power cut at B";
      if (o == LOST && !wiped) return "I9 peer_lost_state without lost state";
    }
    if (s.b.out == UNCERTAIN && !s.bPower) return "I9 uncertain without a power cut at B";
    if ((s.claimed || s.hclaimed) && (!s.b.claims || (!wiped && !s.b.outD && !(s.b.d & ACTED)))) return "I6 a claim is shown that B could lose";
    if (s.out && s.out != UNDELIVERED && s.out != s.houtD) return "I6 A and H end differently";
    if ((s.hout == COMPLETED || s.hout == REJECTED || s.hout == UNCERTAIN) && !wiped && s.hout != s.b.outD) return "I6 H and B end differently";
    return nullptr;
  }
  static const char *brokenStep(const Chain &s, const Chain &t) {
    if (s.outD && t.outD != s.outD) return "I6 A's final outcome changed";
    if (s.houtD && t.houtD != s.houtD) return "I6 H's final outcome changed";
    if (s.b.outD && t.b.outD != s.b.outD && t.b.epoch == s.b.epoch) return "I6 B's final outcome changed";
    return nullptr;
  }
};

// ------------------------------------------------------------------------------------------ breadth-first search
template <class M> struct Search {
  typedef typename M::State S;
  vector<S> states; vector<u32> parent, slots, edges; vector<u64> firstEdge;
  u64 count = 0; bool quiet; int ends = 0;

  static u64 hash(const S &s) {
    u64 w[sizeof(S) / 8], h = 0x9E3779B97F4A7C15ull; memcpy(w, &s, sizeof s);
    for (u64 x : w) { h ^= x; h *= 0xBF58476D1CE4E5B9ull; h ^= h >> 29; h *= 0x94D049BB133111EBull; h ^= h >> 32; }
    return h;
  }
  void grow() {
    vector<u32> bigger(slots.empty() ? 1 << 20 : slots.size() * 2, UINT32_MAX); u64 mask = bigger.size() - 1;
    for (u32 i = 0; i < states.size(); i++) { u64 at = hash(states[i]) & mask; while (bigger[at] != UINT32_MAX) at = (at + 1) & mask; bigger[at] = i; }
    slots.swap(bigger);
  }
  u32 add(const S &s, u32 from) {
    if (states.size() * 10 >= slots.size() * 6) grow();
    u64 mask = slots.size() - 1, at = hash(s) & mask;
    for (; slots[at] != UINT32_MAX; at = (at + 1) & mask) if (!memcmp(&states[slots[at]], &s, sizeof s)) return slots[at];
    slots[at] = states.size(); states.push_back(s); parent.push_back(from); return slots[at];
  }
  void path(u32 i) {
    if (quiet) return;
    vector<u32> way; for (; i; i = parent[i]) way.push_back(i);
    u32 from = 0; int step = 0;
    for (auto it = way.rbegin(); it != way.rend(); from = *it++) {
      const char *name = "?";
      M::next(states[from], [&](const S &t, const char *a) { if (!memcmp(&t, &states[*it], sizeof t)) name = a; });
      printf("   %2d  %s\n", ++step, name);
    }
  }
  int run(const char *title, bool quietly = false) {
    auto t0 = chrono::steady_clock::now(); quiet = quietly;
    auto seconds = [&]() { return chrono::duration<double>(chrono::steady_clock::now() - t0).count(); };
    add(M::init(), 0);
    for (u32 i = 0; i < states.size(); i++) {
      const S s = states[i]; bool stuck = true;
      ends |= 1 << M::final(s);
      if (const char *why = M::broken(s)) return fail(title, why, i, seconds());
      if (opt.live) firstEdge.push_back(edges.size());
      const char *whyStep = nullptr; u32 bad = 0;
      M::next(s, [&](const S &t, const char *) {
        count++; stuck = false; u32 to = add(t, i);
        if (opt.live) edges.push_back(to);
        if (!whyStep && (whyStep = M::brokenStep(s, t))) bad = to; });
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
static int runOne(const char *title, bool quietly = false) {
  return opt.chain ? Search<ChainModel>().run(title, quietly) : Search<HopModel>().run(title, quietly);
}

static int runMistakes() {
  Options base = opt; int missed = 0;
  for (int i = 0; i < MISTAKE_COUNT; i++) {
    auto &m = mistakes[i]; opt = base; opt.live = false; on[i] = true;
    if (strstr(m.args, "wipes")) opt.wipes = 1;
    if (strstr(m.args, "stops")) opt.stops = 1;
    if (strstr(m.args, "forget")) opt.forget = true;
    if (strstr(m.args, "pull")) { opt.chain = opt.pull = true; opt.faults = 3; }
    if (strstr(m.args, "chain")) { opt.chain = true; opt.faults = 1; }
    printf("%-22s %s\n    ", m.name, m.text);
    bool harmless = strstr(m.args, "harmless"), caught = runOne(m.name, true);
    if (caught == harmless) { missed++; puts(harmless ? "    NOT HARMLESS" : "    NOT CAUGHT"); }
    on[i] = false;
  }
  printf("%d of %d not as expected\n", missed, (int)MISTAKE_COUNT);
  return missed ? 1 : 0;
}

static int runStandard() {   // bounds chosen so that all of it takes less than a minute
  const Options base = opt; int bad = 0;
  auto one = [&](const char *title, auto change) { opt = base; change(); bad |= runOne(title); };
  one("one hop", [] {});
  one("one hop, B may lose relay/", [] { opt.wipes = 1; opt.aPower = opt.bCrash = 0; });
  one("one hop, orderly stops", [] { opt.stops = 1; opt.aCrash = opt.aPower = 0; });
  one("one hop, both names at B", [] { opt.split = true; opt.aPower = opt.bCrash = 0; });
  one("one hop, forgetting, giving up", [] { opt.forget = opt.giveup = true; opt.bCrash = 0; });
  one("pull hop, B may lose relay/", [] { opt.chain = opt.pull = true; opt.faults = 3; opt.wipes = 1; });
  one("two hops, one fault in all", [] { opt.chain = true; opt.faults = 1; });
  return bad;
}

static void help() {
  puts("no option: the standard set.  --hop or any bound: one run.\n"
       "--a-crash N --a-power N --h-crash N --h-power N --b-crash N --b-power N   crashes and power cuts (default 1 each)\n"
       "--back N       backward clock steps (default 1; per host in one hop, in all in --chain)\n"
       "--wipes N      B loses relay/ (0..2, default 0)      --stops 1   B may be stopped in order\n"
       "--faults N     all crashes, cuts, wipes, stops together (0..7; default: one hop none, --chain 1, --pull 4)\n"
       "--chain        two hops A -> H -> B                  --pull      with --chain: only H -> B\n"
       "--split-b      a power cut may show both names of a rename at B\n"
       "--redeliver    after_power_loss: redeliver           --give-up   A may end as outcome_unknown\n"
       "--forget       B deletes final records by the rule of forgetting\n"
       "--no-live      skip I10 (less memory)                --mistake NAME, --mistakes, --list");
}
int main(int argc, char **argv) {
  bool all = false, faultsSet = false; string title;
  auto number = [&](int &i) { if (i + 1 >= argc) { help(); exit(2); } title += string(" ") + argv[i + 1]; return atoi(argv[++i]); };
  for (int i = 1; i < argc; i++) {
    string a = argv[i]; title += (title.empty() ? "" : " ") + a;
    if (a == "--hop") {} else if (a == "--a-crash") opt.aCrash = number(i); else if (a == "--a-power") opt.aPower = number(i);
    else if (a == "--h-crash") opt.hCrash = number(i); else if (a == "--h-power") opt.hPower = number(i);
    else if (a == "--b-crash") opt.bCrash = number(i); else if (a == "--b-power") opt.bPower = number(i);
    else if (a == "--back") opt.back = number(i); else if (a == "--wipes") opt.wipes = number(i);
    else if (a == "--stops") opt.stops = number(i); else if (a == "--faults") { opt.faults = number(i); faultsSet = true; }
    else if (a == "--chain") opt.chain = true; else if (a == "--pull") opt.chain = opt.pull = true;
    else if (a == "--split-b") opt.split = true; else if (a == "--redeliver") opt.redeliver = true;
    else if (a == "--give-up") opt.giveup = true; else if (a == "--forget") opt.forget = true; else if (a == "--no-live") opt.live = false;
    else if (a == "--mistakes") all = true;
    else if (a == "--mistake" && i + 1 < argc) {
      bool found = false;
      for (int k = 0; k < MISTAKE_COUNT; k++) if (!strcmp(mistakes[k].name, argv[i + 1])) on[k] = found = true;
      if (!found) { fprintf(stderr, "no such mistake: %s\n", argv[i + 1]); return 2; }
      title += string(" ") + argv[++i]; }
    else if (a == "--list") { for (auto &m : mistakes) printf("%-22s %s\n", m.name, m.text); return 0; }
    else { help(); return a == "--help" ? 0 : 2; }
  }
  if (opt.chain && !faultsSet) opt.faults = opt.pull ? 4 : 1;
  if (opt.chain && (opt.wipes > 1 || opt.faults > 7)) { fprintf(stderr, "--chain takes --wipes 0..1 and --faults 0..7\n"); return 2; }
  if (opt.wipes > 2) { fprintf(stderr, "--wipes 0..2\n"); return 2; }
  return all ? runMistakes() : title.empty() ? runStandard() : runOne(title.c_str());
}
