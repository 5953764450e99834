"""A headless Chromium, and what the tests of the status page need of it.

It knows the browser and nothing of handoffd. The rules that must stay true: every wait is for a condition and has a
deadline; no browser outlives its test; and nothing is fetched from anywhere but the page's own host.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

T = TypeVar("T")

DEADLINE_S = 30.0
"""Generous: a busy machine is no reason to fail."""
REDRAWN_AT_MOST = 20
SCRIPT_S = 120.0
"""For a script that answers later, such as axe: Selenium's own 30 s are few on a busy machine."""
DESKTOP, PHONE = (1280, 900), (360, 780)


def missing() -> str:
    """Return what is missing for a browser, empty if nothing is."""
    for command, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(command) is None:
            return f"no `{command}` here; on Debian: apt-get install {package}"
    return ""


@dataclass
class Browser:
    """One window."""

    driver: webdriver.Chrome

    # ------------------------------------------------------------ going somewhere

    def open(self, url: str) -> None:
        self.driver.get("about:blank")  # else a link that differs in its fragment alone loads nothing
        self.driver.get(url)

    def dress(self, *, dark: bool = False, size: tuple[int, int] = DESKTOP) -> None:
        """Show pages as on a screen of this size in pixels, to a person who likes them light or dark."""
        width, height = size
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        calm = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.command("Emulation.setEmulatedMedia", features=[scheme, calm])
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if width < 500 else 1,
            mobile=width < 500,
        )

    def still(self) -> None:
        """Wait until what was last changed has been drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )

    def command(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Give the browser a command of the DevTools protocol."""
        told: dict[str, Any] = self.driver.execute_cdp_cmd(name, parameters)
        return told

    # ------------------------------------------------------------ what is on the page

    def until(self, what: str, condition: Callable[[], T | None]) -> T:
        """Wait until the condition returns something true, and return it."""
        ignored = (Exception,)  # the page redraws itself between two questions
        wait = WebDriverWait(self.driver, DEADLINE_S, 0.05, ignored_exceptions=ignored)
        return wait.until(lambda _: condition(), f"not within {DEADLINE_S:g} s: {what}\n{self.text()}")

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def each(self, selector: str, told: Callable[[WebElement], T]) -> list[T]:
        """Return what is told of each; asked again of all if one was drawn anew meanwhile."""
        for _ in range(REDRAWN_AT_MOST):
            with contextlib.suppress(StaleElementReferenceException):
                return [told(node) for node in self.all(selector)]
        raise AssertionError(f"{selector} is drawn anew all the time")

    def seen(self, selector: str) -> bool:
        return any(self.each(selector, WebElement.is_displayed))

    def text(self, selector: str = "body") -> str:
        """Return what a reader sees, and nothing that is hidden."""
        return "\n".join(self.each(selector, lambda node: node.text))

    def click(self, selector: str) -> None:
        """Click the first of these as soon as it can be clicked."""
        self.until(f"{selector} can be clicked", lambda: self.all(selector)[0].click() is None)

    def write(self, selector: str, *keys: str) -> None:
        """Write into a field as soon as it takes something."""
        self.until(f"{selector} can be written into", lambda: self.all(selector)[0].send_keys(*keys) is None)

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def press(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab(self) -> WebElement:
        """Press the tabulator and return where the focus is now."""
        self.press(Keys.TAB)
        return self.driver.switch_to.active_element

    def complaints(self) -> list[str]:
        """Return what the browser has complained of since the last call: scripts, the policy, missing files."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """Return what the browser has asked for since the last call."""
        entries = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = (entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent")
        return {params["request"]["url"] for params in sent}

    def faults(self) -> list[str]:
        """Return what axe finds against WCAG 2.1 AA, one line each."""
        if not self.script("return Boolean(window.axe)"):
            self.script(files("axe_core_python").joinpath("axe.min.js").read_text())
        found = self.driver.execute_async_script(_AXE)
        return [_fault(rule, node) for rule in found["violations"] for node in rule["nodes"]]


def _fault(rule: dict[str, Any], node: dict[str, Any]) -> str:
    words = "; ".join(one["message"] for one in (*node["any"], *node["all"], *node["none"]))
    return f"{rule['id']}: {node['html'][:160]} ({words})"


_AXE = """
const done = arguments[arguments.length - 1];
axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}).then(done);
"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser until the end of the block. It trusts no certificate it should not, but the tests' own."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.accept_insecure_certs = True
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in ("--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # the sandbox refuses root
        options.add_argument("--no-sandbox")
    options.add_argument("--disable-dev-shm-usage")  # containers have a small one
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(SCRIPT_S)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
