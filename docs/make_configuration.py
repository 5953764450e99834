"""Writes docs/configuration.md from the configuration's models: `python docs/make_configuration.py`.

It owns the page's introduction and the shape of its tables; every key, range, default and meaning comes from
`handoffd.config`. A test compares the page with what this prints.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handoffd.config import Document

PAGE = Path(__file__).with_name("configuration.md")

INTRODUCTION = """\
# Configuration

<!-- Made by docs/make_configuration.py from the models in daemon/handoffd/config/schema.py. Do not edit. -->

One YAML file per daemon. It is looked for at `--config`, `$HANDOFFD_CONFIG`, `./handoffd.yaml`,
`~/.config/handoffd/handoffd.yaml`, `/etc/handoffd/handoffd.yaml`, in this order. `handoffd init` writes a commented
one, `config/handoffd.example.yaml` shows every key, `config/pair/` a ready pair, `handoffd check` tells whether the
daemon would start with it, `handoffd check --schema` prints the JSON schema.

- **Names of files** are relative to the directory of the configuration file.
- **Strict**: an unknown key, a wrong type, a key written twice, a YAML tag or alias, a missing or unsafe file is an
  error with file, line, key and remedy. All are told at once: first those of the keys, then those between keys and
  of the files named. A file has at most
  1 MiB, a value 2,048 characters.
- **Secrets** (`token`, `key`) must be closed to others: mode 0600, or 0640 for a group. What decides whom to trust
  (certificates, hashes, the file itself) must not be writable by others.
- **`peers.d/*.yaml`** beside the file add peers, each `peers:` with the same keys below it. A peer in two files is an
  error. `handoffd invite` and `join` write there, so that comments in the hand-written file survive
  ([pairing.md](pairing.md)).
- **Reload** on SIGHUP; a bad file leaves the old configuration active. A change of `host`, `root`, `listen`,
  `identity`, `watch`, `scan_interval_s`, `journal` or `log` waits for a restart, and the daemon says so.
- **One party each**: an agent lives on this host or at one peer; no token or certificate stands for two parties.
  `handoffd-canary` is no name for an agent.
- **Who calls whom**: a peer with `url` is called from here; one without it dials in, and takes what is its own. Of two
  hosts at least one names the other's `url`. `agents: ["*"]` makes one peer the home of every agent that nobody names,
  and `relay: true` lets a peer send for agents of other hosts: both are for a hub between hosts.
"""

FILES = """\
## Files it names

| file | holds | comes from |
|---|---|---|
| `identity/<host>.pem` | this host's certificate: ECDSA P-256, self-signed, ten years | `handoffd init` |
| `identity/<host>.key` | its private key | `handoffd init` |
| `peers.d/<peer>.yaml` | that peer | `handoffd invite` or `join` |
| `peers/<peer>.pem` | the certificate that peer shows; two during a rotation | pairing, or its `identity/<peer>.pem` |
| `peers/<peer>.out` | the secret this host presents there | pairing, or `handoffd init --peer` |
| `peers/<peer>.in.sha256` | hash of the secret that peer presents | pairing, or its `for-<host>/<peer>.in.sha256` |
| `tokens/<agent>.token` | an agent's secret, which the daemon does not read | `init --agent`, `token rotate` |
| `tokens/<agent>.sha256` | hash of an agent's secret | `handoffd init --agent`, the first time or again |
| `tokens/operator.sha256` | hash of the operators' secret | the command below |
| `tokens/viewer.sha256` | hashes of secrets that open the status page | [status-page.md](status-page.md) |

A secret is one line of at least 32 characters of `A-Za-z0-9._~+/-`: `openssl rand -hex 32`.
A hash file has one lower-case hex SHA-256 a line, several during a rotation; `#` starts a comment.

`handoffd init --agent NAME`, run again, makes both files for an agent that `agents` has got since; `agent_tokens` needs
the line `NAME: tokens/NAME.sha256` beside. By hand, in `tokens/` beside handoffd.yaml, as the daemon's user; here the
operators', whose line in it is `operator_token: tokens/operator.sha256`:

```sh
(umask 077; openssl rand -hex 32 | tee operator.token | tr -d '\\n' | sha256sum | cut -c1-64 > operator.sha256)
```

Then `handoffd check`, and SIGHUP.
"""


def page() -> str:
    """Return the page."""
    schema = Document.model_json_schema()
    sections = [INTRODUCTION, _section("Keys", "", schema, schema)]
    for name, field in schema["properties"].items():
        inner, prefix = _inner(field, name)
        if inner:
            sections.append(_section(f"`{name}`", prefix, schema["$defs"][inner], schema))
    return "\n".join([*sections, FILES])


def _inner(field: dict[str, Any], name: str) -> tuple[str | None, str]:
    """Return the model below a key, and how its keys are written."""
    for holder, prefix in (
        (field, f"{name}."),
        (field.get("items", {}), f"{name}[]."),
        (field.get("additionalProperties", {}), f"{name}.<name>."),
    ):
        if "$ref" in holder:
            return holder["$ref"].rpartition("/")[2], prefix
    return None, ""


def _section(title: str, prefix: str, model: dict[str, Any], schema: dict[str, Any]) -> str:
    required = model.get("required", [])
    meanings = {name: _meaning(field, schema) for name, field in model["properties"].items()}
    rows = [_row(prefix + name, field, name in required, meanings[name]) for name, field in model["properties"].items()]
    return "\n".join(
        [
            f"## {title}",
            "",
            model["description"],
            "",
            "| key | value | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _meaning(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return the key's description; pydantic leaves it out where it is that of the model below the key."""
    inner, _ = _inner(field, "")
    return str(field["description"] if "description" in field else schema["$defs"][inner]["description"])


def _row(key: str, field: dict[str, Any], is_required: bool, meaning: str) -> str:
    default = "**required**" if is_required else _default(field)
    return f"| `{key}` | {_kind(field)} | {default} | {meaning} |"


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default is None or isinstance(default, dict):
        return "none" if "anyOf" in field else "see below" if "$ref" in field else "`{}`"
    if isinstance(default, list):
        default = [{name: value for name, value in each.items() if value} for each in default]
    return f"`{json.dumps(default)}`"


def _kind(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return _kind(next(each for each in field["anyOf"] if each["type"] != "null"))
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if field.get("type") in ("integer", "number"):
        return " ".join(_range(field))
    names = {"string": "text", "boolean": "`true`, `false`", "array": "list", "object": "mapping"}
    return names.get(field.get("type", ""), "mapping")


def _range(field: dict[str, Any]) -> Iterator[str]:
    yield "whole number" if field["type"] == "integer" else "number"
    yield f"above {field['exclusiveMinimum']}" if "exclusiveMinimum" in field else f"{field['minimum']}"
    yield f"to {field['maximum']}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
