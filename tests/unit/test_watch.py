"""The three watches of the agents' directories: what each tells, and what is said when one cannot be had."""

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncinotify  # noqa: F401 - loaded before a test takes the descriptors away
import pytest
import watchfiles  # noqa: F401

from handoffd.custody.layout import AGENTS_DIRECTORIES
from handoffd.link.watch import Seen, Watch, WatchLost, WatchUnavailable, choose

DEADLINE_S = 20
EVENT_KINDS = ("inotify", "watchfiles")
WHOLE_ROOT: Seen = {name: set() for name in AGENTS_DIRECTORIES}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in AGENTS_DIRECTORIES:
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture(params=EVENT_KINDS)
def watch(request: pytest.FixtureRequest, root: Path) -> Watch:
    return choose(request.param, root)


class Told:
    """What a watch told so far, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[Seen] = []
        self._news = asyncio.Event()

    def __call__(self, seen: Seen) -> None:
        self.batches.append(seen)
        self._news.set()

    def names(self, directory: str) -> set[str]:
        return set().union(*(batch.get(directory, set()) for batch in self.batches))

    async def until(self, reached: Callable[["Told"], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not reached(self):
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def running(watch: Watch) -> AsyncIterator[Told]:
    told = Told()
    task = asyncio.create_task(watch.run(told))
    try:
        async with asyncio.timeout(DEADLINE_S):
            await watch.ready.wait()
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def publish(root: Path, name: str, directory: str = "handoff") -> None:
    """Write as agents do: a hidden temporary name, then a rename."""
    temporary = root / directory / f".{name}.tmp"
    temporary.write_text("{}")
    temporary.replace(root / directory / name)


def overflow(root: Path) -> None:
    """Make more events than the kernel keeps for one descriptor."""
    publish(root, "0.json")
    for number in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())):
        (root / "handoff" / f"{number}.json").rename(root / "handoff" / f"{number + 1}.json")


async def test_a_published_file_is_told_by_its_final_name_alone(watch: Watch, root: Path) -> None:
    async with running(watch) as told:
        publish(root, "a-0.json")
        await told.until(lambda told: told.names("handoff") == {"a-0.json"})


@pytest.mark.parametrize("end", ["claimed", "archive", "rejected"])
async def test_a_move_is_told_where_the_file_arrives(watch: Watch, root: Path, end: str) -> None:
    publish(root, "a-0.json")
    async with running(watch) as told:
        (root / "handoff" / "a-0.json").rename(root / end / "b.json")
        await told.until(lambda told: told.names(end) == {"b.json"})


async def test_a_hard_link_to_a_finished_file_is_told(watch: Watch, root: Path) -> None:
    (root / "elsewhere.json").write_text("{}")
    async with running(watch) as told:
        os.link(root / "elsewhere.json", root / "archive" / "a.json")
        await told.until(lambda told: told.names("archive") == {"a.json"})


async def test_a_file_written_in_place_is_told_when_it_is_closed(watch: Watch, root: Path) -> None:
    async with running(watch) as told:
        (root / "rejected" / "a.json").write_text("{}")
        await told.until(lambda told: told.names("rejected") == {"a.json"})


async def test_hidden_names_are_never_told(watch: Watch, root: Path) -> None:
    async with running(watch) as told:
        (root / "handoff" / ".a.tmp").write_text("{}")
        (root / "handoff" / ".a.tmp").rename(root / "handoff" / ".b.tmp")
        publish(root, "last.json")
        await told.until(lambda told: "last.json" in told.names("handoff"))
        assert told.names("handoff") == {"last.json"}


@pytest.mark.parametrize("directory", AGENTS_DIRECTORIES)
async def test_a_directory_moved_away_ends_the_watch(watch: Watch, root: Path, directory: str) -> None:
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        ended = group.create_task(_end_of(watch))
        await watch.ready.wait()
        (root / directory).rename(root / "old")
    assert f"{root / directory} was moved" in str(ended.result())


async def test_a_root_moved_away_ends_the_watch(
    watch: Watch, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        ended = group.create_task(_end_of(watch))
        await watch.ready.wait()
        os.rename(root, tmp_path_factory.mktemp("elsewhere") / "root")
    assert str(root) in str(ended.result())


async def test_a_directory_deleted_while_somebody_has_it_open_ends_the_watch(watch: Watch, root: Path) -> None:
    descriptor = os.open(root / "claimed", os.O_DIRECTORY)
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        ended = group.create_task(_end_of(watch))
        await watch.ready.wait()
        (root / "claimed").rmdir()
    os.close(descriptor)
    assert str(root / "claimed") in str(ended.result())


async def test_an_error_of_the_listener_comes_out_of_run(watch: Watch, root: Path) -> None:
    class Deaf(Exception):
        pass

    def listener(seen: Seen) -> None:
        raise Deaf

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        task = group.create_task(_raised(watch, listener, Deaf))
        await watch.ready.wait()
        publish(root, "a-0.json")
    assert task.done()


async def test_inotify_counts_from_choosing_on_and_tells_a_burst_at_once(root: Path) -> None:
    watch = choose("inotify", root)
    names = {f"b275013166a65f69-{number}.json" for number in range(100)}
    for name in names:
        publish(root, name)
    async with running(watch) as told:
        await told.until(lambda told: told.names("handoff") == names)
        assert len(told.batches) == 1


async def test_inotify_tells_whole_directories_after_an_overflow(root: Path) -> None:
    watch = choose("inotify", root)
    overflow(root)
    async with running(watch) as told:
        await told.until(lambda told: WHOLE_ROOT in told.batches)


async def test_inotify_that_lost_a_directory_behind_an_overflow_ends(root: Path) -> None:
    watch = choose("inotify", root)
    (root / "archive").rename(root / "old")
    overflow(root)
    with pytest.raises(WatchLost):
        await watch.run(lambda seen: None)


async def test_scan_tells_nothing_and_is_ready(root: Path) -> None:
    async with running(choose("scan", root)) as told:
        publish(root, "a-0.json")
        assert told.batches == []


async def test_cancelling_gives_the_descriptor_back(root: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with running(choose("inotify", root)):
        assert set(os.listdir("/proc/self/fd")) != before
    assert set(os.listdir("/proc/self/fd")) == before


def test_auto_is_inotify_with_nothing_to_explain(root: Path) -> None:
    watch = choose("auto", root)
    assert (watch.kind, watch.why) == ("inotify", "")


def test_auto_without_asyncinotify_is_watchfiles_and_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncinotify", None)
    watch = choose("auto", root)
    assert watch.kind == "watchfiles"
    assert "asyncinotify does not load" in watch.why


def test_auto_without_both_is_scan_and_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncinotify", None)
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    watch = choose("auto", root)
    assert watch.kind == "scan"
    assert "no inotify: " in watch.why
    assert "no watchfiles: " in watch.why


def test_without_a_free_instance_inotify_names_the_sysctl_and_auto_is_scan(root: Path) -> None:
    with no_more_descriptors():
        with pytest.raises(WatchUnavailable, match=r"fs\.inotify\.max_user_instances"):
            choose("inotify", root)
        watch = choose("auto", root)
    assert watch.kind == "scan"
    assert "max_user_instances" in watch.why


def test_without_a_free_watch_inotify_names_the_sysctl(root: Path) -> None:
    tried = in_a_namespace_without_watches("from handoffd.link.watch import choose; choose('inotify', root)", root)
    assert "fs.inotify.max_user_watches" in tried.stderr


def test_auto_without_a_free_watch_is_scan(root: Path) -> None:
    tried = in_a_namespace_without_watches(
        "from handoffd.link.watch import choose; print(choose('auto', root).kind)", root
    )
    assert tried.stdout == "scan\n"


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_a_missing_directory_is_named(root: Path, kind: str) -> None:
    (root / "archive").rmdir()
    with pytest.raises(WatchUnavailable, match=str(root / "archive")):
        choose(kind, root)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "loaded"),
    [("scan", set()), ("inotify", {"asyncinotify"}), ("auto", {"asyncinotify"}), ("watchfiles", {"watchfiles"})],
)
def test_only_the_package_in_use_is_loaded(root: Path, kind: str, loaded: set[str]) -> None:
    code = (
        "import sys; from pathlib import Path; from handoffd.link.watch import choose;"
        f"choose({kind!r}, Path({str(root)!r})); print(*({{'asyncinotify', 'watchfiles'}} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(told.split()) == loaded


async def _end_of(watch: Watch) -> WatchLost:
    with pytest.raises(WatchLost) as caught:
        await watch.run(lambda seen: None)
    return caught.value


async def _raised(watch: Watch, listener: Callable[[Seen], None], expected: type[Exception]) -> None:
    with pytest.raises(expected):
        await watch.run(listener)


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let this process open nothing more: the kernel refuses with the same EMFILE as for the user's limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def in_a_namespace_without_watches(code: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run code where the user may have no inotify watch at all."""
    setup = "echo 0 > /proc/sys/user/max_inotify_watches || exit 99"
    script = f"from pathlib import Path; root = Path({str(root)!r}); {code}"
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", f'{setup}; exec "$0" -c "$1"', sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode == 99 or "unshare" in tried.stderr:
        pytest.skip("needs unshare: user namespaces are not allowed here")
    return tried
