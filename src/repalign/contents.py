"""What files of the user's own hold, so that another content counts whatever the time stamp says.

Snakemake looks at an input again only where it is newer than what was made from it. A file that was replaced by an
older one (a backup, a copy that keeps its time) would go unnoticed.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path


class Contents:
    """Digests of files, taken once and again where size or times of a file changed; kept in a file of JSON."""

    def __init__(self, kept: str | Path) -> None:
        self.kept, self.changed = Path(kept), False

    def digest(self, paths: Iterable[str | Path]) -> str:
        """One digest of all files in this order; files that are not there are left out, which Snakemake reports."""
        found = [self._one(Path(path)) for path in paths if Path(path).is_file()]
        if self.changed:
            self._store()
        return hashlib.sha256("".join(found).encode()).hexdigest()[:16] if found else ""

    def _one(self, path: Path) -> str:
        about = path.stat()
        stamp = [about.st_size, about.st_mtime_ns, about.st_ctime_ns]
        name = str(path.resolve())
        if self.known.get(name, [])[:3] != stamp:
            with path.open("rb") as file:
                self.known[name] = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
            self.changed = True
        return str(self.known[name][3])

    @cached_property
    def known(self) -> dict[str, list[int | str]]:
        """What was kept; nothing where the file is damaged, since all of it can be found again."""
        try:
            found = json.loads(self.kept.read_text(encoding="utf-8"))
            return {name: value for name, value in found.items() if len(value) == 4}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _store(self) -> None:
        """Replaces the file as a whole, as several jobs of a cluster may do at a time."""
        from repalign.store import replacing  # when it is needed: every job reads the Snakefile, few write

        # In a folder that cannot be written to, digests are taken again.
        with suppress(OSError), replacing(self.kept) as temporary:
            temporary.write_text(json.dumps(self.known), encoding="utf-8")
        self.changed = False
