"""Chromium without a window, driven over a pipe with its DevTools protocol; it reaches nothing but files."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"),
    *("--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9"),
)


def lacking() -> str:
    """Why no browser can be started, or nothing."""
    if not any(map(shutil.which, NAMES)):
        return f"no browser: none of {', '.join(NAMES)} is on the PATH (make chromium installs one)"
    return "" if shutil.which("bash") else "bash is not on the PATH"


class Browser:
    """One page of a headless Chromium; `problems` gathers errors and every request that left the machine's files."""

    def __init__(self, profile: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()  # commands, answers
        program = next(filter(None, map(shutil.which, NAMES)))
        # The browser reads commands from descriptor 3 and answers on 4.
        line = [f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}', "bash", program, "--remote-debugging-pipe", *SWITCHES]
        self.process = subprocess.Popen(
            ["bash", "-c", *line, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(ours[0], theirs[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.commands, self.answers = os.fdopen(ours[1], "wb", 0), os.fdopen(theirs[0], "rb")
        self.left, self.count, self.session = b"", 0, None
        self.problems: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size()

    def size(self, width: int = 1400, height: int = 900) -> None:
        """The size of the page, in pixels."""
        narrow = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=narrow)

    def close(self) -> None:
        self.commands.close()
        self.answers.close()
        self.process.terminate()
        self.process.wait(timeout=20)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.left:
            more = self.answers.read1(1 << 20)
            if not more:
                raise RuntimeError(f"the browser ended with code {self.process.wait(timeout=20)}")
            self.left += more
        line, self.left = self.left.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(f"exception: {json.dumps(params)[:500]}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.problems.append(f"console: {json.dumps(params['args'])[:500]}")
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"log: {params['entry']['text'][:500]}")
        elif method == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if not address.startswith(("file:", "data:", "blob:", "about:")):
                self.problems.append(f"request: {address}")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What a command answers; events that come in between are noted."""
        self.count += 1
        sent = {"id": self.count, "method": method, "params": params}
        if self.session:
            sent["sessionId"] = self.session
        self.commands.write(json.dumps(sent).encode() + b"\0")
        while (message := self._message()).get("id") != self.count:
            pass
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        made = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in made:
            raise RuntimeError(f"{script}: {json.dumps(made['exceptionDetails'])[:600]}")
        return made["result"].get("value")

    def wait(self, script: str, seconds: float = 30) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"(async () => Boolean(await ({script})))()"):
            if time.monotonic() > end:
                raise TimeoutError(f"not true in {seconds} s: {script}")
            time.sleep(0.05)

    def open(self, path: Path, fragment: str = "") -> None:
        failed = self.call("Page.navigate", url=path.resolve().as_uri() + fragment).get("errorText")
        if failed:
            raise RuntimeError(f"{path}: {failed}")
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
