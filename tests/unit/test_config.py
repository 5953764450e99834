import hashlib
import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from handoffd.app.wiring import custody_settings
from handoffd.config import ConfigError, Problem, differences_that_need_restart, load, locate, read_document
from handoffd.config.schema import Document, Listen, Peer
from handoffd.identity import fingerprint, make_identity
from handoffd.protocol import timing

NOW_S = time.time()
DAY_S = 86_400

BOB = make_identity("bob-vm", NOW_S)
ALICE = make_identity("alice-vm", NOW_S)

OUT, IN, AGENT = "o" * 43, "i" * 43, "a" * 43
GOOD = """\
host: bob-vm
root: root
agents: [bob]
listen:
  - {address: 127.0.0.1, port: 8787}
  - {address: 0.0.0.0, port: 8788, tls: true}
agent_tokens: {bob: tokens/bob.sha256}
peers:
  alice-vm:
    url: https://alice-vm:8788
    agents: [alice]
    certificate: peers/alice-vm.pem
    token: peers/alice-vm.out
    accepts: peers/alice-vm.in.sha256
"""
SECOND_PEER = """\
  carol-vm:
    url: http://127.0.0.1:9000
    agents: [carol]
    token: peers/carol-vm.out
    accepts: peers/carol-vm.in.sha256
"""


def hash_line(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest() + "\n"


class Directory:
    """A configuration directory with everything GOOD and SECOND_PEER name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "handoffd.yaml"
        (path / "root").mkdir()
        self.write("identity/bob-vm.pem", BOB[0], 0o644)
        self.write("identity/bob-vm.key", BOB[1])
        self.write("peers/alice-vm.pem", ALICE[0], 0o644)
        self.write("peers/alice-vm.out", OUT + "\n")
        self.write("peers/alice-vm.in.sha256", hash_line(IN), 0o644)
        self.write("peers/carol-vm.out", "c" * 43)
        self.write("peers/carol-vm.in.sha256", hash_line("d" * 43), 0o644)
        self.write("tokens/bob.sha256", hash_line(AGENT), 0o644)

    def write(self, name: str, content: str | bytes, mode: int = 0o600) -> Path:
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)
        return file

    def load(self, text: str = GOOD, now_s: float = NOW_S):
        self.write("handoffd.yaml", text)
        return load(self.file, now_s=now_s)

    def problems(self, text: str = GOOD, now_s: float = NOW_S):
        with pytest.raises(ConfigError) as caught:
            self.load(text, now_s)
        assert str(caught.value).split("\n") == [str(problem) for problem in caught.value.problems]
        return caught.value.problems

    def problem(self, text: str = GOOD, now_s: float = NOW_S):
        """Return the one problem there is; every problem names its file and what to do."""
        (found,) = self.problems(text, now_s)
        assert found.remedy
        assert found.file.is_absolute()
        return found


@pytest.fixture
def directory(tmp_path):
    return Directory(tmp_path)


# ---------------------------------------------------------------------------------------- what is right


def test_names_are_resolved_against_the_directory_of_the_file(directory):
    config = directory.load()

    assert config.root == directory.path / "root"
    assert config.identity.certificate == directory.path / "identity/bob-vm.pem"
    assert config.identity.fingerprint == fingerprint(BOB[0].decode())


def test_secrets_and_hashes_are_loaded(directory):
    config = directory.load()
    peer = config.peers["alice-vm"]

    assert peer.token == OUT.encode()
    assert peer.accepts == {hashlib.sha256(IN.encode()).digest()}
    assert config.agent_tokens == {"bob": {hashlib.sha256(AGENT.encode()).digest()}}
    assert config.operator_token == frozenset()


def test_the_representation_of_a_configuration_holds_no_secret(directory):
    config = directory.load()
    secrets = [OUT.encode(), *config.peers["alice-vm"].accepts, *config.agent_tokens["bob"]]

    for secret in secrets:
        assert repr(secret)[2:-1] not in repr(config)


def test_a_listener_shows_the_identity_unless_it_has_a_certificate_of_its_own(directory):
    own = "tls: true, certificate: peers/alice-vm.pem, key: other.key"
    directory.write("other.key", ALICE[1])
    text = GOOD.replace("tls: true", own).partition("peers:\n")[0]

    plain, secured = directory.load(text).listen
    assert plain.key_pair is None
    assert secured.key_pair.fingerprint == fingerprint(ALICE[0].decode())
    assert directory.load().listen[1].key_pair == directory.load().identity


def test_defaults_are_those_of_the_protocol(directory):
    config = directory.load()

    assert config.limits.max_payload_bytes == timing.PAYLOAD_LIMIT_BYTES
    assert config.limits.max_ttl_s == timing.MAX_TTL_S
    assert config.doubt_max_days * DAY_S == timing.DOUBT_MAX_S
    assert config.retain_days * DAY_S == timing.RETAIN_S
    assert config.forget_after_h * 3_600 == timing.FORGET_AFTER_S
    assert (config.limits.agent_requests_per_s, config.limits.agent_burst) == (20, 100)


def test_homes_name_the_peer_of_every_remote_agent(directory):
    assert directory.load(GOOD + SECOND_PEER).homes == {"alice": ("alice-vm",), "carol": ("carol-vm",)}


def test_several_hashes_and_comments_are_read_during_a_rotation(directory):
    directory.write("tokens/bob.sha256", f"# laptop\n{hash_line('x' * 43)}\n{hash_line('y' * 43).strip()} # new\n")

    assert len(directory.load().agent_tokens["bob"]) == 2


def test_two_certificates_are_pinned_during_a_rotation(directory):
    old = make_identity("alice-vm", NOW_S - 20 * 365 * DAY_S)
    directory.write("peers/alice-vm.pem", ALICE[0] + old[0])

    assert len(directory.load().peers["alice-vm"].fingerprints) == 2


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_a_secret_may_be_readable_by_a_group(directory, mode):
    (directory.path / "peers/alice-vm.out").chmod(mode)

    assert directory.load().peers["alice-vm"].token == OUT.encode()


@pytest.mark.parametrize("address", ["::1", "127.0.0.2"])
def test_any_loopback_address_may_speak_plain_http(directory, address):
    config = directory.load(GOOD.replace("address: 127.0.0.1", f'address: "{address}"'))

    assert config.listen[0].is_loopback
    assert config.listen[0].address == address


def test_a_date_where_text_is_wanted_stays_text(directory):
    config = directory.load(GOOD.replace("agents: [bob]", "agents: [bob, 2026-11-20]"))

    assert config.agents == ("bob", "2026-11-20")


def test_a_host_may_have_no_agents_and_no_peers(directory):
    text = "host: bob-vm\nroot: root\nagents: []\n"

    assert directory.load(text).listen[0].port == 8787


# ---------------------------------------------------------------------------------------- the file itself


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"handoffd.yaml: does not exist; run `handoffd init`"):
        load(tmp_path / "handoffd.yaml")


def test_a_directory_is_told_so(tmp_path):
    with pytest.raises(ConfigError, match=rf"{tmp_path}: is a directory; name the file in it: .*/handoffd.yaml"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "is empty"),
        ("# a remark alone\n", None, "is empty"),
        ("- a\n", None, "not a mapping"),
        ("host: bob-vm\n\troot: x\n", 2, "not YAML"),
        ("host: [a\n", 2, "not YAML"),
        ("host: [a\nroot: /x\nagents: []\n", 2, "a flow sequence that begins in line 1:"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
        ("a: &x 1\nb: *x\n", 2, "alias"),
        ("a: \x00\n", None, "not YAML"),
        ("[" * 5_000, None, "not YAML"),
    ],
)
def test_a_text_that_is_no_plain_yaml_mapping_is_refused(directory, text, line, words):
    problem = directory.problem(text)

    assert words in problem.message
    assert problem.line == line


def test_a_tab_is_named(directory):
    assert directory.problem("host: bob-vm\n\troot: x\n").remedy == "indent with spaces, not with tabs"
    assert directory.problem("host: [a\n").remedy == "check indentation and quotes"


def test_a_text_that_is_not_utf_8_is_refused(directory):
    directory.file.write_bytes(b"host: \xff")

    with pytest.raises(ConfigError, match="not UTF-8"):
        load(directory.file)


def test_a_pipe_is_refused_and_not_waited_for(directory):
    os.mkfifo(directory.file)

    with pytest.raises(ConfigError, match=r"handoffd.yaml: is not a regular file; name one"):
        load(directory.file)


def test_a_file_that_can_be_no_configuration_is_not_read_in(directory):
    with directory.file.open("wb") as file:
        file.truncate(100 << 20)

    with pytest.raises(ConfigError, match="has 104857600 bytes, and a configuration at most 1048576; name the right"):
        load(directory.file)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (r'"a\0b"', "holds what is no character"),
        (r'"a\ud800b"', "holds what is no character"),
        ("x" * 2_049, "has more than 2048 characters"),
        ("0x" + "f" * 2_000, "is a number"),
        ("0x" + "f" * 2_047, "has more than 2048 characters"),
        ("!!bool maybe", "'maybe' is not true or false"),
        ("!!int ''", "'' is not a number"),
        (":".join("1" * 400) + ".5", "is not a number"),
    ],
)
def test_a_value_that_is_none_is_refused_at_its_line(directory, value, words):
    problem = directory.problem(GOOD.replace("peers/alice-vm.out", value))

    assert (problem.key, problem.line) == ("peers.alice-vm.token", 13)
    assert words in problem.message


def test_a_file_anybody_may_write_is_refused(directory):
    directory.write("handoffd.yaml", GOOD, 0o666)

    with pytest.raises(ConfigError, match="chmod o-w"):
        load(directory.file)


def test_a_key_written_twice_is_refused_at_its_second_line(directory):
    problem = directory.problem(GOOD + "agents: [carol]\n")

    assert (problem.key, problem.line) == ("agents", 15)
    assert "first in line 3" in problem.message


def test_a_nested_key_written_twice_is_refused(directory):
    problem = directory.problem(GOOD + "    agents: [carol]\n")

    assert (problem.key, problem.line) == ("peers.alice-vm.agents", 15)


@pytest.mark.parametrize("line", ["1: x", "on: x", "[a]: x", "<<: {a: b}"])
def test_a_key_that_is_not_text_is_refused(directory, line):
    assert "is not text" in directory.problem(GOOD + line + "\n").message


@pytest.mark.parametrize("value", ["!!python/object:os.system x", "!mine x", "!!binary aGVsbG8=", "!!set {a}"])
def test_a_tag_is_refused_and_never_obeyed(directory, value):
    problem = directory.problem(GOOD.replace("root: root", f"root: {value}"))

    assert (problem.key, problem.line) == ("root", 2)
    assert "tag" in problem.message


# ---------------------------------------------------------------------------------------- keys and types


@pytest.mark.parametrize(
    ("wrong", "key", "remedy"),
    [
        ("agent: [bob]", "agent", "did you mean agents?"),
        ("listn: []", "listn", "did you mean listen?"),
        ("limits: {max_ttl: 5}", "limits.max_ttl", "did you mean max_ttl_s?"),
        ("log: {fromat: json}", "log.fromat", "did you mean format?"),
        ("colour: red", "colour", "the keys here are"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(directory, wrong, key, remedy):
    problem = directory.problem(GOOD + wrong + "\n")

    assert (problem.key, problem.line) == (key, 15)
    assert remedy in problem.remedy


def test_unknown_keys_in_lists_and_peers_are_found_too(directory):
    text = GOOD.replace("port: 8787}", "port: 8787, tsl: true}").replace("token: peers", "tokn: peers")

    assert [(each.key, each.line) for each in directory.problems(text)] == [
        ("listen[0].tsl", 5),
        ("peers.alice-vm.tokn", 13),
    ]


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("port: 8787", 'port: "8787"', "listen[0].port", "'8787' is text; write a whole number"),
        ("port: 8787", "port: 87.5", "listen[0].port", "87.5 is a number; write a whole number"),
        ("port: 8787", "port: 0", "listen[0].port", "0 is out of range; write a number from 1 to 65535"),
        ("tls: true", "tls: 1", "listen[1].tls", "write true or false"),
        ("agents: [bob]", "agents: bob", "agents", "'bob' is text; write a list"),
        ("agents: [bob]", "agents: [bob, no]", "agents[1]", "False is a yes or no; write text, in quotes"),
        ("agents: [bob]", "agents:", "agents", "has no value; write a list"),
        ("root: root", "root: 5", "root", "5 is a number; write text"),
        ("root: root", 'root: ""', "root", "is empty; write root (such as /srv/voice-shared)"),
        ("host: bob-vm", "host: Bob", "host", "'Bob' is not a legal host name"),
        ("agents: [bob]", "agents: [../bob]", "agents[0]", "is not a legal agent name"),
        ("[alice]", "[]", "peers.alice-vm.agents", "is empty; write agents (such as ['alice'])"),
        ("  alice-vm:", "  Alice_VM:", "peers.Alice_VM", "'Alice_VM' is not a legal host name"),
        ("address: 127.0.0.1", "address: localhost", "listen[0].address", "is not an IP address; write 127.0.0.1"),
        ("https://alice-vm:8788", "alice-vm:8788", "peers.alice-vm.url", "is not an http or https URL"),
        ("https://alice-vm:8788", "https://alice-vm:port", "peers.alice-vm.url", "is not a URL"),
        ("https://alice-vm:8788", "https://alice-vm:8788/api", "peers.alice-vm.url", "more than scheme, host and port"),
        ("https://alice-vm:8788", "http://alice-vm:8788", "peers.alice-vm.url", "write https://alice-vm:8788"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_to_write(directory, old, new, key, words):
    text = GOOD.replace(old, new, 1)
    problem = directory.problem(text)

    assert problem.key == key
    assert words in f"{problem.message}; {problem.remedy}"
    assert text.splitlines()[problem.line - 1] in [*new.splitlines(), *text.splitlines()]
    assert new.strip() in text.splitlines()[problem.line - 1]


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("watch: inotfy", "watch", "write one of 'auto', 'inotify', 'watchfiles' or 'scan'"),
        ("scan_interval_s: 60s", "scan_interval_s", "write a number, without quotes or unit"),
        ("scan_interval_s: 0", "scan_interval_s", "from 0.1 to 60"),
        ("limits: {max_payload_bytes: 1048577}", "limits.max_payload_bytes", "from 4096 to 1048576"),
        ("limits: {max_ttl_s: 604801}", "limits.max_ttl_s", "from 1 to 604800"),
        ("limits: {agent_requests_per_s: 0}", "limits.agent_requests_per_s", "above 0 to 10000"),
        ("limits: []", "limits", "must not be a list; write a mapping"),
        ("log: {level: loud}", "log.level", "write one of"),
    ],
)
def test_a_wrong_optional_value_is_named_with_its_range(directory, line, key, words):
    problem = directory.problem(GOOD + line + "\n")

    assert (problem.key, problem.line) == (key, 15)
    assert words in f"{problem.message}; {problem.remedy}"


def test_a_missing_key_is_described(directory):
    problem = directory.problem(GOOD.replace("host: bob-vm\n", ""))

    assert problem.key == "host"
    assert problem.remedy == "write host (such as bob-vm): this host's name, as its peers call it"


def test_every_wrong_key_is_told_at_once_in_the_order_of_the_file(directory):
    text = GOOD.replace("host: bob-vm", "host: 1").replace("url:", "ulr:") + "watch: 3\nagents: [x]\n"

    assert [problem.line for problem in directory.problems(text)] == [1, 10, 15, 16]


# ---------------------------------------------------------------------------------------- rules between keys


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        (", tls: true", "", "listen[1].address", "add tls: true, or listen on 127.0.0.1"),
        ("127.0.0.1, port: 8787", '"::", port: 8787', "listen[0].address", ":: is reachable from other machines"),
        ("0.0.0.0, port: 8788, tls: true", "127.0.0.1, port: 8787", "listen[1]", "is the same as listen[0] (line 5)"),
        (
            "0.0.0.0, port: 8788",
            "0.0.0.0, port: 8787",
            "listen[0]",
            "taken by 0.0.0.0, which is every address, in listen[1] (line 6)",
        ),
        ("tls: true", "tls: true, key: x.key", "listen[1].key", "come together"),
        ("port: 8787", "port: 8787, key: k, certificate: c", "listen[0].certificate", "add tls: true"),
        ("[bob]", "[bob, bob]", "agents[1]", "bob also lives at this host"),
        ("[alice]", "[alice, bob]", "peers.alice-vm.agents[1]", "bob also lives at this host"),
        ("[bob]", "[bob, handoffd-canary]", "agents[1]", "is reserved"),
        ("[alice]", "[handoffd-canary]", "peers.alice-vm.agents[0]", "is reserved"),
        ("    token: peers/alice-vm.out\n", "", "peers.alice-vm", "has no token to present there"),
        (
            "    accepts: peers/alice-vm.in.sha256\n",
            "",
            "peers.alice-vm",
            "has no accepts to know it by, and this host listens on 0.0.0.0",
        ),
        ("    certificate: peers/alice-vm.pem\n", "", "peers.alice-vm", "has no certificate to pin"),
        ("  alice-vm:", "  bob-vm:", "peers.bob-vm", "is this host itself"),
        ("{bob: tokens", "{eve: tokens", "agent_tokens.eve", "eve does not live on this host"),
    ],
)
def test_a_broken_rule_between_keys_is_told_at_the_key_to_change(directory, old, new, key, words):
    problem = directory.problem(GOOD.replace(old, new, 1))

    assert problem.key == key
    assert words in f"{problem.message}; {problem.remedy}"


def test_every_address_of_one_family_leaves_the_other_family_its_ports(directory):
    text = GOOD.replace("address: 127.0.0.1, port: 8787", 'address: "::1", port: 8788')
    assert [listen.port for listen in directory.load(text).listen] == [8788, 8788]
    problem = directory.problem(text.replace("0.0.0.0", '"::"'))
    assert (problem.line, problem.message[-36:]) == (5, "is every address, in listen[1] (line 6)"[-36:])


def test_a_relay_is_what_is_marked_so(directory):
    assert not directory.load(GOOD).peers["alice-vm"].relay
    assert directory.load(GOOD + "    relay: true\n").peers["alice-vm"].relay


URL, TOKEN = "    url: https://alice-vm:8788\n", "    token: peers/alice-vm.out\n"
ACCEPTS, PIN = "    accepts: peers/alice-vm.in.sha256\n", "    certificate: peers/alice-vm.pem\n"


def without(text: str, *lines: str) -> str:
    for line in lines:
        assert line in text
        text = text.replace(line, "")
    return text


def test_a_peer_without_url_dials_in_and_needs_nothing_but_the_hash_of_its_token(directory):
    peer = directory.load(without(GOOD, URL, TOKEN, PIN)).peers["alice-vm"]
    assert peer.dials_in
    assert (peer.token, peer.pinned_pem) == (b"", None)
    assert len(peer.accepts) == 1


def test_a_peer_that_dials_in_and_cannot_be_known_is_refused(directory):
    problem = directory.problem(without(GOOD, URL, TOKEN, PIN, ACCEPTS))
    assert (problem.key, problem.line) == ("peers.alice-vm", 9)
    assert "so it dials in, and no accepts" in problem.message
    assert "peers/alice-vm.in.sha256" in problem.remedy


def test_a_host_that_listens_on_loopback_alone_needs_no_accepts(directory):
    text = without(GOOD, ACCEPTS, "  - {address: 0.0.0.0, port: 8788, tls: true}\n")
    assert directory.load(text).peers["alice-vm"].accepts == frozenset()


def test_one_peer_may_be_the_home_of_every_agent_that_nobody_names(directory):
    config = directory.load(GOOD.replace("[alice]", '[alice, "*"]') + SECOND_PEER)
    assert config.default_peer == "alice-vm"
    assert config.homes == {"alice": ("alice-vm",), "carol": ("carol-vm",)}
    problem = directory.problem(GOOD.replace("[alice]", '["*"]') + SECOND_PEER.replace("[carol]", '[carol, "*"]'))
    assert (problem.key, problem.line) == ("peers.carol-vm.agents[1]", 17)
    assert "also lives at peer alice-vm" in problem.message


def test_an_agent_at_two_peers_that_are_called_is_refused(directory):
    problem = directory.problem(GOOD + SECOND_PEER.replace("[carol]", "[alice]"))

    assert (problem.key, problem.line) == ("peers.carol-vm.agents[0]", 17)
    assert problem.message == "alice also lives at peer alice-vm, and this host calls alice-vm and carol-vm"
    assert problem.remedy.startswith("several homes of one agent all have to dial in")


def test_an_agent_at_a_peer_that_dials_in_and_one_that_is_called_is_refused(directory):
    dialling = without(SECOND_PEER, "    url: http://127.0.0.1:9000\n", "    token: peers/carol-vm.out\n").replace(
        "[carol]", "[alice]"
    )
    problem = directory.problem(GOOD + dialling)

    assert (problem.key, problem.message) == (
        "peers.carol-vm.agents[0]",
        "alice also lives at peer alice-vm, and this host calls alice-vm",
    )


def test_several_peers_that_dial_in_may_all_be_home_to_one_agent(directory):
    dialling = without(SECOND_PEER, "    url: http://127.0.0.1:9000\n", "    token: peers/carol-vm.out\n").replace(
        "[carol]", "[alice]"
    )
    config = directory.load(without(GOOD, URL, TOKEN, PIN) + dialling)

    assert config.homes == {"alice": ("alice-vm", "carol-vm")}
    assert custody_settings(config).homes["alice"] == "@alice"


def test_an_agent_of_this_host_lives_at_no_peer_besides(directory):
    dialling = without(SECOND_PEER, "    url: http://127.0.0.1:9000\n", "    token: peers/carol-vm.out\n").replace(
        "[carol]", "[bob]"
    )

    assert directory.problem(GOOD + dialling).message == "bob also lives at this host"


@pytest.mark.parametrize(
    ("lines", "least"),
    [
        ("retain_days: 9\n", 10),
        ("doubt_max_days: 28\n", 31),
        ("limits: {max_ttl_s: 604800}\nretain_days: 15\n", 16),
        ("forget_after_h: 720\n", 39),
    ],
)
def test_outcomes_are_kept_longer_than_anybody_may_still_ask(directory, lines, least):
    problem = directory.problem(GOOD + lines)

    assert problem.key == "retain_days"
    assert f"write at least {least}" in problem.remedy
    kept = "".join(line for line in lines.splitlines(True) if not line.startswith("retain_days"))
    assert directory.load(f"{GOOD}{kept}retain_days: {least}\n").retain_days == least


# ---------------------------------------------------------------------------------------- files that are named


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("identity/bob-vm.key", "identity"),
        ("identity/bob-vm.pem", "identity"),
        ("peers/alice-vm.pem", "peers.alice-vm.certificate"),
        ("peers/alice-vm.out", "peers.alice-vm.token"),
        ("peers/alice-vm.in.sha256", "peers.alice-vm.accepts"),
        ("tokens/bob.sha256", "agent_tokens.bob"),
    ],
)
def test_a_missing_file_is_told_with_the_key_that_names_it(directory, name, key):
    (directory.path / name).unlink()
    problem = directory.problem()

    assert problem.key == key
    assert f"{directory.path / name} does not exist" in problem.message


@pytest.mark.parametrize("name", ["identity/bob-vm.key", "peers/alice-vm.out"])
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_secret_open_to_others_is_refused_with_the_line_that_mends_it(directory, name, mode):
    file = directory.path / name
    file.chmod(mode)

    assert directory.problem().remedy == f"chmod 600 {file}"


@pytest.mark.parametrize("name", ["peers/alice-vm.pem", "peers/alice-vm.in.sha256", "tokens/bob.sha256"])
def test_a_file_of_trust_that_anybody_may_write_is_refused(directory, name):
    file = directory.path / name
    file.chmod(0o666)

    assert directory.problem().remedy == f"chmod o-w {file}"


@pytest.mark.parametrize(
    "content", ["", "short", "two words of more than thirty-two characters", "x" * 43 + "\nand more"]
)
def test_a_token_nobody_can_present_or_anybody_can_guess_is_refused(directory, content):
    directory.write("peers/alice-vm.out", content)
    problem = directory.problem()

    assert "holds no usable token" in problem.message
    assert not content or content not in str(problem)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# nothing\n", "holds no hash"),
        (f"# one\n{IN}\n", "line 2 of"),
        (hash_line(IN).upper(), "is not a hash"),
        (hash_line(IN).strip() + "  -\n", "is not a hash"),
    ],
)
def test_a_file_without_hashes_is_refused(directory, content, words):
    directory.write("tokens/bob.sha256", content)
    problem = directory.problem()

    assert words in problem.message
    assert IN not in str(problem)


def test_a_secret_in_place_of_a_file_name_is_not_repeated(directory):
    problem = directory.problem(GOOD.replace("peers/alice-vm.out", "k" * 43))

    assert "looks like a secret itself" in problem.message
    assert "k" * 43 not in str(problem)


def test_a_file_that_is_no_certificate_is_refused(directory):
    directory.write("peers/alice-vm.pem", "hello\n")

    assert "no readable PEM certificate" in directory.problem().message


@pytest.mark.parametrize("days", [-2, 4_000])
def test_a_certificate_that_is_not_valid_now_is_refused(directory, days):
    now_s = NOW_S + days * DAY_S
    assert [problem.key for problem in directory.problems(now_s=now_s)] == ["identity", "peers.alice-vm.certificate"]
    assert "is valid only from" in directory.problems(now_s=now_s)[1].message


def test_a_key_of_another_certificate_is_refused(directory):
    directory.write("identity/bob-vm.key", ALICE[1])

    assert "are no usable pair" in directory.problem().message


def test_our_own_certificate_is_no_peer(directory):
    directory.write("peers/alice-vm.pem", BOB[0])
    problem = directory.problem()

    assert "is the certificate of this host" in problem.message
    assert "identity/alice-vm.pem" in problem.remedy


@pytest.mark.parametrize("kind", ["directory", "fifo", "large"])
def test_what_is_no_small_regular_file_is_refused_without_reading_it(directory, kind):
    file = directory.path / "peers/alice-vm.out"
    file.unlink()
    {
        "directory": file.mkdir,
        "fifo": lambda: os.mkfifo(file, 0o600),
        "large": lambda: directory.write("peers/alice-vm.out", "x" * 100_000),
    }[kind]()

    assert "is not a small regular file" in directory.problem().message


def test_a_missing_root_is_refused(directory):
    (directory.path / "root").rmdir()

    assert directory.problem().remedy.endswith(f"mkdir -p -m 3770 {directory.path / 'root'}")


def test_all_unusable_files_and_broken_rules_are_told_at_once(directory):
    (directory.path / "peers/alice-vm.pem").unlink()
    (directory.path / "tokens/bob.sha256").unlink()

    found = directory.problems(GOOD.replace(", tls: true", ""))

    assert [problem.key for problem in found] == [
        "listen[1].address",
        "agent_tokens.bob",
        "peers.alice-vm.certificate",
    ]


# ---------------------------------------------------------------------------------------- one token, one party


def test_the_same_hash_for_two_parties_is_refused(directory):
    directory.write("tokens/bob.sha256", hash_line(IN))

    assert directory.problem().message == "accepts the same token as agent_tokens.bob"


def test_the_hash_of_our_own_token_is_no_hash_of_the_peer(directory):
    directory.write("peers/alice-vm.in.sha256", hash_line(OUT))
    problem = directory.problem()

    assert problem.key == "peers.alice-vm.accepts"
    assert "the hash that the other side made" in problem.remedy


def test_one_token_for_two_peers_is_refused(directory):
    directory.write("peers/carol-vm.out", OUT)

    problem = directory.problem(GOOD + SECOND_PEER)

    assert problem.message == "is the same secret as peers.alice-vm.token"


def test_one_certificate_for_two_peers_is_refused(directory):
    directory.write("peers/carol-vm.pem", ALICE[0])
    problem = directory.problem(GOOD + SECOND_PEER + "    certificate: peers/carol-vm.pem\n")

    assert problem.message == "is the certificate of peer alice-vm"


# ---------------------------------------------------------------------------------------- peers.d


def test_what_should_hold_the_peers_and_cannot_be_read_is_refused(directory):
    directory.write("peers.d", "")

    with pytest.raises(ConfigError, match=r"peers.d: can't be read \(Not a directory\); it must be a directory"):
        directory.load()


def test_machine_written_peers_are_added(directory):
    directory.write("peers.d/carol-vm.yaml", "peers:\n" + SECOND_PEER)

    config = directory.load()

    assert set(config.peers) == {"alice-vm", "carol-vm"}
    assert config.peers["carol-vm"].token == b"c" * 43


def test_a_peer_in_both_files_is_refused(directory):
    written = directory.write("peers.d/alice-vm.yaml", "peers:\n" + SECOND_PEER.replace("carol-vm:", "alice-vm:"))
    problem = directory.problem()

    assert (problem.file, problem.line, problem.key) == (written, 2, "peers.alice-vm")
    assert f"{directory.file}, line 9" in problem.message


def test_problems_of_a_machine_written_file_name_that_file(directory):
    written = directory.write("peers.d/carol-vm.yaml", "peers:\n" + SECOND_PEER.replace("carol-vm.out", "gone"))
    problem = directory.problem()

    assert (problem.file, problem.line, problem.key) == (written, 5, "peers.carol-vm.token")


def test_a_machine_written_file_holds_peers_alone(directory):
    directory.write("peers.d/x.yaml", "peers: {}\nagents: [eve]\n")
    problem = directory.problem(GOOD + "watch: scan\n")

    assert (problem.file.name, problem.key) == ("x.yaml", "agents")


def test_problems_of_all_files_are_told_at_once(directory):
    directory.write("peers.d/x.yaml", "peers: 3\n")
    directory.write("peers.d/y.yaml", "peers: [\n")

    names = [problem.file.name for problem in directory.problems(GOOD + "watch: 3\n")]

    assert names == ["handoffd.yaml", "x.yaml", "y.yaml"]


# ---------------------------------------------------------------------------------------- reload, lookup


def test_equal_configurations_need_no_restart(directory):
    assert differences_that_need_restart(directory.load(), directory.load()) == []


def test_new_peers_agents_and_limits_need_no_restart(directory):
    old = directory.load()
    new = directory.load(GOOD.replace("[bob]", "[bob, sven]") + SECOND_PEER + "limits: {max_ttl_s: 60}\n")

    assert differences_that_need_restart(old, new) == []


def test_changes_that_need_a_restart_are_named(directory):
    old = directory.load()
    new = replace(old, host="carol-vm", root=Path("/elsewhere"), listen=(), watch="scan")

    assert differences_that_need_restart(old, new) == ["host", "root", "listen", "watch"]


def test_the_file_is_looked_for_where_the_user_said(tmp_path):
    environment = {"HANDOFFD_CONFIG": "/from/environment.yaml", "HOME": str(tmp_path)}

    assert locate(Path("named.yaml"), environment) == Path("named.yaml")
    assert locate(None, environment) == Path("/from/environment.yaml")


def test_the_file_is_looked_for_here_then_in_the_users_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    users = tmp_path / "home/.config/handoffd/handoffd.yaml"
    users.parent.mkdir(parents=True)
    users.touch()
    environment = {"HOME": str(tmp_path / "home")}

    assert locate(None, environment) == users
    (tmp_path / "handoffd.yaml").touch()
    assert locate(None, environment) == Path("handoffd.yaml")


def test_a_file_found_nowhere_is_told_with_every_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match=r"looked for handoffd.yaml, .*/.config/handoffd/handoffd.yaml, /etc"):
        locate(None, {"HOME": str(tmp_path)})


# ---------------------------------------------------------------------------------------- closed to this user


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """Make this process a user to whom a file or directory of tmp_path is closed."""
    before, mode = os.geteuid(), stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o700 if before == 0 else 0)
    os.seteuid(65534 if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)
        path.chmod(mode)


@pytest.fixture
def open_directory():
    """Give a configuration where every user may look: pytest's own directories are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        yield Directory(place)


@pytest.mark.parametrize("name", ["handoffd.yaml", "peers.d"])
def test_what_this_user_may_not_read_is_told_with_who_may(open_directory, name):
    (open_directory.path / "peers.d").mkdir(mode=0o755)
    file = open_directory.write("handoffd.yaml", GOOD, 0o644)
    place = open_directory.path / name
    with closed(place), pytest.raises(ConfigError) as error:
        load(file)
    (problem,) = error.value.problems
    assert (problem.file, problem.message, error.value.closed) == (place, "can't be read (Permission denied)", True)
    assert problem.remedy == f"run this as the daemon's user, or let this user read it (ls -ld {place.parent} {place})"


def test_a_secret_that_is_closed_to_this_user_is_no_fault_of_the_configuration(open_directory):
    file = open_directory.write("handoffd.yaml", GOOD, 0o644)
    secret = open_directory.path / "tokens/bob.sha256"
    with closed(secret), pytest.raises(ConfigError, match=r"tokens/bob.sha256 can't be read .*; run this as") as error:
        load(file, now_s=NOW_S)
    assert error.value.closed


def test_what_else_is_wrong_counts_more_than_what_is_closed():
    problems = [Problem(Path("x"), None, "", "closed", "", closed=True), Problem(Path("x"), 1, "", "wrong", "")]
    assert ConfigError(problems[:1]).closed
    assert not ConfigError(problems).closed


def test_a_directory_that_is_closed_to_this_user_may_hold_a_configuration(monkeypatch):
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        users = home / ".config/handoffd"
        users.mkdir(parents=True)
        (users / "handoffd.yaml").touch()
        monkeypatch.chdir(home)
        with closed(users), pytest.raises(ConfigError, match=f"may not look into {users};.*sudo -u NAME") as error:
            locate(None, {"HOME": str(home)})
        assert error.value.closed


def test_a_closed_directory_does_not_keep_us_from_the_next_one(monkeypatch):
    with tempfile.TemporaryDirectory() as name:
        (here := Path(name) / "here").mkdir()
        users = Path(name) / "home/.config/handoffd"
        users.mkdir(parents=True)
        (users / "handoffd.yaml").touch()
        Path(name).chmod(0o755)
        monkeypatch.chdir(here)
        with closed(here):
            assert locate(None, {"HOME": str(users.parents[1])}) == users / "handoffd.yaml"


# ---------------------------------------------------------------------------------------- whatever is written

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.sampled_from(["bob", "*", "https://[::1", "http://x:99999", "::", "../x", "no", "peers/alice-vm.pem"])
)
KEYS = st.sampled_from([*Document.model_fields, *Peer.model_fields, *Listen.model_fields, "max_ttl_s", "alice-vm", "x"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=4)
)


@pytest.mark.timeout(300)  # a hundred documents, on a machine that may be busy
@given(st.dictionaries(KEYS, VALUES))
def test_whatever_the_keys_hold_is_accepted_or_refused_with_line_and_remedy(values):
    text = yaml.safe_dump(yaml.safe_load(GOOD) | values, allow_unicode=True)
    file = Path("/nonexistent/handoffd.yaml")

    try:
        read_document(file, {file: text})
    except ConfigError as error:
        for problem in error.problems:
            assert problem.remedy
            assert problem.line is None or 1 <= problem.line <= len(text.splitlines())
            assert str(problem).isprintable()


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_whatever_the_text_it_is_read_or_refused(text):
    file = Path("/nonexistent/handoffd.yaml")

    with pytest.raises(ConfigError):
        read_document(file, {file: text})


def test_every_key_is_described():
    def undescribed(model, path=""):
        for name, field in model.model_fields.items():
            if not field.description or not field.description.endswith("."):
                yield path + name

    assert list(undescribed(Document)) == []


def test_the_command_of_the_page_makes_an_operators_token_that_loads(directory):
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    (command,) = re.findall(r"^```sh\n(.*operator.*)\n```", page, re.MULTILINE)
    subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=directory.path / "tokens", check=True)
    token = (directory.path / "tokens/operator.token").read_text().strip()
    assert stat.S_IMODE((directory.path / "tokens/operator.token").stat().st_mode) == 0o600
    loaded = directory.load(GOOD + "operator_token: tokens/operator.sha256\n")
    assert loaded.operator_token == {hashlib.sha256(token.encode()).digest()}


# ---------------------------------------------------------------------------------------- wake hooks


def test_a_hook_is_a_program_or_a_url_of_this_machine(directory):
    text = GOOD + "on_publish: {bob: {command: [/bin/true, --now], timeout_s: 2}}\n"
    assert directory.load(text).on_publish["bob"].command == ("/bin/true", "--now")
    text = GOOD + 'on_publish: {bob: {url: "http://[::1]:9000/wake?who=bob"}}\n'
    hook = directory.load(text).on_publish["bob"]
    assert (hook.url, hook.timeout_s) == ("http://[::1]:9000/wake?who=bob", 10.0)


@pytest.mark.parametrize(
    ("hook", "key", "words"),
    [
        ("bob: {}", "on_publish.bob", "names neither a command nor a url"),
        ("bob: {command: [/bin/true], url: http://127.0.0.1/}", "on_publish.bob", "names both"),
        ("eve: {command: [/bin/true]}", "on_publish.eve", "eve does not live on this host"),
        ("bob: {command: []}", "on_publish.bob.command", "is empty"),
        ("bob: {command: /bin/true}", "on_publish.bob.command", "write a list"),
        ("bob: {command: [wake]}", "on_publish.bob.command", "wake is no absolute path"),
        ("bob: {command: [/nowhere/wake]}", "on_publish.bob.command", "does not exist"),
        ("bob: {command: [/etc/passwd]}", "on_publish.bob.command", "is no program"),
        ("bob: {url: http://alice-vm:9000/}", "on_publish.bob.url", "not an http URL on this machine"),
        ("bob: {url: https://127.0.0.1/}", "on_publish.bob.url", "not an http URL on this machine"),
        ("bob: {url: http://user@127.0.0.1/}", "on_publish.bob.url", "has a user or a fragment"),
        ("bob: {url: 'http://127.0.0.1:99999/'}", "on_publish.bob.url", "is not a URL"),
        ("bob: {command: [/bin/true], timeout_s: 0}", "on_publish.bob.timeout_s", "write a number from 0.1 to 300"),
    ],
)
def test_a_hook_that_could_not_run_is_told(directory, hook, key, words):
    found = directory.problem(GOOD + f"on_publish: {{{hook}}}\n")
    assert found.key.startswith(key)
    assert words in f"{found.message}; {found.remedy}"
