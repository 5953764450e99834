"""Wake hooks: once for every handoff published for an agent, its command is run or its URL called (`on_publish`).

It owns the queue, how many run at once, and what is written down. The rules that must stay true: nobody waits for a
hook, neither custody nor the event loop; and each handoff is hooked once, again only if this process ended between the
hook's run and its mark.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from handoffd.app.hook_call import Cut, Hook, Stop, post, run_command
from handoffd.app.hook_mark import Marks, key_of
from handoffd.custody.layout import HANDOFF
from handoffd.custody.message import Waiting

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Hooks that run side by side; the others wait in the order they were published."""

CUT = "the daemon was stopped meanwhile; it runs again at the next start, if the handoff is unclaimed then"


class Hooks:
    """Runs the hooks of one root. `note` writes a line of the journal, from any thread."""

    def __init__(self, root: Path, hooks: Mapping[str, Hook], note: Callable[..., None]) -> None:
        """Nothing runs, and no thread is begun, before the first handoff for an agent that has a hook."""
        self._root = root
        self._hooks = hooks
        self._note = note
        self._marks = Marks(root)
        self._stop = Stop()
        self._under_way: set[str] = set()
        self._pool: ThreadPoolExecutor | None = None

    def configure(self, hooks: Mapping[str, Hook]) -> None:
        """Take up other hooks, for what is published from now on."""
        self._hooks = hooks

    def offer(self, item: Waiting) -> None:
        """Hear that something can be claimed; returns at once. Event loop only."""
        hook = self._hooks.get(item.agent)
        if hook is None or self._stop.is_set:
            return
        key = key_of(item.name, item.written_ns)
        if key in self._under_way:
            return
        self._under_way.add(key)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hook")
            self._pool.submit(self._guarded, self._marks.sweep)
        with suppress(RuntimeError):  # `close` came in between; the next start finds it
            self._pool.submit(self._guarded, lambda: self._carry_out(hook, item, key))

    def close(self) -> None:
        """End what runs, and begin nothing more; what was cut short runs again at the next start. Takes some 1 s."""
        if self._stop.is_set:
            return
        self._stop.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._stop.close()

    def _guarded(self, act: Callable[[], None]) -> None:
        """A fault of ours in one hook is loud and leaves the others alone."""
        try:
            act()
        except Exception as error:
            log.exception("a wake hook met a fault")
            self._note("hook_failed", detail=f"{type(error).__name__}: {error}"[:300])

    def _carry_out(self, hook: Hook, item: Waiting, key: str) -> None:
        try:
            if not self._stop.is_set and not self._marks.is_marked(key):
                self._run(hook, item, key)
        finally:
            self._under_way.discard(key)

    def _run(self, hook: Hook, item: Waiting, key: str) -> None:
        began_s = time.monotonic()
        fields = _fields(self._root, item)
        body = json.dumps(fields).encode() + b"\n"
        try:
            if hook.command is not None:
                why = run_command(hook, body, _environment(fields), self._root, self._stop)
            else:
                why = post(hook, body, self._stop)
        except Cut:
            self._note("hook_failed", **_names(item), file=item.name, detail=CUT)
            return  # not marked
        detail = (why or f"in {round((time.monotonic() - began_s) * 1000)} ms") + self._marked(key)
        self._note("hook_failed" if why else "hooked", **_names(item), file=item.name, detail=detail)

    def _marked(self, key: str) -> str:
        try:
            self._marks.mark(key)
        except OSError as error:
            return f"; not marked, a restart runs it once more: {error.strerror}"
        return ""


def _fields(root: Path, item: Waiting) -> dict[str, str]:
    """Return what a hook is told: ids and a path, never a word of the payload."""
    facts = item.facts
    told = {
        "handoff_id": facts.handoff_id,
        "tid": facts.tid,
        "from": facts.sender,
        "to": item.agent,
        "expires_at": facts.expires_text,
        "file": str(root / HANDOFF / item.name),
    }
    return {key: str(value) for key, value in told.items() if value}


def _environment(fields: Mapping[str, str]) -> dict[str, str]:
    return {f"HANDOFF_{key.removeprefix('handoff_').upper()}": value for key, value in fields.items()}


def _names(item: Waiting) -> dict[str, object]:
    facts = item.facts
    return {"tid": facts.tid or None, "handoff_id": facts.handoff_id, "sender": facts.sender, "to": item.agent}
