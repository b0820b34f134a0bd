"""A headless Chromium for tests, driven by its DevTools protocol over a pipe: no further package is needed.

with Chromium() as browser:
    page = browser.open(path, width=390, dark=True)
    page.evaluate("document.title"), page.messages
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60


def executable() -> str | None:
    """The browser of this machine, if it has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """One browser; its pages share nothing but the process."""

    def __enter__(self) -> "Chromium":
        program = executable()
        assert program
        self.profile = tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        into, self.write = os.pipe()
        self.read, out = os.pipe()

        def as_three_and_four() -> None:
            saved = os.dup(into), os.dup(out)
            os.dup2(saved[0], 3)
            os.dup2(saved[1], 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--hide-scrollbars", f"--user-data-dir={self.profile.name}",
             "--remote-debugging-pipe"],
            close_fds=False, preexec_fn=as_three_and_four, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(into)
        os.close(out)
        self.buffer, self.number = b"", 0
        self.events: list[dict[str, Any]] = []
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.write)
        os.close(self.read)
        self.profile.cleanup()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result; events that come before it are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            found = self._next()
            if found.get("id") == self.number:
                assert "error" not in found, found
                return found["result"]
            self.events.append(found)
        raise TimeoutError(method)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            part = os.read(self.read, 1 << 20)
            assert part, "the browser has ended"
            self.buffer += part
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def open(self, path: Path, width: int = 1280, dark: bool = False, height: int = 900) -> "BrowserPage":
        """A page from disk, when it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = BrowserPage(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Page.navigate", url=path.absolute().as_uri())
        page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return page


class BrowserPage:
    """One tab."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self.browser, self.session = browser, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; a promise is awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        ends = time.monotonic() + SECONDS
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < ends, f"waited in vain for {expression}"
            time.sleep(0.1)

    def draw_all(self) -> None:
        """Scroll through the page until every figure is drawn."""
        self.evaluate("document.querySelectorAll('[data-figure]').forEach((each) => each.scrollIntoView())")
        count = "document.querySelectorAll('[data-figure] svg.marks').length"
        figures = self.evaluate("document.querySelectorAll('[data-figure]').length")
        for place in range(figures):
            self.evaluate(f"document.querySelectorAll('[data-figure]')[{place}].scrollIntoView()")
            time.sleep(0.05)
        self.wait(f"{count} === {figures}")
        self.evaluate("scrollTo(0, 0)")

    @property
    def messages(self) -> list[str]:
        """Errors and warnings of the console, uncaught errors, and requests that left the page."""
        self.evaluate("0")
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            method, told = event["method"], event.get("params", {})
            if method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
                found.append(str([each.get("value", each.get("description")) for each in told["args"]]))
            elif method == "Runtime.exceptionThrown":
                found.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"])))
            elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                found.append(told["entry"]["text"])
            elif method == "Network.requestWillBeSent" and told["request"]["url"].startswith(("http", "ws")):
                found.append(f"request: {told['request']['url']}")
        return found

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """A picture of the page, or of what the window shows of it."""
        if whole:
            self.clip(path, 0, min(9000, self.evaluate("document.documentElement.scrollHeight")))
        else:
            path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def clip(self, path: Path, top: int, height: int) -> None:
        width = self.evaluate("document.documentElement.clientWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))
