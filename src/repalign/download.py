"""Fetching one file by its checksum: resumed, retried, and put in place whole or not at all."""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import requests
import urllib3
from tqdm import tqdm  # type: ignore[import-untyped]

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
    If this function raises, it leaves neither ``target`` nor ``.part``. One process at a time may fetch a target.
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
            return _fetch_any(target, part, urls, wanted, name, mirror, timeout, attempts, pause)
        except BaseException:
            for left in (part, target):
                with contextlib.suppress(OSError):
                    left.unlink()
            raise
    except OSError as error:
        reason = _one_line(error)
        raise DownloadError(f"{name}: {target} cannot be read or written: {reason}. Mend that and try again.") from error


def _fetch_any(
    target: Path,
    part: Path,
    urls: Sequence[str],
    wanted: Mapping[str, str],
    name: str,
    mirror: str | None,
    timeout: float,
    attempts: int,
    pause: float,
) -> str:
    addresses, advice = list(urls), "Try again later, or put the file into a folder and set download.mirror to it."
    from_folder = False
    if mirror:
        advice = "Put the right file there, or unset download.mirror."
        names = dict.fromkeys((name, name.rpartition("/")[2]))
        from_folder = re.match(r"https?://", mirror, re.IGNORECASE) is None
        if from_folder:
            folder = Path(mirror).expanduser()
            addresses = [str(folder / candidate) for candidate in names]
            if not folder.is_dir():
                looked_for = " or ".join(addresses)
                raise DownloadError(f"{name}: no mirror folder {folder} to hold {looked_for}. Make it. {advice}")
        else:
            addresses = [f"{mirror.rstrip('/')}/{quote(candidate)}" for candidate in names]
    target.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    for address in addresses:
        try:
            if from_folder:
                _copy(Path(address), part, wanted)
            else:
                _fetch(address, part, wanted, name, timeout, attempts, pause)
        except _AddressError as error:
            problems.append(f"{address}: {_one_line(error)}")
            logger.warning("%s: not from %s", name, problems[-1])
            continue
        os.replace(part, target)
        logger.info("%s: fetched from %s", name, address)
        return address
    raise DownloadError(f"{name}: not fetched: {'; '.join(problems) or 'no address given'}. {advice}")


def _copy(source: Path, part: Path, wanted: Mapping[str, str]) -> None:
    if not source.is_file():
        raise _AddressError("no such file")
    with source.open("rb") as original, part.open("wb") as copy:
        shutil.copyfileobj(original, copy)
        copy.flush()
        os.fsync(copy.fileno())
    if problem := _mismatch(part, wanted):
        raise _AddressError(problem)


def _fetch(
    url: str, part: Path, wanted: Mapping[str, str], name: str, timeout: float, attempts: int, pause: float
) -> None:
    tried, second_chance = 0, True
    while True:
        tried += 1
        try:
            resumed = _request(url, part, name, timeout)
        except _PassingError as error:
            if tried >= attempts:
                raise _AddressError(f"{error} (attempt {tried}, the last)") from error
            logger.warning("%s: %s: %s, trying again", name, url, error)
            time.sleep(pause * 2 ** (tried - 1))
            continue
        problem = _mismatch(part, wanted)
        if problem is None:
            return
        part.unlink()
        # The fault may lie in the older bytes that were continued: only a file fetched whole speaks for the address.
        if not (resumed and second_chance):
            raise _AddressError(problem)
        second_chance = False


def _request(url: str, part: Path, name: str, timeout: float) -> bool:
    """Ask once for what ``part`` lacks and write it there; tell whether older bytes were continued."""
    offset = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=timeout)
    except requests.Timeout as error:
        raise _PassingError(f"no answer within {timeout:g} s") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _PassingError(f"no connection ({_one_line(error).rpartition(': ')[2]})") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _AddressError(f"{type(error).__name__} ({error})") from error
    with response:
        status, resumed = response.status_code, False
        if offset and status in (206, 416):
            resumed = status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
            if not resumed:
                response.close()
                part.unlink()
                return _request(url, part, name, timeout)
        elif status == 429 or status >= 500:
            raise _PassingError(f"HTTP {status}")
        elif status != 200:
            raise _AddressError(f"HTTP {status}")
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdigit() else None
        got, total = 0, None if size is None else size + offset * resumed
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(desc=name, total=total, initial=offset * resumed, unit="B", unit_scale=True, disable=None) as bar,
        ):
            try:
                # Undecoded: a server that labels a .gz file "Content-Encoding: gzip" must not get it unpacked here.
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    file.write(chunk)
                    got += len(chunk)
                    bar.update(len(chunk))
            except urllib3.exceptions.ReadTimeoutError as error:
                raise _PassingError(f"stalled for {timeout:g} s after {got} of {length or '?'} bytes") from error
            except urllib3.exceptions.HTTPError as error:
                raise _PassingError(f"broke off after {got} of {length or '?'} bytes") from error
            file.flush()
            os.fsync(file.fileno())
    if size is not None and got < size:  # urllib3 below 2 does not tell
        raise _PassingError(f"broke off after {got} of {size} bytes")
    return resumed


def _mismatch(path: Path, wanted: Mapping[str, str]) -> str | None:
    for kind, expected in wanted.items():
        with path.open("rb") as file:
            # "md5" is no protection here, and is refused by some builds of Python unless that is said.
            found = hashlib.file_digest(file, lambda kind=kind: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        if found != expected:
            return f"{kind} is {found}, expected {expected}"
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
