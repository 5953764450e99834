"""Writes docs/http-reference.md from the OpenAPI document: `python docs/make_http.py`.

It owns the page's frame; every call, parameter, answer and field is what a running daemon serves as /openapi.json. A
test compares the page with what this prints.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handoffd.hub.openapi import describe
from handoffd.hub.table import ROUTES

PAGE = Path(__file__).with_name("http-reference.md")

INTRODUCTION = """\
# Every HTTP call and field

<!-- Made by docs/make_http.py from the OpenAPI document, which is made from the code. Do not edit. -->

What a running daemon serves as OpenAPI 3.1 under `/openapi.json`, on one page. Who may ask what, what an answer proves
and where the limits are is in [http-api.md](http-api.md). A token goes in as `Authorization: Bearer TOKEN`.
"""


def page() -> str:
    """Return the page."""
    document = json.loads(describe(ROUTES, ""))
    calls = [
        _call(f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    forms = [_form(name, form) for name, form in sorted(document["components"]["schemas"].items())]
    return "\n".join([INTRODUCTION, "## Calls\n", *calls, "## Schemas\n", *forms])


def _call(title: str, operation: dict[str, Any]) -> str:
    lines = [f"### `{title}`", "", f"{operation['summary']} {operation['description']} {_tokens(operation)}", ""]
    if operation["parameters"]:
        lines += ["| parameter | in | value |", "|---|---|---|"]
        lines += [
            f"| `{each['name']}`{' (required)' if each['required'] else ''} | {each['in']} | {_kind(each['schema'])} |"
            for each in operation["parameters"]
        ]
        lines.append("")
    if "requestBody" in operation:
        body = operation["requestBody"]
        need = "Body" if body["required"] else "Body, optional"
        lines += [f"{need}: {_contents(body)}. {body['description']}", ""]
    return "\n".join([*lines, *_answers(operation["responses"]), ""])


def _tokens(operation: dict[str, Any]) -> str:
    names = [name for way in operation["security"] for name in way]
    free = {} in operation["security"]
    return f"Token: {' or '.join(names)}{', none over loopback' if free else ''}."


def _answers(responses: dict[str, Any]) -> Iterator[str]:
    yield from ("| answer | | |", "|---|---|---|")
    problems = []
    for status, told in sorted(responses.items()):
        if "application/problem+json" in told.get("content", {}):
            problems.append(status)
        else:
            yield f"| {status} | {told['description']} | {_contents(told)} |"
    yield f"| {', '.join(problems)} | {responses[problems[0]]['description']} | {_link('Problem')} |"


def _contents(told: dict[str, Any]) -> str:
    return ", ".join(
        _kind(held["schema"]) if "schema" in held else f"`{media}`" for media, held in told.get("content", {}).items()
    )


def _form(name: str, form: dict[str, Any]) -> str:
    rows = [f"| {field} | {kind} |" for field, kind in _fields("", form)]
    head = ["| field | value |", "|---|---|"] if rows else []
    return "\n".join(
        [f"### {name}", "", *([form["description"], ""] if "description" in form else []), *head, *rows, ""]
    )


def _fields(prefix: str, form: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each field of an object and of the objects in it, as `items[].tid`."""
    required = form.get("required", [])
    for name, field in form.get("properties", {}).items():
        inner = _bare(field)
        yield f"`{prefix}{name}`{' (required)' if name in required else ''}", _kind(field)
        yield from _fields(f"{prefix}{name}.", inner)
        yield from _fields(f"{prefix}{name}[].", _bare(inner.get("items", {})))


def _bare(field: dict[str, Any]) -> dict[str, Any]:
    """Return what a field holds when it is not null."""
    if isinstance(field.get("type"), list):
        return {**field, "type": next(each for each in field["type"] if each != "null")}
    return next((each for each in field.get("anyOf", []) if each.get("type") != "null"), field)


def _kind(field: dict[str, Any]) -> str:
    kinds = [field.get("type"), *(each.get("type") for each in field.get("anyOf", []))]
    can_be_null = "null" in kinds or "null" in (kinds[0] or ())
    return _words(_bare(field)) + (", or null" if can_be_null else "")


def _words(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return _link(field["$ref"].rpartition("/")[2])
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    told = {"array": "list", "object": "object", "boolean": "`true`, `false`"}.get(field.get("type", ""), "")
    told = told or field.get("format") or {"string": "text"}.get(field.get("type", ""), field.get("type", "any value"))
    if field.get("type") == "array":
        told += f" of {_kind(field['items'])}" if "items" in field else ""
        told += f", at most {field['maxItems']}" if "maxItems" in field else ""
    if field.get("type") in ("integer", "number"):
        told += "".join(f", {word} {field[key]}" for key, word in _BOUNDS.items() if key in field)
    if "pattern" in field:
        told += f" like `{field['pattern']}`".replace("|", "\\|")
    return told + (f": {field['description']}" if "description" in field else "")


_BOUNDS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
