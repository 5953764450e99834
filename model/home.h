// home.h - words shared by all models, and the receiver that is the agent's home.
#pragma once
#include "option.h"
#include <cstring>

enum Place   { HANDOFF, OUTBOX, SENT };                              // where A's file is
enum Outcome { NONE, UNDELIVERED, UNCERTAIN, COMPLETED, REJECTED, LOST, UNKNOWN };  // outcome/T.json
enum Post    { FREE, FLYING, ABANDONED, REFUSED };                   // a request slot; REFUSED: complete "not admitted" on its way
enum Answer  { A_STORED = 1, A_CLAIMED = 2, A_DONE = 4, A_REJ = 8, A_UNDEL = 16, A_UNC = 32, A_LOST = 64, A_LEASED = 128 };
enum Entry   { NEW = 1, OFFERED = 2, CLAIMED = 4, DONE = 8, REJ = 16, PULLED = 32,  // the token, by the name it bears
               ACTED = CLAIMED | DONE | REJ, AGENTS = OFFERED | ACTED, TOKEN = 63, RECEIPT = 64,
               AGAIN = 128 };                                        // offered again after a power cut (redeliver)
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

enum Host    { HOST_A, HOST_H, HOST_B };
struct Faults { uint8_t crash[3], power[3], back, all; };            // spent, by host; backward clock steps; faults in all
static bool spend(Faults &f, int host, char kind) {                  // c crash, p power cut, w lost tree, r restored, S stop; or no
  uint8_t *used = kind == 'c' ? f.crash : kind == 'p' ? f.power : nullptr;
  if (f.all >= opt.faults || (used && used[host] >= (kind == 'c' ? opt.crash : opt.power)[host])) return false;
  if (used) used[host]++;
  if (opt.faults < 99) f.all++;   // unlimited: not counted, or the same states would differ by it
  return true;
}
static bool mayStepBack(Faults &f) { return f.back < opt.back && ++f.back; }

// The receiver that is the agent's home; the same in all models.
struct Home {
  u64 v : 8, d : 8;          // directory entries now, and as flushed
  u64 out : 3, outD : 3;     // outcome/T.json now, and as flushed
  u64 step : 2;              // admission: 1 token written, 2 receipt linked
  u64 phase : 2, expired : 1, clean : 1, cleanD : 1, claims : 2, epoch : 2;
  u64 copy : 2, restored : 1, busy : 1;   // backup of relay/: 1 N.new, 2 receipt; it was restored; agents run while B starts
};
template <class B> static bool known(const B &b) { return b.out || (b.v & (RECEIPT | NEW)); }
template <class B> static bool flushed(const B &b, int mask) { return (b.v & mask) == (b.d & mask); }
template <class B> static void move(B &b, int from, int to) { b.v = (b.v & ~from) | to; }

// B looks from time to time: until then it says stored of what the agent has claimed.
template <class B> static bool holds(const B &b) { return opt.loose && !b.out && ((b.v & b.d) & RECEIPT); }
// What B may say about T: only what is durable. 0 = says nothing yet.
template <class B> static int report(const B &b) {
  WRONG(claim_unsynced); WRONG(tombstone_unsynced);
  if (b.out) return (b.out == b.outD || tombstone_unsynced) ? answerFor(b.out) : 0;
  const bool claimFlushed = flushed(b, AGENTS) || (opt.loose && (b.d & ACTED) && !(b.d & OFFERED));   // the agent has gone on since
  if (b.v & ACTED) return claimFlushed || claim_unsynced ? A_CLAIMED : 0;
  if ((b.v & b.d) & RECEIPT) return A_STORED;
  return 0;
}

// Everything B does alone: flushes, admission, publishing, observing, janitor, the agent, crashes, recovery.
// emit(state, name); get(state) is B inside the whole state; fault(state) spends one fault or says no.
template <class S, class Emit, class Get, class Stored, class Fault>
static void homeSteps(const S &s, Emit emit, Get get, Stored stored, Fault fault) {
  WRONG(ack_early); WRONG(publish_early); WRONG(receipt_first); WRONG(outcome_then_pull); WRONG(offer_again);
  WRONG(agent_first); WRONG(boot_first); WRONG(clean_no_pull); WRONG(clean_no_sync); WRONG(clean_mark_stays); WRONG(leave_strays);
  WRONG(pull_unsynced); WRONG(final_unsynced); WRONG(restored_epoch); WRONG(restored_plain); WRONG(routed_by_configuration);
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
  if ((b.v & OFFERED) && (agent_first || b.phase != POWERCUT || b.busy)) {
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
    B().step = 0; B().v = b.d; B().out = b.outD; B().clean = b.cleanD; B().busy = 0; B().phase = b.cleanD ? RESTART : POWERCUT; done("B power cut"); }
  n = s;
  for (int keep = 0; keep < 2; keep++) {
    if (fault(n, 'w')) {  // relay/ is gone; the agents' four directories may or may not be
      int left = keep ? AGENTS : 0;
      B().v &= left; B().d &= left; B().out = B().outD = B().step = B().clean = B().cleanD = 0; B().epoch++;
      B().phase = b.phase == POWERCUT ? POWERCUT : RESTART;   // agents that already run cannot be held back
      done(keep ? "B loses relay/, new epoch" : "B loses relay/ and all files, new epoch"); }
    n = s;
  }
  // relay/ is copied at some moment and put back later; agents that run cannot be held back meanwhile
  int copy = (b.v & NEW ? 1 : 0) | (b.v & RECEIPT ? 2 : 0);
  if (opt.restores && copy && !b.copy && !b.restored) { B().copy = copy; done("B: a backup of relay/ is made"); }
  if (opt.restores && b.copy && !b.restored && fault(n, 'r')) {
    B().v = (b.v & AGENTS) | (b.copy & 1 ? NEW : 0) | (b.copy & 2 ? RECEIPT : 0); B().d = (b.d & AGENTS) | (B().v & ~AGENTS);
    B().out = B().outD = B().step = B().clean = B().cleanD = 0; B().restored = 1; B().busy = b.phase != POWERCUT;
    if (!restored_epoch) B().epoch++;
    B().phase = restored_plain ? RESTART : POWERCUT; done("B: relay/ is restored from the backup"); }
  n = s;
  // start-up, one thing at a time, before serving
  if (b.phase == RESTART || b.phase == POWERCUT) {
    bool cut = b.phase == POWERCUT, acted = b.v & ACTED;
    if (routed_by_configuration && cut && (b.v & NEW) && (b.v & RECEIPT) && !b.out) {
      move(B(), NEW, 0); if (b.claims < 3) B().claims++; done("MISTAKE B start: forwards N.new, the agent's new host claims it"); }
    else if ((b.v & NEW) && !(b.v & RECEIPT) && !b.out) { move(B(), NEW, 0); done("B start: N.new without receipt, deleted"); }
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

