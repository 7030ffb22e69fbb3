"""A real browser for tests: Debian's chromium, driven by its chromedriver over W3C WebDriver, which is plain JSON.

https://www.w3.org/TR/webdriver2/. What is not in it (media features, the size of a phone) is the DevTools protocol's.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from pipeline.kafka.local.broker import free_port

CHROMIUM: Final = shutil.which("chromium")
DRIVER: Final = shutil.which("chromedriver")

PATIENCE_S: Final = 120.0
"""Limit of every wait, whatever the machine does besides."""

ARGUMENTS: Final = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
"""As root, in a container with little shared memory, the browser starts in no other way."""

UNTIL: Final = """
const [seconds, ...args] = arguments, end = Date.now() + 1000 * seconds;
const met = function () { return (CONDITION); };
return new Promise((done, fail) => {
  (function ask() {
    const value = met.apply(null, args);
    if (value) done(value);
    else if (Date.now() > end) fail(new Error(document.body.innerText));
    else setTimeout(ask, 25);
  })();
});
"""

TAB: Final = "\ue004"
SPACE: Final = " "


class Browser:
    """One session."""

    def __init__(self, client: httpx.Client, session: str) -> None:
        self._client = client
        self._session = session

    def open(self, url: str) -> None:
        """Go there, and return when it is loaded."""
        self._ask("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that the script returns; a promise is waited for."""
        return self._ask("execute/sync", script=script, args=list(arguments))

    def until(self, condition: str, *arguments: Any) -> Any:
        """Wait for an expression of the page to be true; its value."""
        script = UNTIL.replace("CONDITION", condition)
        return self.run(script, PATIENCE_S, *arguments)

    def press(self, *keys: str) -> None:
        """One after the other, whatever has the focus."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def look(self, width: int, height: int, scheme: Literal["light", "dark"]) -> None:
        """Take this size and these colours."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", screen)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def scripts(self, *, on: bool) -> None:
        """Run the page's scripts, or do not, from the next page on."""
        self._devtools("Emulation.setScriptExecutionDisabled", {"value": not on})

    def picture(self, path: Path, width: int, height: int) -> None:
        """A picture of the page's beginning, so high."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        path.write_bytes(base64.b64decode(self._devtools("Page.captureScreenshot", options)["data"]))

    def complaints(self) -> list[str]:
        """What the browser's console was told since it was asked last, violations of a policy among it."""
        return [str(one["message"]) for one in self._ask("se/log", type="browser")]

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._ask("goog/cdp/execute", cmd=command, params=parameters)

    def _ask(self, command: str, **parameters: Any) -> Any:
        answer = self._client.post(f"/session/{self._session}/{command}", json=parameters)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value


@contextmanager
def browsing(directory: Path) -> Iterator[Browser]:
    """A browser with a profile in `directory`, from its start to its end."""
    assert DRIVER is not None
    port = free_port()
    with (directory / "chromedriver.log").open("wb") as log:
        driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False) as client:
                session = _session(client, driver, directory)
                try:
                    yield Browser(client, session)
                finally:
                    client.delete(f"/session/{session}")
        finally:
            driver.terminate()
            driver.wait(PATIENCE_S)


def _session(client: httpx.Client, driver: subprocess.Popen[bytes], directory: Path) -> str:
    options = {"binary": CHROMIUM, "args": [*ARGUMENTS, f"--user-data-dir={directory / 'profile'}"]}
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}, "timeouts": {"script": 120_000}}
    transport = httpx.HTTPTransport(retries=8)  # until the driver listens: half a second, doubled each time
    with httpx.Client(base_url=client.base_url, timeout=PATIENCE_S, transport=transport, trust_env=False) as patient:
        answer = patient.post("/session", json={"capabilities": {"alwaysMatch": wanted}})
    assert driver.poll() is None
    assert answer.status_code == 200, answer.text
    return str(answer.json()["value"]["sessionId"])
