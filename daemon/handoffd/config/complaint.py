"""Turns what pydantic found into problems with a line and a remedy.

It knows the models only by their fields. The rule that must stay true: each finding becomes exactly one problem.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from handoffd.config.problem import KeyPath, Problem, dotted
from handoffd.config.source import Position

_EXPECTED = {
    "string_type": "text, in quotes if it looks like a number or a yes",
    "int_type": "a whole number, without quotes or unit",
    "float_type": "a number, without quotes or unit",
    "bool_type": "true or false",
    "tuple_type": "a list, such as [a, b]",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
}
_BOUNDS = {"greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le", "less_than": "lt"}


def problems_of(error: ValidationError, model: type[BaseModel], positions: Mapping[KeyPath, Position]) -> list[Problem]:
    """Return one problem for each finding, in the order of the file."""
    found = [_problem(finding, model, positions) for finding in error.errors(include_url=False)]
    return sorted(found, key=lambda problem: (str(problem.file), problem.line or 0))


def position_of(key: KeyPath, positions: Mapping[KeyPath, Position]) -> Position:
    """Return where a key stands, or the nearest enclosing one that is written."""
    while key not in positions:
        key = key[:-1]
    return positions[key]


def _problem(finding: Mapping[str, Any], model: type[BaseModel], positions: Mapping[KeyPath, Position]) -> Problem:
    key = tuple(part for part in finding["loc"] if part != "[key]")
    message, remedy = _words(finding, key, model)
    place = position_of(key, positions)
    return Problem(place.file, place.line, dotted(key), message, remedy)


def _words(finding: Mapping[str, Any], key: KeyPath, model: type[BaseModel]) -> tuple[str, str]:
    kind, value, context = finding["type"], finding["input"], finding.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(str(key[-1]), sorted(_fields_at(key[:-1], model)))
    if kind == "missing":
        return "is missing", _example(key, model)
    if kind == "refused":
        return context["message"], context["remedy"]
    if kind == "value_error":
        message, _, remedy = str(context["error"]).partition("; ")
        return message, remedy
    if kind in _EXPECTED:
        return _wrong_type(value), f"write {_EXPECTED[kind]}"
    return _wrong_value(kind, value, context, key, model)


def _unknown(name: str, known: list[str]) -> tuple[str, str]:
    close = get_close_matches(name, known, n=1)
    return "is not a known key", f"did you mean {close[0]}?" if close else f"the keys here are {', '.join(known)}"


def _wrong_type(value: object) -> str:
    if value is None:
        return "has no value"
    kind = {bool: "a yes or no", dict: "a mapping", list: "a list", str: "text"}.get(type(value), "a number")
    return f"must not be {kind}" if isinstance(value, dict | list) else f"{value!r} is {kind}"


def _wrong_value(
    kind: str, value: object, context: Mapping[str, Any], key: KeyPath, model: type[BaseModel]
) -> tuple[str, str]:
    if kind in _BOUNDS:
        return f"{value!r} is out of range", f"write a number {_range(_fields_at(key[:-1], model)[str(key[-1])])}"
    if kind == "literal_error":
        return f"{value!r} is not a choice", f"write one of {context['expected']}"
    if kind in ("too_short", "string_too_short"):
        return "is empty", _example(key, model)
    return str(context.get("error", kind)), _example(key, model)


def _range(field: FieldInfo) -> str:
    bounds = {name: getattr(item, name) for item in field.metadata for name in _BOUNDS.values() if hasattr(item, name)}
    low = f"from {bounds['ge']}" if "ge" in bounds else f"above {bounds['gt']}"
    return f"{low} to {bounds['le']}"


def _example(key: KeyPath, model: type[BaseModel]) -> str:
    field = _fields_at(key[:-1], model).get(str(key[-1])) if key else None
    if field is None:
        return "write a value"
    example = f" (such as {field.examples[0]})" if field.examples else ""
    description = field.description or ""
    return f"write {key[-1]}{example}: {description[:1].lower()}{description[1:]}".rstrip(".")


def _fields_at(key: KeyPath, model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    kind: Any = model
    for part in key:
        kind = _inside(kind, part)
    fields: Mapping[str, FieldInfo] = getattr(kind, "model_fields", {})
    return fields


def _inside(kind: Any, part: str | int) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields[str(part)].annotation
    item, *value = get_args(kind)  # tuple[item, ...] or dict[name, value]
    return item if isinstance(part, int) else value[0]
