// option.h - bounds of a run, and the table of seeded mistakes.
#pragma once
#include <cstdint>
typedef uint32_t u32;
typedef uint64_t u64;

struct Options {
  int crash[3] = {1, 1, 1}, power[3] = {1, 1, 1};   // crashes and power cuts per host: A, H, B
  int back = 1;       // backward clock steps per host
  int wipes = 0;      // times B loses its relay/ tree
  int faults = 99;    // crashes + power cuts + wipes + clean stops of all hosts together
  int stops = 0;      // orderly stops of B (the machine may lose power while B is stopped)
  enum { HOP, WAYS, CHAIN, RELAY, HOMES, RING, VARIANTS } model = HOP;
  bool push = false;    // the relay pushes to B instead of being asked for leases
  bool pull = false;    // in a ring: H dials R
  bool modes = false;   // B's mode may change once, when H restarts
  bool origin = false;  // H is where the agent wrote: handoff/X for inbox/A/N.new, and no A before it
  bool brief = false;   // the relay: B's second hello follows its first at once (chain: always)
  bool restores = false;  // relay/ of B may be restored from a backup, with a new epoch
  bool splitA = false, split = false, splitH = false;  // a power cut may show both names of a rename, at A, B or H
  bool loose = false;   // what hosts may do besides, and that is no part of the protocol: see README.md
  bool live = true, redeliver = false, giveup = false, forget = false;
} opt;

// Seeded mistakes: name, what is done wrong, what the run that shows it needs. The harmless ones must pass: they are
// flushes that the protocol keeps for plain reading of the directories, not for an invariant.
#define MISTAKES(X) \
  X(send_before_sync, "A sends before outbox/ is flushed", "") \
  X(copy_anew, "A takes the name that a power cut left in handoff/ for a new handoff", "split-a") \
  X(forget_maybe, "A takes every file in outbox/ as never sent after a restart", "") \
  X(expire_alone, "A expires a maybe-sent handoff by its own clock", "") \
  X(epoch_first, "A stores B's new epoch before the old maybe-sent files have ended", "wipes") \
  X(epoch_unsynced, "A sends before the peer's epoch is durable", "wipes") \
  X(no_request_epoch, "B does not check the epoch of requests", "wipes") \
  X(no_reply_epoch, "A does not check the epoch of replies", "wipes no-back") \
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
  X(routed_by_configuration, "a start takes N.new for routed because its agent lives elsewhere now", "") \
  X(restored_plain, "B starts with a restored relay/ as after a crash", "relay restores") \
  X(restored_epoch, "relay/ is restored with its old epoch (the operator's mistake)", "relay restores") \
  X(lease_unsynced, "H lets the bytes out before the move to sent/ is durable", "relay") \
  X(lease_any_epoch, "H leases again to a B that has lost its state", "relay wipes") \
  X(hello_unchallenged, "H believes a hello without a fresh challenge", "relay wipes") \
  X(relay_expires_lease, "H expires a leased handoff without B's verdict", "relay") \
  X(forgets_lease, "H offers again, after a restart, what it had leased", "relay") \
  X(relay_revokes_lease, "H answers a revoke of a leased handoff by itself", "chain") \
  X(stale_name_wins, "H keeps the stalest of two names that a power cut left", "relay split-h") \
  X(forward_unsynced, "H posts before the move from inbox/ to outbox/ is durable", "relay push split-h") \
  X(second_alone, "H expires a maybe-sent handoff by its own clock", "relay push") \
  X(second_forgets, "H takes every file in outbox/ as never sent after a restart", "relay push") \
  X(second_stored, "H answers stored for what it may have posted", "chain push one-fault") \
  X(mode_by_run, "H notes B's new mode and remembers maybe-sent in memory only", "relay push modes") \
  X(mode_note_first, "H notes B's new mode before outbox/ has become sent/", "relay push modes") \
  X(mode_sent_stays, "H pushes now and leaves leased files in sent/", "relay modes") \
  X(homes_lease_unsynced, "H lets the bytes out to one of several homes before the move is durable", "homes") \
  X(lease_by_copy, "a lease leaves the name in outbox/@agent/ until the home has told", "homes one-fault") \
  X(lost_offered_again, "what a home with a lost tree had leased is offered to the other", "homes wipes one-fault") \
  X(loop_outcome, "a T leased in a loop gets an outcome where it is being sent on", "ways") \
  X(loop_tombstone, "a revoke of a T that came another way leaves a tombstone", "ways") \
  X(loop_unseen, "a T that came round is taken for a retry", "ring live") \
  X(loop_revoke_unheard, "a revoke of a T that came round is not answered", "ring live") \
  X(loop_lease_known, "the visitor takes a leased T that came round for known: neither lease nor verdict ends it", "ring pull live") \
  X(variant_unreserved, "S counts as known from the flush on, not from its check on", "variants") \
  X(variant_too_early, "a variant is refused before the first bytes are durable", "variants") \
  X(variant_kept, "S stays reserved though its bytes were not stored", "variants") \
  X(variant_forgotten, "S is not rebuilt from the files at start", "variants") \
  X(pull_unsynced, "B writes the outcome before the pull is flushed", "harmless no-back") \
  X(final_unsynced, "B writes the outcome before archive/ is flushed", "harmless no-back")
#define AS_ENUM(name, text, needs) M_##name,
#define AS_ROW(name, text, needs) {#name, text, needs},
enum { MISTAKES(AS_ENUM) MISTAKE_COUNT };
static const struct { const char *name, *text, *needs; } mistakes[] = {MISTAKES(AS_ROW)};
static bool on[MISTAKE_COUNT];
#define WRONG(x) const bool x = on[M_##x]

