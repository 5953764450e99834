"""The desk: the one thread that owns the engine, and the queue in front of it.

It owns the grouping: what queued up while one group was being flushed forms the next, and a lone item goes at once.
It knows nothing of custody. The rule that must stay true: the engine is never entered from another thread, and a
failed flush ends the thread without an answer (R7).
"""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from handoffd.custody.engine import Engine
from handoffd.custody.message import News
from handoffd.protocol.timing import SCAN_INTERVAL_S

Item = TypeVar("Item")
Result = TypeVar("Result")

GROUP_LIMIT = 500
"""Items of one kind in a group: bounds the wait of whoever came last."""

IDLE_S = 0.01
"""An answer's way to its reader takes a few of these; only then does the thread turn to what nobody waits for."""


class DeskClosed(Exception):
    """The custody thread has ended, and has done nothing of what was asked; nothing can be asked of it any more."""


class DeskDied(DeskClosed):
    """The custody thread has ended by an error in the middle of what was asked; it may have taken effect."""


@dataclass(slots=True)
class Errand:
    """Items for one engine method, and whoever waits for the answers."""

    method: Callable[[list[Any]], list[Any]]
    items: list[Any]
    future: "Future[Any]"
    single: bool


class Desk:
    """Runs errands in groups on its own thread."""

    def __init__(
        self,
        engine: Engine,
        on_news: Callable[[list[News]], None],
        on_death: Callable[[BaseException], None],
        on_idle: Callable[[], None] = lambda: None,
        tick: Callable[[], None] = lambda: None,
        tick_s: float = SCAN_INTERVAL_S,
    ) -> None:
        """All run on the desk's thread: `on_news` after each group, `on_death` when an error ends the thread,
        `on_idle` when nothing has been asked for IDLE_S after a group (what nobody waits for is done then), and `tick`
        every `tick_s`, asked or not: a timer of the event loop would wake two threads for it."""
        self._engine = engine
        self._on_news = on_news
        self._on_death = on_death
        self._on_idle = on_idle
        self._tick = tick
        self._tick_s = tick_s
        self._tick_at = 0.0
        self._queue: SimpleQueue[Errand | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="custody")
        self._closed = False
        self._dead = False

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Serve what is queued, then end the thread; returns when it has ended."""
        self._closed = True
        self._queue.put(None)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def submit(self, method: Callable[[list[Item]], list[Result]], item: Item) -> "Future[Result]":
        """Queue one item; the future gives its answer. Raises DeskClosed."""
        future: Future[Result] = Future()
        self._put(Errand(method, [item], future, single=True))
        return future

    def submit_many(self, method: Callable[[list[Item]], list[Result]], items: list[Item]) -> "Future[list[Result]]":
        """Queue several items together; the future gives their answers in order. Raises DeskClosed."""
        future: Future[list[Result]] = Future()
        self._put(Errand(method, items, future, single=False))
        return future

    def _put(self, errand: Errand) -> None:
        if self._closed:
            raise DeskClosed("the custody thread has stopped")
        # Running from here on: a caller that gives up cannot take back what may be half done.
        errand.future.set_running_or_notify_cancel()
        self._queue.put(errand)
        if self._dead:  # it ended between the look above and the put: nobody else empties the queue any more
            self._abandon([])

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        waiting: list[Errand] = []
        try:
            self._tick_at = time.monotonic() + self._tick_s
            while self._fetch(waiting):
                self._serve(waiting)
                if time.monotonic() >= self._tick_at:
                    self._do_tick()
            self._dead = True
            self._abandon([])  # an errand that was put while the last ones were being served
        except BaseException as error:
            self._closed = self._dead = True
            self._abandon(waiting)
            self._on_death(error)

    def _fetch(self, waiting: list[Errand]) -> bool:
        """Wait for an errand, then take all that queued up; False when the desk is to close and all is served."""
        if not waiting:
            first = self._next()
            if first is None:
                return False
            waiting.append(first)
        while not self._queue.empty():
            errand = self._queue.get()
            if errand is None:
                self._queue.put(None)
                break
            waiting.append(errand)
        return True

    def _next(self) -> Errand | None:
        try:
            return self._queue.get(timeout=IDLE_S)
        except Empty:
            self._on_idle()
        while True:
            try:
                return self._queue.get(timeout=max(0.0, self._tick_at - time.monotonic()))
            except Empty:
                self._do_tick()

    def _do_tick(self) -> None:
        self._tick_at = time.monotonic() + self._tick_s
        self._tick()
        self._pass_news()
        self._on_idle()

    def _serve(self, waiting: list[Errand]) -> None:
        group = _next_group(waiting)
        items = [item for errand in group for item in errand.items]
        try:
            self._give(group, group[0].method(items))
        except BaseException as error:
            for errand in group:
                if not errand.future.done():
                    errand.future.set_exception(DeskDied(str(error)))
            raise
        finally:
            del waiting[: len(group)]
        self._pass_news()

    def _pass_news(self) -> None:
        news = self._engine.drain_news()
        if news:
            self._on_news(news)

    def _give(self, group: list[Errand], answers: list[Any]) -> None:
        at = 0
        for errand in group:
            part = answers[at : at + len(errand.items)]
            at += len(errand.items)
            errand.future.set_result(part[0] if errand.single else part)

    def _abandon(self, waiting: list[Errand]) -> None:
        with contextlib.suppress(Empty):
            while True:
                errand = self._queue.get_nowait()
                if errand is not None:
                    waiting.append(errand)
        for errand in waiting:
            if not errand.future.done():
                errand.future.set_exception(DeskClosed("the custody thread has stopped"))


def _next_group(waiting: list[Errand]) -> list[Errand]:
    """Move the errands of the first one's kind to the front, up to GROUP_LIMIT items; return them."""
    method, size = waiting[0].method, 0
    group: list[Errand] = []
    rest: list[Errand] = []
    for errand in waiting:
        fits = errand.method == method and (not group or size + len(errand.items) <= GROUP_LIMIT)
        if fits:
            size += len(errand.items)
        (group if fits else rest).append(errand)
    waiting[:] = group + rest
    return group
