import json
import os
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from handoffd.__main__ import outcome
from handoffd.agent.draft import Draft, compose
from handoffd.cli.ground import missing_directories, port_troubles, standing_troubles, standing_warnings, trial_troubles
from handoffd.cli.survey import Fate, Household, survey
from handoffd.config import Document, Listener
from handoffd.custody.household import Homes
from handoffd.custody.layout import lock
from handoffd.protocol.name import AgentName, HostName

SECRET = b"pair-secret-for-tests-only"
HOUSEHOLD = Household(
    agents=frozenset(map(AgentName, ("bob", "sven"))),
    remote=Homes({"alice": [HostName("alice-vm")]}),
    max_payload_bytes=1 << 20,
    max_ttl_s=86_400.0,
)


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Site:
    """A configured host named bob-vm with the agents bob and sven, and alice at a peer."""

    def __init__(self, base: Path) -> None:
        self.config = base / "etc"
        self.root = base / "root"
        self.file = self.config / "handoffd.yaml"
        self.local_port, self.peer_port = free_port(), free_port()
        ports = ("--local-port", str(self.local_port), "--listen-port", str(self.peer_port))
        assert outcome(["init", "--dir", str(self.config), "--host", "bob-vm", "--root", str(self.root),
                        "--agent", "bob", "--agent", "sven", *ports]) == 0  # fmt: skip

    def check(self, *more: str) -> int:
        return outcome(["check", "--config", str(self.file), *more])

    def drop(self, name: str, content: bytes) -> Path:
        file = self.root / "handoff" / name
        file.write_bytes(content)
        return file


def troubles(root: Path) -> tuple[list[str], list[str]]:
    """Look at a root, and try it where there is nothing to be seen."""
    problems = standing_troubles(root)
    if not problems and not missing_directories(root):
        problems = trial_troubles(root)
    return [str(one) for one in problems], [str(one) for one in standing_warnings(root)]


@pytest.fixture
def site(tmp_path, capsys):
    made = Site(tmp_path)
    capsys.readouterr()
    return made


def handoff(sender: str = "bob", to: str = "alice", age_s: float = 0.0, ttl_s: float = 3_600.0) -> bytes:
    # An hour: parametrised ones are made when tests are collected, and may be looked at minutes later.
    return compose(Draft(to=to, reason="test", ttl_s=ttl_s), sender, SECRET, time.time() - age_s)[0]


def tree_of(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


# ---------------------------------------------------------------------------------------- the whole command


def test_a_fresh_site_is_fit_to_run(site, capsys):
    assert site.check() == 0

    out = capsys.readouterr().out
    assert "`handoffd run` would start" in out
    assert "host bob-vm, agents bob, sven" in out
    assert "identity      bob-vm  SHA256:" in out


def test_checking_changes_nothing_in_the_root(site):
    site.drop("b275013166a65f69-0.json", handoff())
    before = tree_of(site.root)

    site.check()

    assert tree_of(site.root) == before


def test_checking_changes_nothing_in_a_root_that_has_been_run_on(site):
    (site.root / "relay").mkdir(mode=0o700)
    (site.root / "relay/tmp").mkdir(mode=0o700)
    (site.root / "relay/lock").touch()
    before = tree_of(site.root)

    assert site.check() == 0
    assert tree_of(site.root) == before


def test_a_bad_configuration_exits_2_with_every_problem(site, capsys):
    text = site.file.read_text()
    site.file.write_text(text.replace("agents: [bob, sven]", "agents: bob") + "watch: 3\n")

    assert site.check() == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in lines] == ["agents", "watch"]
    assert all(line.startswith(f"handoffd: {site.file}:") for line in lines)


def test_a_bad_configuration_is_told_in_json_too(site, capsys):
    site.file.write_text(site.file.read_text() + "wacth: scan\n")

    assert site.check("--json") == 2
    told = json.loads(capsys.readouterr().out)
    (problem,) = told["problems"]
    assert told["ok"] is False
    assert problem["key"] == "wacth"
    assert problem["file"] == str(site.file)
    assert problem["remedy"] == "did you mean watch?"
    assert problem["line"] == len(site.file.read_text().splitlines())


def test_the_report_in_json_counts_files_by_fate_and_route(site, capsys):
    site.drop("b275013166a65f69-0.json", handoff("bob", "sven"))
    site.drop("b275013166a65f69-1.json", handoff("bob", "nobody"))
    site.drop("b275013166a65f69-2.json", b"{")

    assert site.check("--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {name: count for name, count in told["handoff"].items() if count} == {"local": 1, "unroutable": 1, "odd": 1}
    assert {"fate": "local", "from": "bob", "to": "sven", "count": 1} in told["routes"]


def test_names_from_files_reach_a_terminal_harmlessly(site, capsys):
    payload = json.loads(handoff("bob", "sven")) | {"to_agent": "x\x1b[31my"}
    site.drop("b275013166a65f69-0.json", json.dumps(payload).encode())

    assert site.check() == 0
    assert "\x1b" not in capsys.readouterr().out


def test_what_is_legal_and_hardly_meant_is_a_warning(site, capsys):
    assert site.check() == 0
    assert "no peer" in capsys.readouterr().out


@pytest.mark.parametrize("relay", [True, False])
def test_a_hub_that_may_bring_nothing_back_is_a_warning(site, capsys, relay):
    peers = site.file.parent / "peers"
    peers.mkdir(exist_ok=True)
    (peers / "hub.in.sha256").write_text("0" * 64 + "\n")
    line = f"peers:\n  hub: {{agents: ['*'], relay: {str(relay).lower()}, accepts: peers/hub.in.sha256}}\n"
    site.file.write_text(site.file.read_text() + line)

    assert site.check() == 0
    assert ("hub is the way to every agent that nobody names" in capsys.readouterr().out) is not relay


def test_a_port_in_use_is_a_problem(site, capsys):
    with closing(socket.create_server(("127.0.0.1", site.local_port))):
        assert site.check() == 1

    error = capsys.readouterr().err
    assert f"127.0.0.1 port {site.local_port}" in error
    assert error.startswith("handoffd: can't listen on ")


def test_while_a_daemon_runs_its_ports_are_not_a_problem(site, capsys):
    (site.root / "relay").mkdir(mode=0o700)
    held = lock(site.root)
    try:
        with closing(socket.create_server(("127.0.0.1", site.local_port))):
            assert site.check() == 0
    finally:
        os.close(held)

    assert "a daemon runs here" in capsys.readouterr().out


def test_the_schema_names_every_key(capsys):
    assert outcome(["check", "--schema"]) == 0

    assert json.loads(capsys.readouterr().out)["properties"].keys() == Document.model_fields.keys()


def test_a_root_can_be_looked_at_without_a_configuration(site, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HANDOFFD_CONFIG", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    site.drop("b275013166a65f69-0.json", handoff())
    site.drop("b275013166a65f69-1.json", handoff(age_s=3_601))

    assert outcome(["check", "--root", "root", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["root"] == str(site.root)
    assert (told["handoff"]["unassigned"], told["handoff"]["expired"]) == (1, 1)


def test_another_root_takes_the_place_of_the_configured_one(site, capsys, tmp_path):
    other = tmp_path / "other"
    (other / "handoff").mkdir(parents=True)
    (other / "handoff/b275013166a65f69-0.json").write_bytes(handoff("sven", "bob"))

    assert site.check("--root", str(other), "--json") == 0
    assert json.loads(capsys.readouterr().out)["handoff"]["local"] == 1


def test_a_root_that_is_not_there_is_refused(site, capsys, tmp_path):
    assert site.check("--root", str(tmp_path / "none")) == 2
    assert f"{tmp_path / 'none'} does not exist" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- the root and the ports


def test_missing_directories_are_told_and_not_made(tmp_path):
    (tmp_path / "handoff").mkdir()

    problems, warnings = troubles(tmp_path)

    assert problems == []
    assert warnings == [f"{tmp_path} lacks claimed, archive, rejected: made at start, rename and hard link not tried"]
    assert tree_of(tmp_path) == {"handoff"}


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_only_stands_for_a_directory_is_a_problem(tmp_path, kind):
    for name in ("handoff", "archive", "rejected", "elsewhere"):
        (tmp_path / name).mkdir()
    if kind == "link":
        (tmp_path / "claimed").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "claimed").touch()

    (problem,), warnings = troubles(tmp_path)

    assert f"{tmp_path / 'claimed'} is not a directory itself" in problem
    assert warnings == []


def test_a_root_on_a_file_system_that_may_lose_a_rename_is_a_problem():
    problems, _ = troubles(Path("/proc"))

    assert "/proc is on proc, where a rename may be lost; move it to one of btrfs, ext4, tmpfs, xfs" in problems


def listener(address: str, port: int) -> Listener:
    return Listener(address, port, None, is_loopback=True)


def test_free_ports_are_no_trouble():
    assert port_troubles([listener("127.0.0.1", free_port()), listener("127.0.0.1", free_port())]) == []


def test_two_listeners_in_each_others_way_are_found():
    port = free_port()

    (trouble,) = port_troubles([listener("127.0.0.1", port), listener("0.0.0.0", port)])

    assert f"0.0.0.0 port {port}" in trouble


def test_an_address_this_host_does_not_have_is_found():
    (trouble,) = port_troubles([listener("192.0.2.1", free_port())])

    assert trouble.startswith("can't listen on 192.0.2.1 port ")
    assert trouble.endswith("; `ip -brief address` lists this host's; write one of them under `listen`")


# ---------------------------------------------------------------------------------------- what becomes of a file


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "handoff").mkdir()
    return tmp_path / "handoff"


def fate_of(inbox: Path, content: bytes, name: str = "b275013166a65f69-0.json") -> Fate:
    (inbox / name).write_bytes(content)
    ((fate, _, _),) = survey(inbox.parent, HOUSEHOLD, time.time()).counts
    return fate


@pytest.mark.parametrize(
    ("content", "fate"),
    [
        (handoff("bob", "alice"), Fate.TAKEN),
        (handoff("bob", "alice", age_s=3_601), Fate.EXPIRED),
        (handoff("bob", "sven"), Fate.LOCAL),
        (handoff("bob", "sven", age_s=3_601), Fate.EXPIRED),
        (handoff("alice", "bob"), Fate.LOCAL),
        (handoff("bob", "gordon"), Fate.UNROUTABLE),
        (handoff("bob", "gordon", age_s=3_601), Fate.EXPIRED),
        (handoff("gordon", "alice"), Fate.FOREIGN),
        (handoff("bob", "alice", ttl_s=172_800.0), Fate.REFUSED),
        (handoff("bob", "alice").replace(b'"transcript"', b'"transcripts"'), Fate.REFUSED),
        (b"", Fate.ODD),
        (b"\xff\x00", Fate.ODD),
        (b"[]", Fate.ODD),
    ],
)
def test_each_file_meets_the_fate_that_a_take_would_give_it(inbox, content, fate):
    assert fate_of(inbox, content) is fate


def test_a_payload_over_the_limit_will_be_refused(inbox):
    content = handoff("bob", "alice")

    assert fate_of(inbox, content + b" " * (1 << 20)) is Fate.REFUSED


@pytest.mark.parametrize("name", ["note.txt", "with space.json", "å.json"])
def test_a_name_no_handoff_has_is_left_alone(inbox, name):
    assert fate_of(inbox, handoff(), name) is Fate.ODD


def test_a_published_name_is_counted_as_ours(inbox):
    assert fate_of(inbox, handoff(), f"b275013166a65f69-r{'0' * 64}.json") is Fate.PUBLISHED


def test_files_that_agents_are_still_writing_are_not_counted(inbox):
    (inbox / ".b275013166a65f69-0.json.tmp").write_bytes(b"{")

    assert survey(inbox.parent, HOUSEHOLD, time.time()).counts == {}


def test_neither_a_link_nor_a_pipe_is_opened(inbox):
    os.mkfifo(inbox / "pipe.json")
    (inbox / "link.json").symlink_to("/dev/zero")

    assert survey(inbox.parent, HOUSEHOLD, time.time()).total(Fate.ODD) == 2


def test_a_relay_that_others_reach_into_is_a_problem(site, capsys):
    (site.root / "relay").mkdir()
    (site.root / "relay").chmod(0o770)
    assert site.check() == 1
    assert f"{site.root / 'relay'} has mode 770" in capsys.readouterr().err
    assert [path.name for path in (site.root / "relay").iterdir()] == []


def test_a_shared_root_that_is_not_sticky_is_warned_of(site, capsys):
    site.root.chmod(0o2770)
    assert site.check() == 0
    assert f"could move relay/ away; chmod +t {site.root}" in capsys.readouterr().out
    site.root.chmod(0o3770)
    assert site.check() == 0
    assert "chmod +t" not in capsys.readouterr().out
    site.root.chmod(0o750)
    assert site.check() == 0
    assert "chmod +t" not in capsys.readouterr().out


def test_a_sticky_agents_directory_is_warned_of(site, capsys):
    (site.root / "claimed").chmod(0o3770)
    assert site.check() == 0
    assert f"chmod -t {site.root / 'claimed'}" in capsys.readouterr().out


def test_a_directory_that_this_user_may_not_rename_in_is_named_whole_with_its_remedy(site, monkeypatch):
    closed = site.root / "claimed"
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed)
    problems, _ = troubles(site.root)
    assert len(problems) == 1
    assert f"cannot rename in {closed}: permission denied" in problems[0]
    assert f"chgrp handoff {closed} && chmod 2770 {closed}" in problems[0]
