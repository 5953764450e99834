"""Every number of the protocol that is a time or a size, with its unit and its reason; arithmetic on them.

Where one number must exceed another the inequality stands beside it and a test holds it (custody.md section 12).
"""

DAY_S = 86_400.0
HOUR_S = 3_600.0

EXPIRY_GRACE_S = 2.0
"""A published file is withdrawn this long after expires_at: an agent that looked just before it may still claim."""
MALFORMED_GRACE_S = 2.0
"""A file that does not parse is looked at again for this long: its writer may still be writing."""
CLOCK_JUMP_S = 5.0
"""A wall clock that moved by more against CLOCK_BOOTTIME makes the janitor rest."""
CLOCK_JUMP_REST_S = 60.0
"""How long the janitor rests after a clock jump; time for NTP to settle."""
REVOKE_AFTER_S = 30.0
"""A sent handoff still called published this long after expires_at is revoked: B's janitor has failed to act."""
DOUBT_ASK_S = 60.0
"""An in-doubt handoff is asked about at most this often."""
UNACCOUNTED_S = 2.0
"""A receipt whose file is at none of its known names this long makes us list the agents' directories."""
VANISHED_LOOKS = 3
VANISHED_S = 30.0
"""Looks and time before a file nobody has is called vanished_at_target."""
SCAN_INTERVAL_S = 1.0
"""The tick: events of the kernel are hints, the scan is the truth (custody.md a1)."""
STALE_CLAIM_S = 3_600.0
"""A claim silent for so long past expires_at is worth one event; nothing else follows."""
SIGNATURE_MEMORY_S = HOUR_S
"""S stays in memory until expires_at + this; later bytes with that S meet the expiry refusal."""

DOUBT_MAX_S = 7 * DAY_S
"""Past expires_at; then A gives up with outcome_unknown."""
MAX_TTL_S = DAY_S
MAX_TTL_LIMIT_S = 7 * DAY_S
FORGET_AFTER_S = DAY_S
"""B deletes a forgotten outcome this long after expires_at. > REQUEST_TOTAL_S + CLOCK_ERROR_S."""
RETAIN_S = 30 * DAY_S
"""Outcomes nobody forgot. > DOUBT_MAX_S + 1 h + max_ttl + forget_after."""

CLOCK_ERROR_S = HOUR_S
"""The largest clock error admitted: expires_at may lie max_ttl and this ahead of the receiver's clock."""

CONNECT_S = 3.0
REQUEST_TOTAL_S = 10.0
STATES_WAIT_S = 25.0
"""A states poll hangs this long: below the 30 s idle limit of common TCP proxies."""
DEBTS_S = 60.0
"""Longest time between two looks at what is owed to a peer; news wake it earlier."""
SWEEP_S = 60.0
"""A full sweep of states, whatever the cursor says."""
RETRY_DELAYS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 5.0)
"""Pauses between attempts (custody.md a9); the last one repeats. A person may be waiting on a telephone line."""
RETRY_JITTER = 0.2

PAYLOAD_LIMIT_BYTES = 1 << 20
ROUTE_LIMIT_BYTES = 16 << 20
"""A file is read up to here to learn where it wants to go, so that its sender gets an answer (custody.md a2)."""
BATCH_ITEMS = 100
BATCH_LIMIT_BYTES = 8 << 20
LEASE_LIMIT_BYTES = (BATCH_LIMIT_BYTES - BATCH_ITEMS * 2_048) // 2
"""Payload bytes handed out in one answer: a JSON text at most doubles when it becomes a JSON string."""
PATH_HOSTS = 16
"""Hosts that may have handed one payload on (docs/custody.md section 11.6): no sane chain is longer."""
CONFLICT_AGENTS = 50
"""Agents named to a peer that calls them local too: enough to know what is wrong, and it fits into a header."""
RELIST_S = 5.0
"""What a peer that pulls was told to take, and has not leased, is named again after this."""
TELL_ITEMS = 100
PENDING_LIMIT = 20_000
"""Handoffs of one principal that are open here at once; more are turned away with 429 and stay where they are."""
TOMBSTONES_PER_HOUR = 20_000
"""Outcomes written for one principal's T that were never admitted: each is a file that is kept for days."""
STATES_ITEMS = 1_000
STATES_LIMIT_BYTES = 256 << 10
ANSWER_LIMIT_BYTES = 4 << 20
"""Largest answer a daemon reads from a peer, payloads and artefacts aside."""
RECORDS_LIMIT_BYTES = ANSWER_LIMIT_BYTES - (512 << 10)
"""Records in one answer; the rest of it is T, at most 1,000 as keys and 1,000 lost: 140 KB."""


CANARY_TTL_S = 30.0
"""The longest lifetime of a canary: an operator is waiting for it."""
CANARY_AHEAD_S = 30.0
"""So much further ahead of the receiver's clock its end may lie, for a clock that is behind."""
CANARY_PAUSE_S = 1.0
"""A peer's canaries come no faster: each leaves an outcome here for some hours, which no other limit counts."""
CANARY_KEEP_S = 60.0
"""The outcome of a canary may go this long after its expires_at. > EXPIRY_GRACE_S, when its sender gives it up."""
CANARY_LIMIT_BYTES = 4_096


def retain_minimum_s(doubt_max_s: float, max_ttl_s: float, forget_after_s: float) -> float:
    """Return the seconds `retain` must exceed (custody.md section 12)."""
    return doubt_max_s + HOUR_S + max_ttl_s + forget_after_s


def is_beyond(expires_at: float, now: float, max_ttl_s: float) -> bool:
    """Tell whether a lifetime that is short enough by itself lies too far ahead: it would be open for years."""
    return expires_at > now + max_ttl_s + CLOCK_ERROR_S


def retry_delay_s(tries: int, chance: float) -> float:
    """Return the pause before attempt number `tries` + 1; `chance` in [0, 1) spreads it by RETRY_JITTER."""
    delay = RETRY_DELAYS_S[min(tries, len(RETRY_DELAYS_S)) - 1] if tries else 0.0
    return delay * (1.0 + RETRY_JITTER * (2.0 * chance - 1.0))
