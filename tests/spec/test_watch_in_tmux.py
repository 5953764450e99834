"""`handoffd status --watch` in a real terminal: drawn in place, resized, ended in every way."""

import http.server
import json
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.a_status import LINK, a_status
from tests.unit.handmade import Ground

from handoffd.status.model import Concern, Status, fields

TMUX = shutil.which("tmux")
DEADLINE_S = 60.0
pytestmark = [
    pytest.mark.skipif(TMUX is None, reason="needs tmux: Debian's package tmux brings it"),
    pytest.mark.timeout(5 * DEADLINE_S),
]
WATCH = f"{sys.executable} -m handoffd status --watch --interval 0.2"


class Answers:
    """A socket that answers every request with the status of the moment."""

    def __init__(self, path: Path) -> None:
        self.status: Status = a_status()
        self.asked = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = json.dumps(fields(outer.status)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, str]:
                return self.socket.accept()[0], "here"

        self._server = Server(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Window:
    """A shell in a window of tmux, on a server of our own."""

    def __init__(self) -> None:
        self._name = f"handoffd-test-{uuid.uuid4().hex[:12]}"

    def open(self) -> None:
        shell = "env -u NO_COLOR PS1=prompt: sh"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", shell)
        self.tmux("set-option", "-g", "history-limit", "5000")
        self.until("the shell", self.has_prompt)

    def tmux(self, *words: str) -> str:
        assert TMUX is not None
        done = subprocess.run(
            [TMUX, "-L", self._name, *words], check=True, capture_output=True, text=True, timeout=DEADLINE_S
        )
        return done.stdout

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)
        self.keys("Enter")

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def all_text(self) -> str:
        return self.tmux("capture-pane", "-p", "-S", "-")

    def has_prompt(self) -> bool:
        """Tell whether the shell waits for a command, and whatever ran before has said all it had to say."""
        return self.text().rstrip().endswith("prompt:")

    def cursor_is_shown(self) -> bool:
        return self.tmux("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        ends = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < ends, f"{what} did not come:\n{self.text()}"
            time.sleep(0.02)

    def is_as_it_was(self) -> bool:
        """Tell whether keys are echoed and edited again, and the cursor is there."""
        self.type("clear; stty -a")
        self.until("stty", lambda: "icanon" in self.text() and self.has_prompt())
        text = self.text()
        return " echo " in text and " icanon " in text and "-icanon" not in text and self.cursor_is_shown()

    def close(self) -> None:
        self.tmux("kill-server")


def serves_once(window: Window) -> bool:
    """Tell whether one page is there, none above it; between two of tmux's reads a page may be half drawn."""
    return window.all_text().count("bob-vm serves") == 1


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


@pytest.fixture
def answers(ground: Ground) -> Iterator[Answers]:
    made = Answers(ground.root / "relay/handoffd.sock")
    yield made
    made.close()


@pytest.fixture
def window() -> Iterator[Window]:
    made = Window()
    try:
        made.open()
        yield made
    finally:
        made.close()


def begin(window: Window, ground: Ground, more: str = "; echo code=$?") -> None:
    window.type(f"{WATCH} --root {ground.root}{more}")
    window.until("the page", lambda: "again every 0.2 s" in window.text())


def test_it_refreshes_in_place_and_the_last_page_stays(window: Window, ground: Ground, answers: Answers) -> None:
    begin(window, ground)
    assert not window.cursor_is_shown()
    error = Concern("wrong_token", "the peer does not know our token", "exchange the tokens again", "alice-vm")
    answers.status = a_status(links=(replace(LINK, state="refused", error=error),))
    window.until("the warning", lambda: "warning: alice-vm: wrong_token" in window.text())
    asked = answers.asked
    window.until("more looks", lambda: answers.asked > asked + 5)
    window.until("one page", lambda: serves_once(window))
    window.keys("C-c")
    window.until("the end", lambda: "code=1" in window.text())
    assert "warning: alice-vm: wrong_token" in window.text()
    assert window.is_as_it_was()


def test_q_ends_it_with_the_verdict_and_other_keys_do_nothing(window: Window, ground: Ground, answers: Answers) -> None:
    begin(window, ground)
    window.keys("x", "y", "Enter")
    asked = answers.asked
    window.until("more looks", lambda: answers.asked > asked + 3)
    window.until("one page", lambda: serves_once(window))
    window.keys("q")
    window.until("the end", lambda: "code=0" in window.text())
    assert window.is_as_it_was()


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("HUP", 129)])
def test_a_signal_ends_it_and_the_terminal_is_whole(
    window: Window, ground: Ground, answers: Answers, name: str, code: int
) -> None:
    own = ground.root / "pid"
    window.type(f"sh -c 'echo $$ > {own}; exec {WATCH} --root {ground.root}'; echo code=$?")
    window.until("the page", lambda: "again every 0.2 s" in window.text())
    subprocess.run(["kill", f"-{name}", own.read_text().strip()], check=True, timeout=DEADLINE_S)
    window.until("the end", lambda: f"code={code}" in window.text())
    assert window.is_as_it_was()


def test_it_can_be_stopped_and_taken_up_again(window: Window, ground: Ground, answers: Answers) -> None:
    begin(window, ground)
    window.keys("C-z")
    window.until("the shell", window.has_prompt)
    assert window.cursor_is_shown()
    window.type("fg")
    asked = answers.asked
    window.until("more looks", lambda: answers.asked > asked + 3 and not window.cursor_is_shown())
    window.keys("q")
    window.until("the end", lambda: "code=0" in window.text() or window.text().rstrip().endswith("prompt:"))
    assert window.is_as_it_was()


@pytest.mark.parametrize(("columns", "rows"), [(40, 8), (20, 3), (200, 50)])
def test_it_fits_a_window_of_another_size(
    window: Window, ground: Ground, answers: Answers, columns: int, rows: int
) -> None:
    begin(window, ground)
    window.tmux("resize-window", "-x", str(columns), "-y", str(rows))
    small = rows < 24

    def fits() -> bool:
        lines = window.text().rstrip().splitlines() or [""]
        whole = "more lines" in lines[-1] if small else "again every" in lines[-1]
        return whole and len(lines) <= rows and lines[0].startswith("bob-vm serves")

    window.until("the page in its new size", fits)
    window.tmux("resize-window", "-x", "80", "-y", "24")
    window.until(
        "the page in its old size",
        lambda: "again every 0.2 s" in window.text() and window.text().count("bob-vm serves") == 1,
    )
    window.keys("q")
    window.until("the end", lambda: "code=0" in window.text())


def test_a_page_fits_the_usual_window(window: Window, ground: Ground, answers: Answers) -> None:
    begin(window, ground)
    assert all(len(line) <= 80 for line in window.text().splitlines())
    assert "…" not in window.text()
    window.keys("q")


def test_a_daemon_that_ends_and_comes_back_is_followed(window: Window, ground: Ground) -> None:
    window.type(f"{WATCH} --root {ground.root}; echo code=$?")
    window.until("the warning", lambda: "warning: stopped: no daemon runs" in window.text())
    answers = Answers(ground.root / "relay/handoffd.sock")
    try:
        window.until("the daemon", lambda: "ready, up 1h00m" in window.text() and "warning" not in window.text())
    finally:
        answers.close()
    window.until("the end of the daemon", lambda: "warning: stopped: no daemon runs" in window.text())
    window.keys("C-c")
    window.until("the end", lambda: "code=69" in window.text())
