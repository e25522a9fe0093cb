"""JSON files in the user's cache folder: what was found out once, and can be found out again."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlrun.files.replacing import replacing


def in_cache(name: str) -> Path:
    """The file of this name in the user's cache folder."""
    import pooch

    return Path(pooch.os_cache("dlrun")) / name


def read_kept(file: Path) -> dict[str, Any]:
    """What `keep` wrote; nothing where there is none or it is damaged."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def keep(file: Path, content: dict[str, Any]) -> None:
    """Write what `read_kept` reads, where that is possible."""
    with suppress(OSError):  # it is found out again, then
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            part.write_text(json.dumps(content), encoding="utf-8")
