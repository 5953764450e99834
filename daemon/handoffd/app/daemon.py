"""One running daemon: engine, desk, hub, links and watch, wired together on one event loop.

It owns start, reload, stop and the way of news from the custody thread to whoever waits for it. The rule that must
stay true: a part that dies ends all of it; correctness never depends on an orderly stop.
"""

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from handoffd import __version__
from handoffd.app.hook import Hooks
from handoffd.app.keeper import ConfigKeeper
from handoffd.app.overview import Overview
from handoffd.app.pages import collapse
from handoffd.app.rounds import Rounds
from handoffd.app.scribe import Scribe
from handoffd.app.watchdog import feed
from handoffd.app.wiring import (
    CannotShow,
    agents_of,
    custody_settings,
    directory,
    hooks,
    hub_settings,
    in_force,
    listens,
    same_link,
    same_trust,
    show_anew,
    trusting,
)
from handoffd.clock import SleepWatch
from handoffd.config import Config, ConfigError, PeerConfig, differences_that_need_restart, load
from handoffd.custody import layout
from handoffd.custody.desk import Desk, DeskClosed
from handoffd.custody.engine import Engine
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.message import Attempt, Called, Changed, Coming, News, Offer, Owed, Settlement, Waiting
from handoffd.custody.tree import Clock, Settings
from handoffd.hub.call import Hub
from handoffd.hub.lend import owed_to
from handoffd.hub.listen import Listener, serve
from handoffd.hub.port import Page
from handoffd.journal import Journal
from handoffd.link.client import PeerClient
from handoffd.link.push import PeerLink
from handoffd.link.ties import Ties
from handoffd.link.watch import Seen, Watch, choose
from handoffd.protocol.name import AgentName, HostName
from handoffd.status.meter import Meters
from handoffd.status.model import Status
from handoffd.systemd import Manager, ping_interval_s

log = logging.getLogger(__name__)

SLEPT_S = 2.0
"""A suspend is longer; the two clocks compared are read one after the other, which takes microseconds."""
STOP_GRACE_S = 3.0
"""Requests in flight get this long at SIGTERM; the unit's own patience is 30 s."""


STAYS = "the configuration in force stays; correct it, `handoffd check`, then SIGHUP again"
"""What to do after a refused reload."""
STOPPING = "the daemon is stopping; its next start reads the configuration"


class CannotListen(Exception):
    """What the configuration says of listening cannot be had; the message says why and what to do."""


class Daemon:
    """A host's daemon. `recover`, then `serve` on a loop.

    `served` tells whether it got as far as serving; `cause_of_death` is what ended the custody thread, once
    `abandon` has returned.
    """

    def __init__(
        self,
        config: Config,
        fs: LinuxFilesystem,
        clock: Clock,
        journal: Journal,
        settings: Settings,
        meters: Meters,
    ) -> None:
        self._config = config
        self.served = False
        self.cause_of_death: BaseException | None = None
        self._clock = clock
        self._journal = journal
        self._scribe = Scribe(journal, meters, clock)
        self._engine = Engine(fs, clock, settings, self._scribe)
        self._overview = Overview(self._engine, journal, clock, meters)
        self._rounds = Rounds(self._engine, fs)
        self._desk = Desk(self._engine, self._pass_on, self._end, self._rest, self._tick, config.scan_interval_s)
        self._hooks = Hooks(config.root, hooks(config), self._note_hook)
        self._sleep = SleepWatch()
        self._manager = Manager(os.environ)
        self._links: dict[str, tuple[PeerLink, asyncio.Task[None]]] = {}
        self._ready = False

    def recover(self, boot_id: str) -> None:
        """Bring the root to a known state, before anything is served. Raises UnsafeRoot, OSError, FlushFailed."""
        self._scribe.write("daemon_started", detail=f"handoffd {__version__}")
        try:
            self._engine.start(boot_id)
        except Exception as error:
            self._scribe.write("daemon_refused", detail=str(error))  # else this start looks like one before a crash
            raise
        self._journal.flush()

    # ------------------------------------------------------------ life

    async def serve(self) -> None:
        """Run until SIGTERM or SIGINT. What kills a part raises here."""
        self._loop = asyncio.get_running_loop()
        self._stopping, self._hung_up = asyncio.Event(), asyncio.Event()
        self._reloading = asyncio.Lock()
        self._death: asyncio.Future[None] = self._loop.create_future()
        watch = choose(self._config.watch, self._config.root)
        if watch.why:
            log.warning("watching with %s: %s", watch.kind, watch.why)
        async with asyncio.TaskGroup() as group:
            self._group = group
            listener = await self._open(group)
            jobs = [group.create_task(job) for job in (self._watch(watch), self._ping(), self._reloads())]
            self._handle_signals()
            await self._until_stopped(watch)
            await self._close(listener, jobs)

    def abandon(self) -> None:
        """Let the custody thread finish what it has begun; for the end of the process, whatever brought it."""
        self._hooks.close()
        self._desk.stop()

    async def _open(self, group: asyncio.TaskGroup) -> Listener:
        self._hub = Hub(
            hub_settings(self._config),
            directory(self._config),
            self._desk,
            self._engine,
            self._clock.wall,
            lambda: self._ready,
            self._overview.meters,
            self._status,
            self._heard,
            self._open_page,
            ConfigKeeper(self._config.path, self._config.identity.key, self._reload_once, self._scribe.write),
            self._turned,
        )
        socket_path = self._config.root / layout.RELAY / "handoffd.sock"
        try:
            self._shown = listens(self._config)
            self._listener = await serve(self._hub, self._shown, socket_path, group)
        except ValueError as error:
            raise CannotListen(str(error)) from error
        self._engine.hand_over_early(lambda: self._pass_on(self._engine.drain_news()))
        self._desk.start()
        for peer in self._config.peers.values():
            if not peer.dials_in:
                self._add_link(peer)
        return self._listener

    async def _until_stopped(self, watch: Watch) -> None:
        await watch.ready.wait()
        await self._on_custody_thread(self._tick)
        # What lives from here on lives long: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        collapse()
        self._ready = self.served = True
        log.info(
            "%s is %s, root %s, watching with %s", self._config.host, self._serving(), self._config.root, watch.kind
        )
        self._manager.ready(self._serving())
        stop = self._group.create_task(self._stopping.wait())
        await asyncio.wait((stop, self._death), return_when=asyncio.FIRST_COMPLETED)
        if self._death.done():
            stop.cancel()
            self._death.result()

    async def _close(self, listener: Listener, jobs: list[asyncio.Task[None]]) -> None:
        """Admit no more, let what is in flight end, take unclaimed files back, leave the clean mark."""
        self._ready = False
        self._manager.stopping()
        async with self._reloading:  # one that is under way ends, or a link that it adds would outlive all others
            tasks = [*jobs, *(task for _, task in self._links.values())]
            for task in tasks:
                task.cancel()
        await asyncio.wait(tasks)
        await asyncio.to_thread(self._hooks.close)  # before files are taken back: what has run must find its mark
        await listener.close(STOP_GRACE_S)
        await self._on_custody_thread(self._end_rounds)
        await asyncio.to_thread(self._desk.stop)
        log.info("%s stopped in order", self._config.host)

    def _end_rounds(self) -> None:
        self._rounds.end()
        self._scribe.write("daemon_stopped")

    async def _on_custody_thread(self, act: Callable[[], None]) -> None:
        def run(items: object) -> list[None]:
            act()
            return [None]

        await asyncio.wrap_future(self._desk.submit(run, None))

    def _serving(self) -> str:
        return "serving " + ", ".join(f"{one.address}:{one.port}" for one in self._config.listen)

    # ------------------------------------------------------------ news from the custody thread

    def _pass_on(self, news: list[News]) -> None:
        self._loop.call_soon_threadsafe(self._dispatch, news)

    def _dispatch(self, news: list[News]) -> None:
        with contextlib.suppress(DeskClosed):  # news of its last moments; the next start finds it on disk
            for item in news:
                self._dispatch_one(item)

    def _dispatch_one(self, item: News) -> None:
        if isinstance(item, Changed):
            self._hub.notifier.changed(item.peer)
            if item.peer in self._links:
                self._links[item.peer][0].changed()
        elif isinstance(item, Waiting):
            self._hub.notifier.waiting(item.agent)
            self._hooks.offer(item)
        elif isinstance(item, Called):
            self._desk.submit(self._engine.answer, item.tid)
        else:
            self._dispatch_to_link(item)

    def _note_hook(self, event: str, **fields: object) -> None:
        """A hook's thread has something for the journal, which is counted on the event loop as long as there is one."""
        note = partial(self._scribe.write, event, **fields)
        try:
            self._loop.call_soon_threadsafe(note)
        except RuntimeError:
            note()

    def _turned(self, peer: str, here: bool) -> None:
        """A peer that dials in has come, or has not been heard for longer than its polls hang."""
        detail = "it dials in" if here else "it dials in, and does not now; check its daemon and the network between"
        self._scribe.write("link_up" if here else "link_down", peer=peer, detail=detail)

    def _heard(self, peer: str) -> None:
        """A peer that says hello is up again: ours to it need not wait out its pause."""
        link = self._links.get(peer)
        if link is not None:
            link[0].nudge()

    def _dispatch_to_link(self, item: Offer | Coming | Owed) -> None:
        link = self._links.get(item.peer)
        if isinstance(item, Coming):
            if link is not None:
                link[0].expect(item)
        elif link is not None and isinstance(item, Offer):
            link[0].offer(item)
        elif link is not None:
            link[0].owed()
        elif isinstance(item, Owed):
            self._hub.notifier.owed(owed_to(item.peer))
        elif isinstance(item, Offer):
            # Between two configurations; the engine offers it again when there is a link.
            closed = Settlement(item.peer, item.tid, Attempt.NOT_SENT, detail="no link to this peer")
            self._desk.submit(self._engine.settle, closed)

    def _end(self, error: BaseException) -> None:
        """The custody thread has died: so does the process."""
        self.cause_of_death = error
        with contextlib.suppress(RuntimeError):  # the loop may have ended before it
            self._loop.call_soon_threadsafe(self._note_death, error)

    def _note_death(self, error: BaseException) -> None:
        if not self._death.done():
            self._death.set_exception(error)

    # ------------------------------------------------------------ watch and tick

    async def _watch(self, watch: Watch) -> None:
        await watch.run(self._look)

    def _look(self, seen: Seen) -> None:
        self._desk.submit(self._rounds.look, seen).add_done_callback(self._look_on)

    def _look_on(self, done: "Future[bool]") -> None:
        """Go on while files are left; other errands get their turn between two portions."""
        if done.exception() is None and done.result():
            with contextlib.suppress(DeskClosed):
                self._look({})

    def _tick(self) -> None:
        if self._sleep.slept_s() > SLEPT_S:
            self._loop.call_soon_threadsafe(self._resume)
        if self._rounds.tick():
            self._look({})

    def _rest(self) -> None:
        """Nobody waits for the custody thread now."""
        self._journal.flush()
        self._engine.prepare()

    def _resume(self) -> None:
        """This host has slept: what hung over a connection hangs for ever."""
        log.info("this host was suspended; every link begins anew")
        for link, _ in self._links.values():
            link.resume()

    async def _ping(self) -> None:
        """Feed the service manager's watchdog only while the custody thread answers."""
        interval_s = ping_interval_s(os.environ)
        if interval_s is not None:
            await feed(self._manager, interval_s, lambda: self._on_custody_thread(lambda: None))

    # ------------------------------------------------------------ links

    def _add_link(self, peer: PeerConfig) -> None:
        name = HostName(peer.name)
        host = HostName(self._config.host)
        client = PeerClient(peer.url, trusting(peer), peer.token.decode("ascii"), host, __version__, self._engine.epoch)
        tell = partial(self._tell_link, peer.name)
        ties = Ties(name, self._desk, self._engine, self._clock.wall, random.random, tell)
        local = frozenset(map(AgentName, self._config.agents))
        sends = agents_of(peer)
        alone = all(listener.is_loopback for listener in self._config.listen)
        link = PeerLink(ties, client, host, local, __version__, peer.fingerprints, sends, alone=alone)
        self._links[peer.name] = (link, self._group.create_task(self._carry(link), name=f"link {peer.name}"))

    async def _renew_link(self, peer: PeerConfig) -> None:
        link, _ = self._links[peer.name]
        await link.renew(peer.token.decode("ascii"), trusting(peer), peer.fingerprints)

    async def _carry(self, link: PeerLink) -> None:
        await link.run()

    def _tell_link(self, peer: str, word: str, /, **fields: object) -> None:
        self._scribe.write(word, **{"peer": peer, **fields})

    async def _drop_link(self, name: str) -> None:
        _, task = self._links.pop(name)
        task.cancel()
        await asyncio.wait((task,))

    def _status(self) -> Status:
        links = [link.status() for link, _ in self._links.values()]
        visitors = [peer.name for peer in self._config.peers.values() if peer.dials_in]
        links += [{"peer": name, "mode": "pulled", **self._hub.diallers.status(name)} for name in visitors]
        return self._overview.status(self._config, links, self._ready)

    def _open_page(self, hub: Hub) -> Page:
        """Make the status page: what it is made of is loaded when somebody first asks for it."""
        from handoffd.hub.page.room import Room  # noqa: PLC0415
        from handoffd.view.board import Board  # noqa: PLC0415

        return Room(hub, Board(self._config.root, self._config.host, self._clock.wall, self._overview.meters.history))

    # ------------------------------------------------------------ signals and reload

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)

    async def _reloads(self) -> None:
        """Reload once for each SIGHUP, one after the other; those that come during a reload make one more."""
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            await self._reload_once()

    async def _reload_once(self) -> list[str]:
        """Reload when no other reload is under way; return why it was refused."""
        async with self._reloading:
            return [STOPPING] if self._stopping.is_set() else await self._reload()

    async def _reload(self) -> list[str]:
        """Read the configuration again; a bad one changes nothing. Return its problems."""
        problems: list[str] = []
        self._manager.reloading()
        try:
            new = await asyncio.to_thread(load, self._config.path)
            show_anew(self._shown, in_force(self._config, new))
        except (ConfigError, CannotShow, OSError) as error:
            problems = str(error).splitlines()
            for line in problems:
                log.error("reload refused: %s", line)
            log.error("reload refused: %s", STAYS)
            self._scribe.write("config_refused", detail=problems[0])
        else:
            await self._take_up(new)
        self._manager.ready(self._serving())
        return problems

    async def _take_up(self, wanted: Config) -> None:
        old, new = self._config, in_force(self._config, wanted)
        for key in differences_that_need_restart(old, wanted):
            log.warning("%s has changed; it takes effect at the next restart", key)
        self._config = new
        await asyncio.wrap_future(self._desk.submit(self._engine.configure, custody_settings(new)))
        self._listener.reload(hub_settings(new), directory(new))
        self._hooks.configure(hooks(new))
        for name, peer in old.peers.items():
            same = name in new.peers and same_link(peer, new.peers[name]) and old.agents == new.agents
            if name in self._links and not same:
                await self._drop_link(name)
            elif name in self._links and not same_trust(peer, new.peers[name]):
                await self._renew_link(new.peers[name])
            if name not in new.peers or not new.peers[name].dials_in:
                self._hub.diallers.forget(name)
        for name, peer in new.peers.items():
            if name not in self._links and not peer.dials_in:
                self._add_link(peer)
        log.info("configuration taken up from %s", new.path)
        self._scribe.write("config_reloaded")
