"""The status page in a real browser: what it shows, to whom, and what it does when things change or break."""

import itertools
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from tests.spec.daemon.rig import Host, payload, until
from tests.spec.page.browser import DESKTOP, PHONE, Browser
from tests.spec.page.scene import WORDS, Scene

pytestmark = pytest.mark.timeout(600)

HOSTILE = '<img src=x onerror="window.caught=1"><script>window.caught=1</script>&lt;b&gt;"\'`${1}'


@pytest.fixture
def page(browser: Browser, played: Scene) -> Browser:
    """bob-vm's page, signed in, with all of it there."""
    browser.open(played.link())
    browser.until("it is live", lambda: is_live(browser))
    for part in ("#host", "#links h3", "#states button", "#open tr", "#ended tr"):
        browser.until(f"{part} is told", lambda part=part: browser.seen(part))
    return browser


def row(tid: str) -> str:
    return f'tr[data-tid="{tid}"]'


def show(page: Browser, tid: str) -> None:
    page.click(f"{row(tid)} a")
    page.until("its story is told", lambda: tid[:12] in page.text("#story dl") and page.seen("#story svg"))


def is_live(browser: Browser) -> bool:
    return browser.text("#live") == "live"


# ---------------------------------------------------------------- what it shows


def test_every_handoff_is_in_its_state(page: Browser, played: Scene) -> None:
    states = {
        played.rejected: "rejected",
        played.expired: "expired",
        played.doubtful: "in doubt",
        played.returned: "completed",
        played.talk: "completed",
        played.queued: "queued",
        played.waiting: "published",
        played.held: "claimed",
    }
    page.until("every one is in its state", lambda: {tid: page.text(f"{row(tid)} .state") for tid in states} == states)
    tiles = dict(page.each("#states button", lambda tile: (tile.get_attribute("data-word"), tile.text.split()[0])))
    assert (tiles["completed"], tiles["claimed"], tiles["published"]) == ("9", "1", "1")
    assert "delivered" not in page.text().lower()


def test_a_state_can_be_looked_at_alone(page: Browser, played: Scene) -> None:
    page.click('#states button[data-word="rejected"]')
    page.until(
        "one row is left",
        lambda: page.each("tbody tr", lambda node: node.get_attribute("data-tid")) == [played.rejected],
    )
    pressed = page.each('#states button[data-word="rejected"]', lambda node: node.get_attribute("aria-pressed"))
    assert pressed == ["true"]
    page.click('#states button[data-word="rejected"]')
    page.until("all are back", lambda: len(page.all("#ended tr")) > 5)


def test_links_say_what_is_wrong_and_what_to_do(page: Browser) -> None:
    cards = {text.split()[0]: text for text in page.each("#links > li", lambda card: card.text)}
    assert "up" in cards["alice-vm"].split()
    assert "unreachable" in cards["gordon-vm"]
    assert "check that the peer's daemon runs" in cards["gordon-vm"]
    assert "gordon-vm" in page.text("#warnings")


def test_a_story_is_the_one_that_trace_tells(page: Browser, played: Scene) -> None:
    show(page, played.talk)
    told = played.bob.tell("trace", played.talk)
    words = page.script("return document.querySelector('#story svg').getAttribute('aria-label')") or ""
    assert [step["event"] for step in told["timeline"]] == [
        step.split(": ")[1].split(" at ")[0] for step in words.partition(". ")[2].split("; ")
    ]
    drawn = page.script("return [...document.querySelectorAll('#story svg text')].map((node) => node.textContent)")
    assert {"bob-vm", "alice-vm", "this host"} <= set(drawn)
    for step in told["timeline"]:
        assert step["event"] in drawn
        assert step["at"][11:23] in drawn
    for note in told["notes"]:
        assert note in page.text("#story .notes")


def test_a_receivers_story_says_that_the_other_hosts_times_are_not_known(page: Browser, played: Scene) -> None:
    show(page, played.returned)
    drawn = page.script("return [...document.querySelectorAll('#story svg text')].map((node) => node.textContent)")
    assert {"alice-vm", "times not known here", "bob-vm", "published", "claimed", "completed"} <= set(drawn)


def test_the_picture_has_its_marks_in_order_of_time_and_inside_its_frame(page: Browser, played: Scene) -> None:
    for size in (DESKTOP, PHONE):
        page.dress(size=size)
        show(page, played.talk)
        page.until("it is drawn for this width", lambda: page.script(FITS))
        places = page.script(
            """
            const frame = document.querySelector("#story svg").getBoundingClientRect();
            return [...document.querySelectorAll("#story svg .mark")].map((mark) => {
              const box = mark.getBoundingClientRect(), dot = mark.querySelector("circle").getBoundingClientRect();
              const across = box.left >= frame.left - 1 && box.right <= frame.right + 1;
              return [dot.top, across && box.bottom <= frame.bottom + 1];
            });
            """
        )
        heights = [height for height, _ in places]
        told = played.bob.tell("trace", played.talk)["timeline"]
        heard = [
            step
            for step in told
            if step["host"] != "bob-vm" and step["corrected"] and step["known_here_ms"] is not None
        ]
        assert len(heard) >= 3
        assert len(heights) == len(told) + len(heard)
        assert heights == sorted(heights)
        assert all(inside for _, inside in places)


FITS = """
const box = document.querySelector("#story svg").getBoundingClientRect();
return box.left >= 0 && box.right <= document.documentElement.clientWidth;
"""
NAMES = [("a", "b"), ("bob-vm", "alice-vm"), ("b" * 63, "a" * 63), ("b" * 20, "a" * 14), ("m" * 63, "i")]


def test_hosts_names_stay_apart_and_inside(page: Browser) -> None:
    for names, width in itertools.product(NAMES, (280, 328, 460)):
        here, there = names
        steps = [
            {"at": "2026-11-20T10:00:00.000Z", "after_ms": 0, "host": here, "event": "started", "known_here_ms": None},
            {"at": "2026-11-20T10:00:00.005Z", "after_ms": 5, "host": there, "event": "stored", "known_here_ms": 3},
        ]
        timeline = [{"corrected": True, **step} for step in steps]
        told = {"host": here, "peer": there, "role": "sender", "timeline": timeline}
        (left, middle), (other, right) = page.driver.execute_async_script(DRAW, told, width)
        assert 0 <= left < middle < other < right <= width, (names, width)


DRAW = """
const [told, width, done] = arguments;
const { picture } = await import("./story.js");
const drawn = picture(told, width);
document.querySelector("#story").hidden = false;
document.querySelector("#story").replaceChildren(drawn);
const left = drawn.getBoundingClientRect().left;
done([...drawn.querySelectorAll(".host")].map((node) => {
  const box = node.getBoundingClientRect();
  return [box.left - left, box.right - left];
}));
"""


def test_it_follows_without_being_loaded_again(page: Browser, played: Scene) -> None:
    tid = played.alice.hand_over("bob", ttl_s=900.0)
    page.until("it is published", lambda: page.text(f"{row(tid)} .state") == "published")
    show(page, tid)
    name = played.bob.claim(tid)
    page.until("it is claimed", lambda: page.text(f"{row(tid)} .state") == "claimed")
    page.until("its story goes on", lambda: "claimed" in page.text("#story svg"))
    played.bob.archive(name)
    page.until("it has ended", lambda: page.text(f"#ended {row(tid)} .state") == "completed")
    page.until("its story has ended", lambda: "completed" in page.text("#story svg"))
    assert tid not in page.each("#open tr", lambda node: node.get_attribute("data-tid"))


def test_what_is_not_known_any_more_is_said_so(page: Browser) -> None:
    page.script("location.hash = arguments[0]", "#handoff=" + "0" * 64)
    page.until("it says so", lambda: "Not known here any more" in page.text("#story"))
    assert [entry for entry in page.complaints() if "404" not in entry] == []


# ---------------------------------------------------------------- who is let in


def test_a_link_opens_once_and_leaves_no_trace(browser: Browser, played: Scene) -> None:
    link = played.link()
    browser.open(link)
    browser.until("it is live", lambda: is_live(browser))
    assert browser.script("return location.href") == link.partition("#")[0]
    assert browser.script("return document.cookie") == ""
    assert browser.script("return localStorage.length") == 0
    browser.script("location.reload()")
    browser.until("the tab is still let in", lambda: is_live(browser))
    browser.script("sessionStorage.clear()")
    browser.open(link)
    browser.until("a used link is told of", lambda: "has been used" in browser.text("#enter"))
    assert not browser.seen("#board")
    assert browser.script("return location.hash") == ""


def test_a_stranger_sees_a_page_that_tells_nothing(browser: Browser, played: Scene) -> None:
    browser.open(played.link().partition("#")[0])
    browser.script("sessionStorage.clear(); location.reload()")
    browser.until("it asks", lambda: "handoffd page" in browser.text("#enter"))
    source = browser.driver.page_source
    for word in ("bob-vm", "alice-vm", "bob → alice"):
        assert word not in source
    browser.write("#token", "not-a-token" + Keys.ENTER)
    browser.until("it is refused", lambda: "valid bearer token" in browser.text("#enter-why"))


def test_a_viewers_token_is_good_after_a_restart_and_a_link_is_not(browser: Browser, lone: Host) -> None:
    token, digest = viewer(lone)
    lone.add(f"\npage:\n  viewers: {digest}\n")
    lone.start().ready()
    browser.open(f"http://127.0.0.1:{lone.local_port}/page/")
    browser.write("#token", token + Keys.ENTER)
    browser.until("it is live", lambda: is_live(browser))
    lone.stop()
    browser.until("it says that it hears nothing", lambda: "may be old" in browser.text("#live"))
    lone.start().ready()
    browser.until("it is live again by itself", lambda: is_live(browser))
    browser.script("sessionStorage.clear()")
    browser.open(lone.tell("page")["near"][0])
    browser.until("it is live by a link", lambda: is_live(browser))
    lone.stop()
    lone.start().ready()
    browser.until("it asks for a new link", lambda: "handoffd page" in browser.text("#enter"))
    browser.complaints()


def test_beyond_loopback_it_takes_tls_and_a_token(browser: Browser, lone: Host) -> None:
    token, digest = viewer(lone)
    place = "address: {}, port: " + str(lone.tls_port)
    lone.edit(place.format("127.0.0.1"), place.format("0.0.0.0"))
    lone.add(f"\npage:\n  serve: everywhere\n  viewers: {digest}\n")
    lone.start().ready()
    near, far = (lone.tell("page")[where] for where in ("near", "far"))
    assert near[0].startswith(f"http://127.0.0.1:{lone.local_port}/page/#enter=")
    assert far[0].startswith(f"https://bob-vm:{lone.tls_port}/page/#enter=")
    browser.open(f"https://127.0.0.1:{lone.tls_port}/page/")
    browser.write("#token", token + Keys.ENTER)
    browser.until("it is live", lambda: is_live(browser))
    browser.complaints()


def viewer(host: Host) -> tuple[str, str]:
    """Make a viewer's token as docs/status-page.md says; return it and the name of the file with its hash."""
    page = (Path(__file__).parents[3] / "docs" / "status-page.md").read_text()
    command = re.search(r"^\(umask 077; .*viewer\.sha256\)$", page, re.MULTILINE)
    assert command is not None
    place = host.directory / "tokens"
    subprocess.run(command[0], shell=True, cwd=place, check=True, timeout=30)
    return (place / "viewer.token").read_text().strip(), "tokens/viewer.sha256"


# ---------------------------------------------------------------- what it never does


def test_no_word_of_a_payload_reaches_the_browser(browser: Browser, played: Scene) -> None:
    secret = "a-word-of-the-payload"
    data = payload(
        "bob",
        "alice",
        ttl_s=900.0,
        reason=f"{secret}-reason",
        transcript=[{"role": "user", "text": f"{secret}-transcript"}],
        context_summary=f"{secret}-summary",
        pending_actions=[f"{secret}-action"],
        **{f"{secret}-field": f"{secret}-value"},
    )
    tid = played.bob.write(data)
    name = played.alice.claim(tid)
    browser.open(played.link())
    browser.until("it is live", lambda: is_live(browser) and browser.seen(row(tid)))
    show(browser, tid)
    played.alice.archive(name, appended=f"{secret}-answer")
    browser.until("it has ended", lambda: browser.text(f"#ended {row(tid)} .state") == "completed")
    show(browser, tid)
    assert secret not in browser.driver.page_source
    session = browser.script("return sessionStorage.getItem('handoffd.token')")
    told = played.bob.ask("GET", f"/page/handoffs/{tid}", token=session)
    assert (told.status, secret in told.data.decode(), told.body["payload"]) == (200, False, None)
    heard = browser.driver.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        const answer = await fetch("events", {headers: {Authorization: "Bearer " + sessionStorage["handoffd.token"]}});
        const reader = answer.body.getReader(), decoder = new TextDecoder();
        let text = "";
        while (!text.includes("event: handoffs")) text += decoder.decode((await reader.read()).value);
        while (!text.endsWith("\\n\\n")) text += decoder.decode((await reader.read()).value);
        reader.cancel();
        done(text);
        """
    )
    assert tid in heard
    assert secret not in heard


@pytest.fixture
def frank(played: Scene) -> Iterator[Scene]:
    """The scene with payloads switched on at bob-vm."""
    before = played.bob.config.read_text()
    reloads = len(played.bob.journal("config_reloaded"))
    played.bob.add("\npage: {show_payloads: true}\n")
    reload(played.bob, reloads + 1)
    yield played
    played.bob.config.write_text(before)
    reload(played.bob, reloads + 2)


def reload(host: Host, times: int) -> None:
    host.signal(signal.SIGHUP)
    until("it is taken up", lambda: len(host.journal("config_reloaded")) == times)


def test_hostile_words_are_shown_as_words(browser: Browser, frank: Scene) -> None:
    data = payload("bob", "alice", ttl_s=900.0, reason=HOSTILE, transcript=[{"role": "user", "text": HOSTILE}])
    tid = frank.bob.write(data)
    name = frank.alice.claim(tid)
    rejected = frank.alice.root / "rejected"
    (rejected / f"{name}.reason").write_text(HOSTILE)
    (frank.alice.root / "claimed" / name).rename(rejected / name)
    frank.bob.ended(tid)
    browser.open(frank.link())
    browser.until("it is live", lambda: is_live(browser) and browser.seen(row(tid)))
    show(browser, tid)
    assert HOSTILE in browser.text("#story .words")
    browser.click("#story details:last-of-type summary")
    shown = browser.until("the payload is shown", lambda: browser.text("#story pre"))
    assert json.loads(shown)["transcript"][0]["text"] == HOSTILE
    assert browser.script("return window.caught") is None
    assert browser.all("main img, main script, #story b") == []


def test_the_browser_itself_refuses_markup_from_strings(page: Browser) -> None:
    caught = page.script(
        "try { document.body.innerHTML = '<p>x</p>'; return ''; } catch (error) { return error.name; }"
    )
    assert caught == "TypeError"
    page.until("it complains", lambda: any("TrustedHTML" in entry for entry in page.complaints()))


def test_nothing_is_asked_of_another_host_and_the_policy_is_never_offended(page: Browser, played: Scene) -> None:
    show(page, played.talk)
    asked = page.requests() - {"about:blank"}
    own = played.link().partition("#")[0]
    assert {url for url in asked if not url.startswith(own)} == set()
    assert {url.removeprefix(own) for url in asked} >= {"", "page.js", "page.css", "events", f"handoffs/{played.talk}"}
    assert page.complaints() == []


def test_a_hidden_page_gives_its_seat_back(page: Browser, played: Scene) -> None:
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    page.script(hide % "true" + tell)
    page.until("it rests", lambda: page.text("#live") == "paused")
    tid = played.alice.hand_over("bob", ttl_s=900.0)
    played.bob.published(tid)
    page.script(hide % "false" + tell)
    page.until("it is live again, and up to date", lambda: is_live(page) and page.seen(row(tid)))
    played.bob.archive(played.bob.claim(tid))


# ---------------------------------------------------------------- for everybody


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_barrier(page: Browser, played: Scene, dark: bool, size: tuple[int, int]) -> None:
    page.dress(dark=dark, size=size)
    assert page.faults() == []
    for tid in (played.rejected, played.doubtful, played.held):
        show(page, tid)
        page.click("#story summary")
        assert page.faults() == []
    page.script("sessionStorage.clear(); location.reload()")
    page.until("it asks", lambda: page.seen("#enter"))
    assert page.faults() == []


def test_axe_would_find_one(page: Browser) -> None:
    page.script("const style = document.querySelector('#live').style; style.color = '#ccc'; style.background = '#fff'")
    assert any(fault.startswith("color-contrast") for fault in page.faults())


def test_no_width_needs_scrolling_sideways(page: Browser, played: Scene) -> None:
    beyond = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for width in (320, 360, 480, 640, 700, 820, 1024, 1280, 1600):
        page.dress(size=(width, 800))
        for tid in (played.talk, played.rejected):
            show(page, tid)
            assert page.script(beyond) <= 0, width
        page.click("#story .close")
        assert page.script(beyond) <= 0, width


def test_all_of_it_can_be_reached_and_left_by_keyboard(page: Browser, played: Scene) -> None:
    page.script("document.body.tabIndex = -1; document.body.focus()")
    reached = []
    for _ in range(40):
        node = page.tab()
        reached.append(node.get_attribute("data-word") or node.get_attribute("href") or node.tag_name)
        assert page.script("return getComputedStyle(document.activeElement).outlineStyle") != "none", reached[-1]
        if reached[-1].endswith(played.talk):
            break
    states = [word for word in reached if "#" not in word]
    assert states[:4] == ["queued", "stored", "published", "claimed"]
    page.press(Keys.ENTER)
    page.until("its story has the focus", lambda: page.script("return document.activeElement.id") == "story")
    assert page.tab().text == "Close"
    assert page.tab().tag_name == "summary"
    page.press(Keys.ESCAPE)
    page.until(
        "the focus is back where it was",
        lambda: (page.script("return document.activeElement.href") or "").endswith(played.talk),
    )
    assert not page.seen("#story")


def test_news_do_not_take_the_focus_away(page: Browser, played: Scene) -> None:
    page.script("document.querySelector(arguments[0]).focus()", f"{row(played.held)} a")
    tid = played.alice.hand_over("bob", ttl_s=900.0)
    page.until("news came", lambda: page.seen(row(tid)))
    assert page.script("return document.activeElement.href").endswith(played.held)
    page.script('document.querySelector(`#states button[data-word="claimed"]`).focus()')
    played.bob.archive(played.bob.claim(tid))
    page.until("news came again", lambda: page.seen(f"#ended {row(tid)}"))
    assert page.script("return document.activeElement.dataset.word") == "claimed"


def test_only_the_line_about_the_stream_speaks_by_itself(page: Browser) -> None:
    speaking = page.all("[aria-live], [role=status], [role=alert], [role=log]")
    assert [node.get_attribute("id") for node in speaking] == ["live"]


def test_words(played: Scene, page: Browser) -> None:
    show(page, played.rejected)
    assert WORDS in page.text("#story .words")
