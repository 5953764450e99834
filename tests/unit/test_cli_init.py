import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from handoffd.__main__ import outcome
from handoffd.config import load
from handoffd.identity import fingerprint


class Site:
    """A host's configuration directory and root, and the command line that makes them."""

    def __init__(self, base: Path, host: str, agent: str) -> None:
        self.host, self.agent = host, agent
        self.config = base / host / "etc"
        self.root = base / host / "root"

    def init(self, *more: str) -> int:
        own = ("--host", self.host, "--root", str(self.root), "--agent", self.agent)
        return outcome(["init", "--dir", str(self.config), *own, *more])

    def add(self, *more: str) -> int:
        return outcome(["init", "--dir", str(self.config), *more])

    def load(self):
        return load(self.config / "handoffd.yaml")

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.config / name).stat().st_mode)


def towards(other: Site) -> tuple[str, ...]:
    return ("--peer", other.host, "--peer-url", f"https://{other.host}:8788", "--peer-agent", other.agent)


@pytest.fixture
def bob(tmp_path):
    return Site(tmp_path, "bob-vm", "bob")


@pytest.fixture
def alice(tmp_path):
    return Site(tmp_path, "alice-vm", "alice")


def files_below(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_what_init_writes_loads(bob):
    assert bob.init() == 0

    config = bob.load()
    assert (config.host, config.agents, config.root) == ("bob-vm", ("bob",), bob.root)
    assert [(each.address, each.port, each.key_pair is not None) for each in config.listen] == [
        ("127.0.0.1", 8787, False),
        ("0.0.0.0", 8788, True),
    ]


def test_the_ports_are_the_ones_asked_for(bob):
    assert bob.init("--listen-port", "9001", "--local-port", "9000") == 0

    assert [each.port for each in bob.load().listen] == [9000, 9001]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_files_have_their_modes_whatever_the_umask(bob, alice, umask):
    before = os.umask(umask)
    try:
        assert bob.init(*towards(alice)) == 0
    finally:
        os.umask(before)

    for secret in ("identity/bob-vm.key", "tokens/bob.token", "peers/alice-vm.out"):
        assert bob.mode(secret) == 0o600
    for public in ("handoffd.yaml", "identity/bob-vm.pem", "tokens/bob.sha256", "for-alice-vm/bob-vm.pem"):
        assert bob.mode(public) == 0o644
    for directory in (".", "identity", "tokens", "peers"):
        assert bob.mode(directory) == 0o750


def test_the_root_and_its_directories_are_made_for_a_group(bob):
    bob.init()

    assert stat.S_IMODE(bob.root.stat().st_mode) == 0o3770
    for directory in (bob.root / name for name in ("handoff", "claimed", "archive", "rejected")):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o2770


def test_a_root_that_was_not_there_is_told_of(bob, capsys):
    bob.init()
    lines = capsys.readouterr().out.splitlines()
    assert f"made {bob.root}  (the root: it was not there)" in lines
    assert f"made {bob.root / 'handoff'}" in lines


def test_of_a_root_in_use_what_was_missing_is_told_alone(bob, capsys):
    for name in ("handoff", "claimed", "archive"):
        (bob.root / name).mkdir(parents=True)
    bob.init()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("made ")]
    assert lines == [f"made {bob.root / 'rejected'}"]


def test_a_place_where_nothing_can_be_made_is_named(bob, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert outcome(["init", "--dir", str(tmp_path / "file/etc"), "--host", "bob-vm", "--root", str(bob.root)]) == 1
    words = f"handoffd: {tmp_path / 'file'}: File exists; name another place with --dir or --root"
    assert capsys.readouterr().err.splitlines() == [words]


def test_after_a_root_that_cannot_be_made_another_may_be_named(bob, tmp_path, capsys):
    (tmp_path / "file").touch()
    words = ["init", "--dir", str(bob.config), "--host", "bob-vm", "--root"]
    assert outcome([*words, str(tmp_path / "file/shared")]) == 1
    assert capsys.readouterr().err.endswith("; name another place with --dir or --root\n")
    assert outcome([*words, str(bob.root)]) == 0


def test_a_configuration_that_is_there_is_refused_before_a_root_is_made(bob, tmp_path):
    bob.init()
    words = ["init", "--dir", str(bob.config), "--host", "bob-vm", "--root", str(tmp_path / "mistyped")]
    assert outcome(words) == 1
    assert not (tmp_path / "mistyped").exists()


def test_a_root_in_use_keeps_its_permissions_and_files(bob):
    (bob.root / "handoff").mkdir(parents=True)
    (bob.root / "handoff").chmod(0o755)
    bob.root.chmod(0o700)
    (bob.root / "handoff/b275013166a65f69-0.json").write_text("{}")

    assert bob.init() == 0

    assert stat.S_IMODE(bob.root.stat().st_mode) == 0o700
    assert stat.S_IMODE((bob.root / "handoff").stat().st_mode) == 0o755
    assert stat.S_IMODE((bob.root / "claimed").stat().st_mode) == 0o700
    assert (bob.root / "handoff/b275013166a65f69-0.json").read_text() == "{}"


def test_an_agents_token_is_stored_beside_its_hash_and_never_printed(bob, capsys):
    bob.init()
    token = (bob.config / "tokens/bob.token").read_text().strip()

    assert bob.load().agent_tokens["bob"] == {hashlib.sha256(token.encode()).digest()}
    assert token not in "".join(capsys.readouterr())


def test_the_fingerprint_is_told(bob, capsys):
    bob.init()

    assert fingerprint((bob.config / "identity/bob-vm.pem").read_text()) in capsys.readouterr().out


def test_nothing_is_overwritten_and_every_file_in_the_way_is_named(bob, capsys):
    bob.init()
    before = files_below(bob.config)
    capsys.readouterr()

    assert bob.init() == 1

    error = capsys.readouterr().err
    assert files_below(bob.config) == before
    for name in before:
        assert str(bob.config / name) in error
    assert f"to add a peer: handoffd init --dir {bob.config} --peer NAME" in error
    assert "to start over: another --dir" in error
    assert "remove" not in error


def test_an_agent_that_was_added_by_hand_gets_its_token_from_another_run(bob, capsys):
    bob.init()
    file = bob.config / "handoffd.yaml"
    assert outcome(["init", "--dir", str(bob.config), "--agent", "carol"]) == 2
    assert f"carol: not in `agents` of {file}; add it there" in capsys.readouterr().err
    file.write_text(file.read_text().replace("agents: [bob]", "agents: [bob, carol]"))
    before = files_below(bob.config)

    assert outcome(["init", "--dir", str(bob.config), "--agent", "carol"]) == 0

    assert f"under agent_tokens of {file}, add carol: tokens/carol.sha256" in capsys.readouterr().out
    assert files_below(bob.config).items() >= before.items()
    file.write_text(file.read_text().replace("agent_tokens: {", "agent_tokens: {carol: tokens/carol.sha256, "))
    token = (bob.config / "tokens/carol.token").read_text().strip()
    assert bob.mode("tokens/carol.token") == 0o600
    assert bob.load().agent_tokens["carol"] == {hashlib.sha256(token.encode()).digest()}
    assert outcome(["init", "--dir", str(bob.config), "--agent", "carol"]) == 1
    assert "docs/configuration.md has the command" in capsys.readouterr().err


def test_a_single_file_in_the_way_stops_all_of_it(bob, capsys):
    key = bob.config / "identity/bob-vm.key"
    key.parent.mkdir(parents=True)
    key.symlink_to("/nowhere")

    assert bob.init() == 1
    assert str(key) in capsys.readouterr().err
    assert not (bob.config / "handoffd.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "Bob VM"), "'Bob VM' is not a legal host name"),
        (("--agent", "../eve"), "'../eve' is not a legal agent name"),
        (("--agent", "bob"), "bob also lives at this host"),
        (("--agent", "handoffd-canary"), "is reserved"),
        (("--listen-port", "70000"), "Invalid value for '--listen-port'"),
        (("--listen-port", "http"), "--listen-port"),
        (("--peer", "alice-vm"), "needs --peer-url"),
        (("--peer-url", "https://x"), "--peer NAME"),
        (("--peer", "../x", "--peer-url", "https://x", "--peer-agent", "alice"), "'../x' is not a legal host name"),
        (("--peer", "x", "--peer-url", "http://x", "--peer-agent", "alice"), "plain http is for this machine alone"),
        (("--peer", "x", "--peer-url", "https://x", "--peer-agent", "bob"), "bob also lives at this host"),
        (("--peer", "bob-vm", "--peer-url", "https://x", "--peer-agent", "alice"), "is this host itself"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_written(bob, capsys, arguments, words):
    assert bob.init(*arguments) == 2

    error = capsys.readouterr().err
    assert words in error
    assert all(line.startswith("handoffd: ") for line in error.splitlines())
    assert not bob.config.exists()
    assert not bob.root.exists()


@pytest.mark.parametrize("agent", ["no", "on", "7", "1e3", "2026-11-20", "null"])
def test_names_that_yaml_would_take_for_something_else_stay_names(tmp_path, agent):
    site = Site(tmp_path, "10.0.0.1", agent)
    other = Site(tmp_path, "0x10", "y")

    assert site.init(*towards(other)) == 0
    assert exchanged(site, other).agents == (agent,)


def test_a_root_with_odd_characters_is_written_so_that_it_loads(tmp_path):
    site = Site(tmp_path, "bob-vm", "bob")
    site.root = tmp_path / 'a "root": #1 {b} å'

    assert site.init() == 0
    assert site.load().root == site.root


# ---------------------------------------------------------------------------------------- pairing


def exchanged(here: Site, there: Site):
    """Do by hand what the printed steps say, for both sides, and return the configuration of the first."""
    if not there.config.exists():
        there.init(*towards(here))
    for source, target in ((here, there), (there, here)):
        for file in (source.config / f"for-{target.host}").iterdir():
            (target.config / "peers" / file.name).write_bytes(file.read_bytes())
    return here.load()


def test_before_the_exchange_the_missing_files_are_named_with_where_they_come_from(bob, alice, capsys):
    bob.init(*towards(alice))

    assert outcome(["check", "--config", str(bob.config / "handoffd.yaml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "copy identity/alice-vm.pem of alice-vm there" in lines[0]
    assert "copy alice-vm.in.sha256 there" in lines[1]


def test_copying_two_files_each_way_pairs_two_hosts(bob, alice):
    bob.init(*towards(alice))
    alice.init(*towards(bob))

    at_bob, at_alice = exchanged(bob, alice).peers["alice-vm"], alice.load().peers["bob-vm"]

    assert hashlib.sha256(at_bob.token).digest() in at_alice.accepts
    assert hashlib.sha256(at_alice.token).digest() in at_bob.accepts
    assert at_bob.fingerprints == (alice.load().identity.fingerprint,)
    assert at_alice.fingerprints == (bob.load().identity.fingerprint,)


def test_neither_of_the_files_to_copy_is_a_secret(bob, alice):
    bob.init(*towards(alice))
    outgoing = files_below(bob.config / "for-alice-vm")
    token = (bob.config / "peers/alice-vm.out").read_bytes().strip()

    assert set(outgoing) == {"bob-vm.pem", "bob-vm.in.sha256"}
    for content in outgoing.values():
        assert token not in content
        assert b"PRIVATE" not in content


def test_the_steps_name_the_command_and_the_files_of_the_exchange(bob, alice, capsys):
    bob.init(*towards(alice))
    steps = capsys.readouterr().out

    assert "handoffd init --host alice-vm --root DIR --agent alice" in steps
    assert "--peer bob-vm --peer-url https://bob-vm:8788 --peer-agent bob" in steps
    for name in ("for-alice-vm/bob-vm.pem", "for-alice-vm/bob-vm.in.sha256", "peers/alice-vm.pem"):
        assert str(bob.config / name) in steps


def test_a_peer_is_added_to_a_configuration_that_is_there(bob, alice):
    bob.init()
    before = files_below(bob.config)

    assert bob.add(*towards(alice)) == 0

    after = files_below(bob.config)
    assert after.items() >= before.items()
    assert set(exchanged(bob, alice).peers) == {"alice-vm"}


def test_a_peer_is_not_added_twice(bob, alice, capsys):
    bob.init(*towards(alice))
    before = files_below(bob.config)

    assert bob.add(*towards(alice)) == 1
    error = capsys.readouterr().err
    assert str(bob.config / "peers.d/alice-vm.yaml") in error
    assert "alice-vm is configured already" in error
    assert files_below(bob.config) == before


def test_a_peer_whose_agent_lives_elsewhere_is_not_added(bob, alice, tmp_path, capsys):
    bob.init(*towards(alice))

    assert bob.add(*towards(Site(tmp_path, "carol-vm", "alice"))) == 2
    assert "alice also lives at peer alice-vm" in capsys.readouterr().err
    assert not (bob.config / "peers.d/carol-vm.yaml").exists()


# ---------------------------------------------------------------------------------------- the command itself


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "handoffd", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=30,
    )


def test_the_version_is_told():
    done = run("--version")

    assert done.returncode == 0
    assert done.stdout.startswith("handoffd ")


@pytest.mark.parametrize("arguments", [["chekc"], ["check", "--nope"], ["init", "x"], ["run", "--nope"]])
def test_a_usage_error_exits_2_and_names_what_was_wrong(arguments, capsys):
    assert outcome(arguments) == 2
    error = capsys.readouterr().err
    assert arguments[-1] in error
    assert error.startswith("handoffd: ")
    assert error.count("\n") == 1


def test_a_configuration_error_of_run_exits_2_in_lines_of_its_own(tmp_path):
    done = run("run", "--config", str(tmp_path / "none.yaml"))

    assert done.returncode == 2
    assert done.stderr == (
        f"handoffd: {tmp_path / 'none.yaml'}: does not exist; run `handoffd init`, or name another with --config\n"
    )


def test_run_imports_neither_the_command_line_nor_cryptography(tmp_path):
    program = (
        "import sys; from handoffd.__main__ import outcome; outcome(['run', '--config', sys.argv[1]])\n"
        "watched = {'typer', 'rich', 'cryptography', 'handoffd.cli', 'handoffd.app'}\n"
        "print(sorted(watched & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "none.yaml")], capture_output=True, text=True, check=False
    )

    assert done.stdout == "['handoffd.app']\n"


def test_an_unexpected_error_is_one_line_and_says_how_to_see_more(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "handoffd.cli", None)
    monkeypatch.delenv("HANDOFFD_DEBUG", raising=False)

    assert outcome(["check"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("handoffd: unexpected ")
    assert "set HANDOFFD_DEBUG=1 for the traceback" in error
    assert error.count("\n") == 1


def test_with_the_debug_variable_an_unexpected_error_keeps_its_traceback(monkeypatch):
    monkeypatch.setitem(sys.modules, "handoffd.cli", None)
    monkeypatch.setenv("HANDOFFD_DEBUG", "1")

    with pytest.raises(ImportError):
        outcome(["check"])


def test_init_becomes_the_daemon_when_told_to(bob, monkeypatch):
    became = []
    monkeypatch.setattr(os, "execv", lambda program, words: became.append((program, words)))

    assert bob.init("--run") == 0

    file = str(bob.config / "handoffd.yaml")
    assert became == [(sys.executable, [sys.executable, "-P", "-m", "handoffd", "run", "--config", file])]


def test_init_that_fails_becomes_nothing(bob, monkeypatch):
    bob.init()
    monkeypatch.setattr(os, "execv", lambda program, words: pytest.fail("it went on"))

    assert bob.init("--run") == 1
