"""The examples in config/ and the reference page say what the loader does."""

import hashlib
import importlib.util
import re
import time
from pathlib import Path

import pytest
import yaml

from handoffd.config import Document, load, read_document
from handoffd.identity import make_identity

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "config/handoffd.example.yaml"
PAIR = {name: PROJECT / f"config/pair/{name}-vm.yaml" for name in ("bob", "alice")}
KINDS = ("chain", "dialled", "several", "star")
TOPOLOGIES = sorted(path for name in KINDS for path in (PROJECT / "config" / name).glob("*.yaml"))
PAGE = PROJECT / "docs/configuration.md"
NOW_S = time.time()


def key_paths(schema: dict, model: dict, prefix: str = ""):
    """Yield every key the schema knows, as `peers.*.url`."""
    for name, field in model["properties"].items():
        yield prefix + name
        for holder, step in (
            (field, ""),
            (field.get("items", {}), ".*"),
            (field.get("additionalProperties", {}), ".*"),
        ):
            if isinstance(holder, dict) and "$ref" in holder:
                inner = schema["$defs"][holder["$ref"].rpartition("/")[2]]
                yield from key_paths(schema, inner, f"{prefix}{name}{step}.")


def written_paths(value: object, prefix: str = ""):
    """Yield every key a YAML text writes, in the same form."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield prefix + name
            yield from written_paths(inner, f"{prefix}{name}.")
    elif isinstance(value, list):
        for inner in value:
            yield from written_paths(inner, f"{prefix}*.")


def install(example: Path, directory: Path) -> Path:
    """Copy an example and make every file that it names, as somebody following its comments would."""
    text = example.read_text().replace("/srv/voice-shared", str(directory / "root"))
    (directory / "root").mkdir()
    document = yaml.safe_load(text)
    own = f"identity/{document['host']}"
    pairs = {own: document["host"], "own/bob-vm": "own"} if "own/bob-vm" in text else {own: document["host"]}
    for stem, name in pairs.items():
        write_identity(directory / stem, name)
    for name, peer in document["peers"].items():
        write_identity(directory / f"peers/{name}", name)
        if "token" in peer:
            write(directory / peer["token"], name.ljust(43, "o"), 0o600)
    for name in re.findall(r"\S+\.sha256", yaml.safe_dump(document)):
        write(directory / name, hashlib.sha256(name.encode()).hexdigest() + "\n", 0o644)
    return write(directory / "handoffd.yaml", text, 0o644)


def write_identity(stem: Path, host: str) -> None:
    certificate, key = make_identity(host, NOW_S)
    write(stem.with_name(stem.name + ".pem"), certificate.decode(), 0o644)
    write(stem.with_name(stem.name + ".key"), key.decode(), 0o600)


def write(file: Path, text: str, mode: int) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def test_the_example_loads_as_it_stands(tmp_path):
    config = load(install(EXAMPLE, tmp_path), now_s=NOW_S)

    assert config.host == "bob-vm"
    assert config.homes == {"alice": ("alice-vm",)}


def test_the_example_shows_every_key_there_is():
    schema = Document.model_json_schema()
    known = set(key_paths(schema, schema))
    written = set(written_paths(yaml.safe_load(EXAMPLE.read_text())))
    written = {re.sub(r"^(peers|on_publish)\.[a-z-]+", r"\1.*", path) for path in written}
    written -= {"peers.*", "on_publish.*", "agent_tokens.bob"}
    written |= {"on_publish.*.url"} if "# or url: " in EXAMPLE.read_text() else set()  # beside a command it is an error

    assert written == known


def test_the_example_shows_the_defaults():
    shown, default = read_document(EXAMPLE), Document(host="a", root="b", agents=())

    for name in (
        "watch",
        "scan_interval_s",
        "limits",
        "retain_days",
        "forget_after_h",
        "doubt_max_days",
        "journal",
        "log",
    ):
        assert getattr(shown, name) == getattr(default, name)


@pytest.mark.parametrize("name", PAIR)
def test_each_half_of_the_pair_loads(name, tmp_path):
    assert load(install(PAIR[name], tmp_path), now_s=NOW_S).agents == (name,)


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_each_configuration_of_a_topology_loads(file, tmp_path):
    text = (
        file.read_text()
        .replace("/home/alice/voice-shared", "/srv/voice-shared")
        .replace("/srv/handoffd", "/srv/voice-shared")
    )
    copy = tmp_path / "copy.yaml"
    copy.write_text(text)
    (tmp_path / "host").mkdir()
    assert load(install(copy, tmp_path / "host"), now_s=NOW_S).host == file.stem


@pytest.mark.parametrize("name", [kind for kind in KINDS if kind != "chain"])
def test_of_two_hosts_that_know_each_other_one_calls_the_other(name):
    hosts = {file.stem: read_document(file) for file in TOPOLOGIES if file.parent.name == name}

    for host in hosts.values():
        for peer, told in host.peers.items():
            other, back = hosts[peer], hosts[peer].peers[host.host]
            assert (told.url is None) != (back.url is None)
            assert told.url in (None, f"https://{peer}:{other.listen[-1].port}")
            assert set(told.agents) <= {*other.agents, "*"}


def test_an_agent_of_several_homes_is_for_whichever_comes_first(tmp_path):
    config = load(install(PROJECT / "config/several/hub.yaml", tmp_path), now_s=NOW_S)

    assert config.homes == {"alice": ("desk", "laptop", "kitchen")}


def test_in_the_chain_every_agent_is_reached_from_every_host_and_every_step_is_allowed():
    hosts = {file.stem: read_document(file) for file in TOPOLOGIES if file.parent.name == "chain"}
    homes = {agent: host for host, document in hosts.items() for agent in document.agents}

    def next_host(host: str, agent: str) -> str:
        named = [peer for peer, told in hosts[host].peers.items() if agent in told.agents]
        return (named or [peer for peer, told in hosts[host].peers.items() if "*" in told.agents])[0]

    for sender, start in homes.items():
        for agent, home in homes.items():
            way = [start]
            while way[-1] != home:
                way.append(next_host(way[-1], agent))
                here, before = hosts[way[-1]].peers[way[-2]], hosts[way[-2]].peers[way[-1]]
                assert here.relay or sender in here.agents
                assert here.url is not None or before.url is not None
                assert len(way) <= len(hosts)


def test_the_page_of_topologies_names_every_configuration():
    page = (PROJECT / "docs/topologies.md").read_text()
    for file in (*TOPOLOGIES, *PAIR.values()):
        assert f"`{file.relative_to(PROJECT)}`" in page


def test_the_halves_of_the_pair_mirror_each_other():
    bob, alice = (read_document(PAIR[name]) for name in ("bob", "alice"))

    for here, there in ((bob, alice), (alice, bob)):
        peer = here.peers[there.host]
        assert peer.agents == there.agents
        assert peer.url == f"https://{there.host}:{there.listen[1].port}"


def test_the_reference_page_is_what_the_models_say():
    spec = importlib.util.spec_from_file_location("make_configuration", PROJECT / "docs/make_configuration.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)

    assert PAGE.read_text() == generator.page(), "run: python docs/make_configuration.py"
