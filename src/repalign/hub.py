"""A model of a hub at a pinned revision, every file checked against what the hub says of it."""

import hashlib
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi

from repalign.errors import DownloadError

logger = logging.getLogger(__name__)
HUB = "https://huggingface.co"
WANTED = (".safetensors", ".json", ".txt")  # weights, configuration, tokenizer; nothing that can hold code
CHUNK = 1 << 20


def fetch(target: str | Path, name: str, revision: str, mirror: str | None = None) -> None:
    """Puts the files of a model into the folder `target`, all of them or none.

    name: as on the hub, such as `openai-community/gpt2`; revision: a full commit hash. mirror: the address of another
    hub, or a folder that holds `<name>/` with the files. Raises DownloadError, one line that says which file, from
    where, and where to put it, where a file cannot be had, is truncated or altered, or no .safetensors are there.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        if mirror and "://" not in mirror:
            _copy(Path(mirror) / name, fresh, name)
        else:
            _download(fresh, name, revision, mirror or HUB)
        fresh.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(source: Path, fresh: Path, name: str) -> None:
    if not source.is_dir():
        raise DownloadError(f"{name}: no folder {source}; put its config.json, tokenizer and .safetensors there")
    files = sorted(path for path in source.iterdir() if path.is_file() and path.suffix in WANTED)
    _need_weights([path.name for path in files], name, str(source))
    for path in files:
        shutil.copyfile(path, fresh / path.name)


def _download(fresh: Path, name: str, revision: str, hub: str) -> None:
    api, file = HfApi(endpoint=hub.rstrip("/")), "list of files"
    hint = f"or put its config.json, tokenizer and .safetensors into FOLDER/{name} and set download.models to FOLDER"
    try:
        about = api.model_info(name, revision=revision, files_metadata=True, timeout=30)
        files = {one.rfilename: one for one in about.siblings or []}
        wanted = [file for file in sorted(files) if "/" not in file and file.endswith(WANTED)]
        _need_weights(wanted, name, hub)
        for file in wanted:
            api.hf_hub_download(name, file, revision=revision, local_dir=fresh)
            _check(fresh / file, files[file], f"{name}: {file} from {hub}")
    except DownloadError as error:
        raise DownloadError(f"{error}, {hint}") from None
    except (httpx2.HTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DownloadError(
            f"{name}: {file} at revision {revision} cannot be had from {hub} ({reason}); try again, {hint}"
        ) from None
    shutil.rmtree(fresh / ".cache", ignore_errors=True)


def _need_weights(files: list[str], name: str, where: str) -> None:
    if not any(file.endswith(".safetensors") for file in files):
        raise DownloadError(f"{name}: no .safetensors at {where}; other weights can hold code and are not taken")


def _check(path: Path, about: Any, what: str) -> None:
    """Size and digest of a file: sha256 of large files, git's own sha1 of small ones."""
    size = path.stat().st_size
    if about.size is not None and size != about.size:
        raise DownloadError(f"{what}: {size} bytes, expected {about.size}; truncated, try again")
    if about.lfs is not None:
        kind, expected, digest = "sha256", about.lfs.sha256, hashlib.sha256()
    else:
        kind, expected, digest = (
            "git sha1",
            about.blob_id,
            hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False),
        )
    with path.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise DownloadError(f"{what}: {kind} {digest.hexdigest()}, expected {expected}; altered on its way, try again")
    logger.info("%s: %d bytes, %s %s", what, size, kind, expected)
