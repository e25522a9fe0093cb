"""What encodes new rows as a run's were encoded, kept in its folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from safetensors.numpy import save

from dlrun.datasets.encoding import Encoding
from dlrun.files.replacing import replacing
from dlrun.folder.names import ENCODING
from dlrun.folder.records import unwritable


def save_encoding(folder: Path, encoding: Encoding, matrices: dict[str, Path]) -> None:
    """Write encoding.json, and the matrix that it needs, if any, to a file of its own.

    The runs of a sweep share the matrix, which may have 75 MB, as one file with many links where the file system
    has them.

    matrices: those that runs of this stack have, by name; gets this run's.
    """
    try:
        with replacing(folder / ENCODING) as part:
            part.write_text(encoding.text, encoding="utf-8")
        if encoding.matrix is not None:
            path = folder / encoding.matrix_file
            data = b"" if path.name in matrices else save({"matrix": encoding.matrix})
            if not _linked(path, matrices.get(path.name) or _twin(path, data)):
                with replacing(path) as part:
                    part.write_bytes(data or save({"matrix": encoding.matrix}))
            matrices.setdefault(path.name, path)
    except OSError as error:
        raise unwritable(folder, error) from error


def _twin(path: Path, data: bytes) -> Path | None:
    """A file with this name and content in a folder beside the one that path lies in."""
    for twin in path.parent.parent.glob(f"*/{path.name}"):
        with suppress(OSError):
            if twin.is_file() and not twin.is_symlink() and twin.read_bytes() == data:
                return twin
    return None


def _linked(path: Path, there: Path | None) -> bool:
    """Make path another name of a file, where there is one and the file system has links."""
    with suppress(OSError):
        if there:
            os.link(there, path)
    return path.exists()
