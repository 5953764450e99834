"""JSON bodies of requests, read strictly; each complaint names the place in the body.

It knows nothing of what the fields mean. The rule that must stay true: no body, however made, raises anything but
Refused, and no two readers could disagree on a value (a key that occurs twice is refused).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from handoffd.hub.refusal import bad_request

Kind = TypeVar("Kind", str, int, float, bool, list[object], dict[str, object])

_WORDS = {str: "a string", list: "a list", dict: "an object", float: "a number"}


def read_object(data: bytes) -> dict[str, object]:
    """Return the fields of a body that must be one JSON object. Raises Refused."""
    document = _parse(data)
    if not isinstance(document, dict):
        raise bad_request("The body is not a JSON object.")
    return document


def text_field(fields: Mapping[str, object], name: str) -> str | None:
    """Return a string field; None if it is absent or null. Raises Refused."""
    return _field(fields, name, str)


def list_field(fields: Mapping[str, object], name: str, most: int) -> list[object]:
    """Return a list field of at most so many elements; empty if it is absent or null. Raises Refused."""
    value: list[object] | None = _field(fields, name, list)
    if value is not None and len(value) > most:
        raise bad_request(f"{name}: {len(value)} elements; at most {most} are taken.")
    return value or []


def needed_list(fields: Mapping[str, object], name: str, most: int) -> list[object]:
    """Return a list field that must be there, of at most so many elements. Raises Refused."""
    if fields.get(name) is None:
        raise bad_request(f"{name}: missing; it is a list of at most {most} elements.")
    return list_field(fields, name, most)


def object_field(fields: Mapping[str, object], name: str, most: int) -> dict[str, object]:
    """Return an object field of at most so many keys; empty if it is absent or null. Raises Refused."""
    value: dict[str, object] | None = _field(fields, name, dict)
    if value is not None and len(value) > most:
        raise bad_request(f"{name}: {len(value)} keys; at most {most} are taken.")
    return value or {}


def number_field(fields: Mapping[str, object], name: str) -> float:
    """Return a number field of 0 or more; 0.0 if it is absent or null. Raises Refused."""
    value = fields.get(name)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise bad_request(f"{name}: not a number of 0 or more.")
    return float(min(value, 1e9))  # an integer may be too large for a float


def _field(fields: Mapping[str, object], name: str, kind: type[Kind]) -> Kind | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, kind):
        raise bad_request(f"{name}: not {_WORDS[kind]}.")
    return value


def _parse(data: bytes) -> object:
    try:
        return _DECODER.decode(data.decode())
    except UnicodeDecodeError as error:
        raise bad_request(f"The body is not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise bad_request(f"Not JSON: {error.msg} at line {error.lineno} column {error.colno}.") from None
    except RecursionError:
        raise bad_request("The body is nested too deeply.") from None
    except ValueError:  # int() stops at 4,300 digits
        raise bad_request("The body holds a number that is too long.") from None


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        # One pass: a megabyte may be nothing but keys, and everybody else waits meanwhile.
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise bad_request(f"The key {twice[:80]!r} occurs twice in one object.")
    return fields


def _constant(word: str) -> object:
    raise bad_request(f"{word} is not a JSON number.")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)
