"""A headless Chromium through chromedriver's HTTP interface, without a library for it."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


class Browser:
    """One page of one browser."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, method: str, path: str, **body: Any) -> Any:
        """A WebDriver command's value."""
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, path: Path) -> None:
        """Shows a file."""
        self.send("POST", "/url", url=path.resolve().as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns."""
        return self.send("POST", "/execute/sync", script=script, args=list(arguments))

    def cdp(self, command: str, **parameters: Any) -> Any:
        """A command of Chromium's own."""
        return self.send("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def view(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """The size of the window and the preference for colours."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, *keys: str) -> None:
        """Key presses where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.send("POST", "/actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        picture = self.cdp("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(picture["data"])

    def log(self) -> list[str]:
        """Errors and warnings of the page so far."""
        entries = self.send("POST", "/se/log", type="browser")
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Starts a browser, and ends it."""
    assert DRIVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(
            [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            root = Browser(f"http://127.0.0.1:{port}")
            _wait_until_ready(root)
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            session = root.send("POST", "/session", capabilities={"alwaysMatch": wanted})["sessionId"]
            page = Browser(f"{root.url}/session/{session}")
            yield page
            page.send("DELETE", "")
        finally:
            driver.terminate()
            driver.wait()


def _wait_until_ready(root: Browser) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            if root.send("GET", "/status")["ready"]:
                return
        time.sleep(0.1)
    raise TimeoutError("chromedriver did not start within ten seconds")
