"""The downloader against a real local server that misbehaves in every way that is expected of servers."""

import contextlib
import gzip
import hashlib
import logging
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

import repalign
from repalign.download import download
from repalign.errors import DownloadError

CONTENT = random.Random(0).randbytes(300_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
ALTERED = CONTENT[:1000] + bytes([CONTENT[1000] ^ 1]) + CONTENT[1001:]
PAGE = b"<html><body>Sorry, try again later.</body></html>"


@dataclass(frozen=True)
class Answer:
    """What the server does with one request."""

    body: bytes = CONTENT
    status: int = 200
    ranges: bool = True  # honours a Range header
    shift: int = 0  # a 206 starts this much earlier than asked
    claimed: int = 0  # added to the true Content-Length
    cut: int | None = None  # closes the connection after so many bytes
    stall: int | None = None  # sends nothing more after so many bytes
    silent: bool = False  # sends no length
    slow: float = 0.0  # seconds between pieces of 16 KiB
    headers: dict[str, str] = field(default_factory=dict)


OK = Answer()
NO_RANGES = Answer(ranges=False)
MISSING = Answer(status=404, body=PAGE)
BROKEN = Answer(status=500, body=PAGE)


class Server(ThreadingHTTPServer):
    """Plays for each path its answers in turn, the last one for ever, and notes (path, Range) of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plans: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.encodings: set[str | None] = set()
        self.over = threading.Event()

    def plan(self, path: str, *answers: Answer) -> str:
        self.plans[path] = list(answers)
        return f"http://127.0.0.1:{self.server_port}{path}"

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.requests]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are part of the tests


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        self.server.encodings.add(self.headers.get("Accept-Encoding"))
        answers = self.server.plans.get(self.path, [MISSING])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        status, body, headers = answer.status, answer.body, dict(answer.headers)
        if asked and answer.ranges and status == 200:
            start = int(asked.removeprefix("bytes=").removesuffix("-")) - answer.shift
            if start >= len(body):
                status, body = 416, b""
            else:
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body = body[start:]
        self.send_response(status)
        if not answer.silent:
            headers["Content-Length"] = str(len(body) + answer.claimed)
        for key, value in {**headers, "Connection": "close"}.items():
            self.send_header(key, value)
        self.end_headers()
        until = next(length for length in (answer.cut, answer.stall, len(body)) if length is not None)
        for start in range(0, until, 1 << 14):
            self.wfile.write(body[start : min(start + (1 << 14), until)])
            self.server.over.wait(answer.slow)
        if answer.stall is not None:
            self.server.over.wait(5)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "train-images.gz"


@pytest.fixture
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mirror")


def fetch(target: Path, *urls: str, **settings: Any) -> str:
    if not {"sha256", "md5"} & set(settings):
        settings["sha256"] = SHA256
    return download(target, urls, **{"timeout": 5.0, "attempts": 3, "pause": 0.01, **settings})


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def assert_fetched(target: Path, content: bytes = CONTENT) -> None:
    assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]


def assert_fails(target: Path, *urls: str, **settings: Any) -> str:
    """The failure is one line that names the file, and leaves nothing behind."""
    with pytest.raises(DownloadError) as caught:
        fetch(target, *urls, **settings)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{settings.get('name', target.name)}: ")
    assert list(target.parent.iterdir()) == []
    return message


# The plain case


@pytest.mark.parametrize("digests", [{"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256.upper(), "md5": MD5}])
def test_fetches(server: Server, target: Path, digests: dict[str, str]) -> None:
    url = server.plan("/a.gz", OK)
    assert fetch(target, url, **digests) == url
    assert_fetched(target)
    assert server.requests == [("/a.gz", None)]
    assert server.encodings == {"identity"}


def test_creates_parent_folders(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "data" / "mnist" / "a.gz"
    fetch(target, server.plan("/a.gz", OK))
    assert_fetched(target)


def test_body_without_length(server: Server, target: Path) -> None:
    fetch(target, server.plan("/a.gz", Answer(silent=True)))
    assert_fetched(target)


def test_redirect_is_followed(server: Server, target: Path) -> None:
    elsewhere = server.plan("/b.gz", OK)
    fetch(target, server.plan("/a.gz", Answer(status=302, body=b"", headers={"Location": elsewhere})))
    assert_fetched(target)
    assert [path for path, _ in server.requests] == ["/a.gz", "/b.gz"]


def test_no_terminal_no_progress(server: Server, target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fetch(target, server.plan("/a.gz", OK))
    assert capfd.readouterr() == ("", "")


def test_checksum_is_required(server: Server, target: Path) -> None:
    message = assert_fails(target, server.plan("/a.gz", OK), sha256=None, md5=None)
    assert "sha256 or md5" in message
    assert server.requests == []


def test_every_checksum_counts(server: Server, target: Path) -> None:
    url = server.plan("/a.gz", OK)
    assert f"md5 is {MD5}, expected {'0' * 32}" in assert_fails(target, url, sha256=SHA256, md5="0" * 32)
    assert f"sha256 is {SHA256}, expected {'0' * 64}" in assert_fails(target, url, sha256="0" * 64, md5=MD5)


def test_good_target_is_kept_without_a_request(server: Server, target: Path) -> None:
    target.write_bytes(CONTENT)
    before = target.stat()
    assert fetch(target, server.plan("/a.gz", OK)) == str(target)
    assert_fetched(target)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert server.requests == []


def test_good_target_needs_no_mirror(target: Path, tmp_path: Path) -> None:
    target.write_bytes(CONTENT)
    assert fetch(target, mirror=str(tmp_path / "none")) == str(target)


def test_bad_target_is_replaced(server: Server, target: Path, caplog: pytest.LogCaptureFixture) -> None:
    target.write_bytes(ALTERED)
    with caplog.at_level(logging.INFO, "repalign.download"):
        fetch(target, server.plan("/a.gz", OK))
    assert_fetched(target)
    assert "fetched again" in caplog.text


def test_bad_target_does_not_survive_a_failure(server: Server, target: Path) -> None:
    target.write_bytes(ALTERED)
    assert_fails(target, server.plan("/a.gz", MISSING))


# Wrong content


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(body=ALTERED), id="altered"),
        pytest.param(Answer(body=PAGE, headers={"Content-Type": "text/html"}), id="page"),
        pytest.param(Answer(claimed=-1000), id="length-too-small"),
        pytest.param(Answer(silent=True, cut=200_000), id="cut-without-length"),
        pytest.param(Answer(body=b""), id="empty"),
    ],
)
def test_wrong_content(server: Server, target: Path, answer: Answer) -> None:
    url = server.plan("/a.gz", answer)
    message = assert_fails(target, url)
    until = len(CONTENT) - 1000 if answer.claimed else answer.cut
    found = hashlib.sha256(answer.body[:until]).hexdigest()
    assert f"{url}: sha256 is {found}, expected {SHA256}" in message
    assert "set download.mirror" in message
    assert len(server.requests) == 1  # what came whole is not asked for again


def test_wrong_content_then_next_address(server: Server, target: Path) -> None:
    good = server.plan("/good.gz", OK)
    assert fetch(target, server.plan("/bad.gz", Answer(body=ALTERED)), good) == good
    assert_fetched(target)
    assert server.ranges == [None, None]  # the altered bytes are not continued


def test_gzip_label_does_not_unpack(server: Server, target: Path) -> None:
    packed = gzip.compress(CONTENT)
    url = server.plan("/a.gz", Answer(body=packed, headers={"Content-Encoding": "gzip"}))
    fetch(target, url, sha256=hashlib.sha256(packed).hexdigest())
    assert_fetched(target, packed)


# Failures that pass, and those that do not


def test_truncated_once_then_resumed(server: Server, target: Path) -> None:
    fetch(target, server.plan("/a.gz", Answer(cut=100_000), OK))
    assert_fetched(target)
    assert server.ranges == [None, "bytes=100000-"]


def test_truncated_twice_then_resumed(server: Server, target: Path) -> None:
    fetch(target, server.plan("/a.gz", Answer(cut=100_000), Answer(cut=50_000), OK))
    assert_fetched(target)
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_truncated_once_then_no_ranges(server: Server, target: Path) -> None:
    fetch(target, server.plan("/a.gz", Answer(cut=100_000), NO_RANGES))
    assert_fetched(target)
    assert server.ranges == [None, "bytes=100000-"]


def test_always_truncated(server: Server, target: Path) -> None:
    message = assert_fails(target, server.plan("/a.gz", Answer(cut=100_000, ranges=False)))
    assert "broke off after 100000 of 300000 bytes" in message
    assert len(server.requests) == 3


def test_truncation_is_seen_where_urllib3_is_silent(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = requests.get

    def lax_get(*args: Any, **settings: Any) -> requests.Response:
        response = get(*args, **settings)
        response.raw.enforce_content_length = False  # as in urllib3 below 2
        return response

    monkeypatch.setattr(requests, "get", lax_get)
    fetch(target, server.plan("/a.gz", Answer(cut=100_000), OK))
    assert_fetched(target)
    assert server.ranges == [None, "bytes=100000-"]


def test_length_too_large(server: Server, target: Path) -> None:
    message = assert_fails(target, server.plan("/a.gz", Answer(claimed=1000, ranges=False)))
    assert "broke off after 300000 of 301000 bytes" in message
    assert len(server.requests) == 3


def test_stalled_once_then_resumed(server: Server, target: Path) -> None:
    fetch(target, server.plan("/a.gz", Answer(stall=200_000), OK), timeout=0.3)
    assert_fetched(target)
    asked = server.ranges[1]
    assert asked is not None
    assert 0 < int(asked.removeprefix("bytes=").removesuffix("-")) <= 200_000


def test_always_stalled(server: Server, target: Path) -> None:
    began = time.monotonic()
    message = assert_fails(target, server.plan("/a.gz", Answer(stall=0)), timeout=0.3, attempts=2)
    assert "stalled for 0.3 s" in message
    assert 0.6 < time.monotonic() - began < 5
    assert len(server.requests) == 2


def test_server_that_accepts_and_says_nothing(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/a.gz"
        assert "no answer within 0.3 s" in assert_fails(target, url, timeout=0.3, attempts=2)


def test_nobody_listens(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    message = assert_fails(target, f"http://127.0.0.1:{port}/a.gz")
    assert re.search(r"no connection \(.*refused\) \(attempt 3, the last\)", message)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_status(server: Server, target: Path, status: int) -> None:
    fetch(target, server.plan("/a.gz", Answer(status=status, body=PAGE), OK))
    assert_fetched(target)
    assert len(server.requests) == 2


def test_always_500(server: Server, target: Path) -> None:
    message = assert_fails(target, server.plan("/a.gz", BROKEN))
    assert "HTTP 500 (attempt 3, the last)" in message
    assert len(server.requests) == 3


def test_pauses_grow(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert_fails(target, server.plan("/a.gz", BROKEN), attempts=4, pause=1.0)
    assert pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_final_status_is_not_retried(server: Server, target: Path, status: int) -> None:
    message = assert_fails(target, server.plan("/a.gz", Answer(status=status, body=PAGE)))
    assert f"/a.gz: HTTP {status}" in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("first", [MISSING, BROKEN, Answer(body=PAGE), Answer(cut=1000, ranges=False)])
def test_fallback_address(server: Server, target: Path, first: Answer) -> None:
    fallback = server.plan("/b.gz", OK)
    assert fetch(target, server.plan("/a.gz", first), fallback) == fallback
    assert_fetched(target)


def test_error_tells_of_each_address(server: Server, target: Path) -> None:
    a, b = server.plan("/a.gz", MISSING), server.plan("/b.gz", Answer(body=ALTERED))
    message = assert_fails(target, a, b, "nonsense", name="mnist/a.gz")
    assert f"{a}: HTTP 404; {b}: sha256 is " in message
    assert "nonsense: MissingSchema" in message


def test_no_address(target: Path) -> None:
    assert "no address given" in assert_fails(target)


# Continuing what an earlier process left


def test_leftover_is_resumed(server: Server, target: Path) -> None:
    part_of(target).write_bytes(CONTENT[:123_456])
    fetch(target, server.plan("/a.gz", OK))
    assert_fetched(target)
    assert server.ranges == ["bytes=123456-"]


def test_leftover_without_ranges_is_overwritten(server: Server, target: Path) -> None:
    part_of(target).write_bytes(CONTENT[:123_456])
    fetch(target, server.plan("/a.gz", NO_RANGES))
    assert_fetched(target)
    assert server.ranges == ["bytes=123456-"]


@pytest.mark.parametrize("attempts", [1, 3])
def test_leftover_garbage_is_fetched_whole(server: Server, target: Path, attempts: int) -> None:
    part_of(target).write_bytes(b"garbage" * 100)
    fetch(target, server.plan("/a.gz", OK), attempts=attempts)
    assert_fetched(target)
    assert server.ranges == ["bytes=700-", None]


def test_leftover_then_wrong_content(server: Server, target: Path) -> None:
    part_of(target).write_bytes(ALTERED[:2000])
    url = server.plan("/a.gz", Answer(body=ALTERED))
    assert f"{url}: sha256 is {hashlib.sha256(ALTERED).hexdigest()}" in assert_fails(target, url)
    assert server.ranges == ["bytes=2000-", None]


def test_only_one_second_chance(server: Server, target: Path) -> None:
    part_of(target).write_bytes(ALTERED[:2000])
    url = server.plan("/a.gz", Answer(body=ALTERED), Answer(body=ALTERED, cut=5000), Answer(body=ALTERED), OK)
    assert f"{url}: sha256 is " in assert_fails(target, url)
    assert server.ranges == ["bytes=2000-", None, "bytes=5000-"]


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_leftover_as_long_as_the_file(server: Server, target: Path, length: int) -> None:
    part_of(target).write_bytes(bytes(length))
    fetch(target, server.plan("/a.gz", OK), attempts=1)
    assert_fetched(target)
    assert server.ranges == [f"bytes={length}-", None]


@pytest.mark.parametrize("headers", [{"Content-Range": "bytes 999-299999/300000"}, {}])
def test_wrong_content_range_starts_over(server: Server, target: Path, headers: dict[str, str]) -> None:
    part_of(target).write_bytes(CONTENT[:1000])
    lie = Answer(status=206, body=CONTENT[1000:], headers=headers)
    fetch(target, server.plan("/a.gz", lie, OK), attempts=1)
    assert_fetched(target)
    assert server.ranges == ["bytes=1000-", None]


def test_server_that_sends_another_range(server: Server, target: Path) -> None:
    fetch(target, server.plan("/a.gz", Answer(cut=100_000), Answer(shift=10)))
    assert_fetched(target)
    assert server.ranges == [None, "bytes=100000-", None]


def test_range_that_was_not_asked_for(server: Server, target: Path) -> None:
    assert "HTTP 206" in assert_fails(target, server.plan("/a.gz", Answer(status=206, body=CONTENT[5:])))


def test_failure_removes_the_leftover(server: Server, target: Path) -> None:
    part_of(target).write_bytes(CONTENT[:1000])
    assert_fails(target, server.plan("/a.gz", MISSING))
    assert server.ranges == ["bytes=1000-"]


def test_killed_process_is_resumed(server: Server, target: Path) -> None:
    body = random.Random(1).randbytes(4_000_000)
    digest = hashlib.sha256(body).hexdigest()
    url = server.plan("/a.gz", Answer(body=body, slow=0.01), Answer(body=body))
    code = "import sys, pathlib, repalign.download as d; d.download(pathlib.Path(sys.argv[1]), sys.argv[2:3], md5='0')"
    paths = [str(Path(repalign.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with subprocess.Popen([sys.executable, "-c", code, str(target), url], env=environment) as process:
        with contextlib.ExitStack() as stack:
            stack.callback(process.kill)
            deadline = time.monotonic() + 10
            while not part_of(target).is_file() or part_of(target).stat().st_size < 200_000:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.005)
        assert process.wait() == -signal.SIGKILL
    size = part_of(target).stat().st_size
    assert 200_000 <= size < len(body)
    assert not target.exists()
    fetch(target, url, sha256=digest)
    assert_fetched(target, body)
    assert server.ranges == [None, f"bytes={size}-"]


# Failures on this side


def test_full_disk(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(28, "No space\nleft on device")

    monkeypatch.setattr(os, "fsync", fsync)
    assert "No space left on device" in assert_fails(target, server.plan("/a.gz", OK))
    assert len(server.requests) == 1  # no matter for another attempt


def test_interrupt_leaves_nothing(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        assert part_of(target).read_bytes() == CONTENT
        assert not target.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(target, server.plan("/a.gz", OK))
    assert list(target.parent.iterdir()) == []


def test_target_that_is_a_folder(server: Server, target: Path) -> None:
    target.mkdir()
    with pytest.raises(DownloadError, match=r"cannot be read or written"):
        fetch(target, server.plan("/a.gz", OK))
    assert list(target.parent.iterdir()) == [target]


# Mirrors


@pytest.mark.parametrize("place", ["mnist/train-images.gz", "train-images.gz"])
def test_mirror_folder(server: Server, target: Path, mirror: Path, place: str) -> None:
    source = mirror / place
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(CONTENT)
    part_of(target).write_bytes(b"left by a killed process")
    where = fetch(target, server.plan("/a.gz", OK), name="mnist/train-images.gz", mirror=str(mirror))
    assert where == str(source)
    assert_fetched(target)
    assert source.read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("place", ["/all/my%20sets/a.gz", "/all/a.gz"])
def test_mirror_address(server: Server, target: Path, place: str, slash: str) -> None:
    url = server.plan(place, OK)
    mirror = url[: url.index("/all")] + "/all" + slash
    assert fetch(target, server.plan("/official.gz", OK), name="my sets/a.gz", mirror=mirror) == url
    assert_fetched(target)
    assert "/official.gz" not in dict(server.requests)


def test_mirror_folder_without_the_file(server: Server, target: Path, mirror: Path) -> None:
    official = server.plan("/a.gz", OK)
    message = assert_fails(target, official, name="mnist/train-images.gz", mirror=str(mirror))
    assert f"{mirror / 'mnist' / 'train-images.gz'}: no such file" in message
    assert f"{mirror / 'train-images.gz'}: no such file" in message
    assert "unset download.mirror" in message
    assert server.requests == []


def test_mirror_address_without_the_file(server: Server, target: Path) -> None:
    mirror = server.plan("", MISSING)
    message = assert_fails(target, name="mnist/train-images.gz", mirror=mirror)
    assert f"{mirror}/mnist/train-images.gz: HTTP 404; {mirror}/train-images.gz: HTTP 404" in message
    assert "unset download.mirror" in message


def test_no_mirror_folder(server: Server, target: Path, mirror: Path) -> None:
    part_of(target).write_bytes(b"left by a killed process")
    message = assert_fails(target, server.plan("/a.gz", OK), mirror=str(mirror / "none"))
    assert f"no mirror folder {mirror / 'none'} to hold {mirror / 'none' / target.name}" in message
    assert "unset download.mirror" in message
    assert server.requests == []


def test_wrong_file_in_the_mirror(target: Path, mirror: Path) -> None:
    source = mirror / target.name
    source.write_bytes(ALTERED)
    message = assert_fails(target, mirror=str(mirror))
    assert f"{source}: sha256 is {hashlib.sha256(ALTERED).hexdigest()}, expected {SHA256}" in message
    assert source.read_bytes() == ALTERED


def test_wrong_file_in_the_mirror_then_a_right_one(target: Path, mirror: Path) -> None:
    (mirror / "mnist").mkdir()
    (mirror / "mnist" / "a.gz").write_bytes(ALTERED)
    (mirror / "a.gz").write_bytes(CONTENT)
    assert fetch(target, name="mnist/a.gz", mirror=str(mirror)) == str(mirror / "a.gz")
    assert_fetched(target)


def test_mirror_of_the_real_files(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("REPALIGN_TEST_MIRROR") or root.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; set REPALIGN_TEST_MIRROR to a folder with the files of MNIST")
    name = "mnist/t10k-labels-idx1-ubyte.gz"
    target = tmp_path / "labels.gz"
    md5 = "ec29112dd5afa0611ce80d1b7f02629c"
    where = fetch(target, "http://official.invalid/labels.gz", md5=md5, name=name, mirror=str(folder))
    assert where in (str(folder / name), str(folder / "t10k-labels-idx1-ubyte.gz"))
    labels = gzip.decompress(target.read_bytes())
    assert (labels[:8], len(labels)) == (b"\x00\x00\x08\x01\x00\x00\x27\x10", 10_008)
