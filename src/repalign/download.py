"""Fetching one file by its checksum: resumed, retried, and put in place whole or not at all."""

import contextlib
import functools
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import requests
import urllib3
from tqdm import tqdm

from repalign.errors import DownloadError

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16


class _AddressError(Exception):
    """This address does not give the file."""


class _PassingError(_AddressError):
    """This address does not give the file now; another attempt may."""


def download(
    target: Path,
    urls: Sequence[str],
    *,
    sha256: str | None = None,
    md5: str | None = None,
    name: str | None = None,
    mirror: str | None = None,
    timeout: float = 30.0,
    attempts: int = 4,
    pause: float = 1.0,
) -> str:
    """Fetch one file to ``target`` and return where it came from (``target`` itself if it was there and right).

    ``urls`` are tried in order. A ``mirror`` (folder or http(s) address) replaces them: there the file is looked for
    as MIRROR/``name`` and then as MIRROR/(last part of ``name``). Every digest given is checked; one is required.

    Each address gets up to ``attempts`` requests, ``pause * 2**k`` seconds apart; ``timeout`` seconds without data end
    a request. Bytes arrive in ``<target>.part``, which a later request continues, even after the process was killed.
    If the fetch fails, it leaves neither ``target`` nor ``.part``. One process at a time may fetch a target.
    """
    name = name or target.name
    wanted = {kind: digest.lower() for kind, digest in (("sha256", sha256), ("md5", md5)) if digest}
    if not wanted:
        raise DownloadError(f"{name}: no checksum given, so the file could not be trusted; give sha256 or md5.")
    part = target.with_name(target.name + ".part")
    try:
        if target.is_file():
            problem = _mismatch(target, wanted)
            if problem is None:
                return str(target)
            logger.warning("%s: fetched again, for its %s", target, problem)
        try:
            return _Fetch(name, part, wanted, timeout, attempts, pause).to(target, urls, mirror)
        except BaseException:
            for left in (part, target):
                with contextlib.suppress(OSError):
                    left.unlink()
            raise
    except OSError as error:
        reason = f"{target} cannot be read or written: {_one_line(error)}"
        raise DownloadError(f"{name}: {reason}. Mend that and try again.") from error


@dataclass(frozen=True)
class _Fetch:
    name: str
    part: Path
    wanted: Mapping[str, str]
    timeout: float
    attempts: int
    pause: float

    def to(self, target: Path, urls: Sequence[str], mirror: str | None) -> str:
        addresses = list(urls)
        get: Callable[[str], None] = self.from_web
        advice = "Try again later, or put the file into a folder and set download.mirror to that folder."
        if mirror:
            advice = "Put the right file there, or unset download.mirror."
            names = dict.fromkeys((self.name, self.name.rpartition("/")[2]))
            if re.match(r"https?://", mirror, re.IGNORECASE):
                addresses = [f"{mirror.rstrip('/')}/{quote(candidate)}" for candidate in names]
            else:
                folder, get = Path(mirror).expanduser(), self.from_folder
                addresses = [str(folder / candidate) for candidate in names]
                if not folder.is_dir():
                    missing = f"no mirror folder {folder} to hold {' or '.join(addresses)}"
                    raise DownloadError(f"{self.name}: {missing}. {advice}")
        target.parent.mkdir(parents=True, exist_ok=True)
        problems = []
        for address in addresses:
            try:
                get(address)
            except _AddressError as error:
                problems.append(f"{address}: {_one_line(error)}")
                logger.warning("%s: not from %s", self.name, problems[-1])
                continue
            self.part.replace(target)
            logger.info("%s: fetched from %s", self.name, address)
            return address
        raise DownloadError(f"{self.name}: not fetched: {'; '.join(problems) or 'no address given'}. {advice}")

    def from_folder(self, source: str) -> None:
        if not Path(source).is_file():
            raise _AddressError("no such file")
        with Path(source).open("rb") as original, self.part.open("wb") as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
        if problem := _mismatch(self.part, self.wanted):
            raise _AddressError(problem)

    def from_web(self, url: str) -> None:
        tried, second_chance = 0, True
        while True:
            tried += 1
            try:
                resumed = self.request(url)
            except _PassingError as error:
                if tried >= self.attempts:
                    raise _AddressError(f"{error} (attempt {tried}, the last)") from error
                logger.warning("%s: %s: %s, trying again", self.name, url, error)
                time.sleep(self.pause * 2 ** (tried - 1))
                continue
            problem = _mismatch(self.part, self.wanted)
            if problem is None:
                return
            self.part.unlink()
            # The fault may lie in the older bytes that were continued: only a file fetched whole condemns an address.
            if not (resumed and second_chance):
                raise _AddressError(problem)
            second_chance = False

    def request(self, url: str) -> bool:
        """Ask once for what the part lacks and write it there; tell whether older bytes were continued."""
        offset = self.part.stat().st_size if self.part.is_file() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        try:
            response = requests.get(url, headers=headers, stream=True, timeout=self.timeout)
        except requests.Timeout as error:
            raise _PassingError(f"no answer within {self.timeout:g} s") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            reason = _one_line(error).rpartition(": ")[2].rstrip("\"')")  # the innermost of nested messages
            raise _PassingError(f"no connection ({reason})") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _AddressError(f"{type(error).__name__} ({error})") from error
        with response:
            status, resumed = response.status_code, False
            if offset and status in (206, 416):
                resumed = status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
                if not resumed:
                    response.close()
                    self.part.unlink()
                    return self.request(url)
            elif status == 429 or status >= 500:
                raise _PassingError(f"HTTP {status}")
            elif status != 200:
                raise _AddressError(f"HTTP {status}")
            length = response.headers.get("Content-Length", "?")
            self.receive(response, offset if resumed else 0, int(length) if length.isdigit() else None)
        return resumed

    def receive(self, response: requests.Response, start: int, size: int | None) -> None:
        got, total = 0, None if size is None else start + size
        with (
            self.part.open("ab" if start else "wb") as file,
            tqdm(desc=self.name, total=total, initial=start, unit="B", unit_scale=True, disable=None) as bar,
        ):
            try:
                # Undecoded: a server that labels a .gz file "Content-Encoding: gzip" must not get it unpacked here.
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    file.write(chunk)
                    got += len(chunk)
                    bar.update(len(chunk))
            except urllib3.exceptions.ReadTimeoutError as error:
                raise _PassingError(f"stalled for {self.timeout:g} s after {got} bytes") from error
            except urllib3.exceptions.HTTPError as error:
                raise _PassingError(f"broke off after {got} of {size or '?'} bytes") from error
            file.flush()
            os.fsync(file.fileno())
        if size is not None and got < size:  # urllib3 below 2 does not tell
            raise _PassingError(f"broke off after {got} of {size} bytes")


def _mismatch(path: Path, wanted: Mapping[str, str]) -> str | None:
    for kind, expected in wanted.items():
        # Some builds of Python refuse md5 unless it is said that it guards nothing.
        new = functools.partial(hashlib.new, kind, usedforsecurity=False)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, new).hexdigest()
        if found != expected:
            return f"{kind} is {found}, expected {expected}"
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
