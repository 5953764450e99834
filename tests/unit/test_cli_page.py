"""`handoffd page` against a socket that answers as a daemon would, and against none."""

import json
from pathlib import Path

import pytest
from tests.unit.handmade import Ground
from tests.unit.test_cli_operator import daemon

from handoffd.cli import invoke

TOLD = {"code": "C0de", "within_s": 300.0, "near": ["http://127.0.0.1:8787"], "far": ["https://bob-vm:8788"]}


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


def run(ground: Ground, *more: str) -> int:
    return invoke(["page", "--root", str(ground.root), *more])


def test_it_prints_links_with_the_code_after_the_hash(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(ground, 200, TOLD) as asked:
        assert run(ground) == 0
    assert b"POST /operator/page" in asked[0]
    near, far = capsys.readouterr().out.splitlines()
    assert near == "http://127.0.0.1:8787/page/#enter=C0de"
    assert far.startswith("https://bob-vm:8788/page/#enter=C0de ")


def test_programs_get_json(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(ground, 200, TOLD):
        assert run(ground, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["near"] == ["http://127.0.0.1:8787/page/#enter=C0de"]
    assert told["within_s"] == 300.0


def test_a_page_that_is_switched_off_says_so(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(ground, 403, {"reason": "forbidden", "detail": "The page is switched off."}):
        assert run(ground) == 1
    assert capsys.readouterr().err == "handoffd: The page is switched off.\n"


def test_a_daemon_that_listens_nowhere_near_is_told_what_to_add(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    with daemon(ground, 200, {**TOLD, "near": [], "far": []}):
        assert run(ground) == 2
    assert "serve: everywhere" in capsys.readouterr().err


def test_without_a_daemon_there_is_no_page(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ground) == 69
    assert "handoffd run" in capsys.readouterr().err
