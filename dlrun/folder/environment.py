"""What a run's numbers depend on besides its config: versions, and the working directory's commit."""

from __future__ import annotations

import functools
import glob
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlrun.errors import ConfigError
from dlrun.files.opening import read
from dlrun.files.replacing import replacing
from dlrun.folder.names import CHANGES, PACKAGES

MOST = 100  #: files of one name with numbers


def environment() -> dict[str, Any]:
    """What a run's numbers depend on besides its config: versions, and the git commit of the working directory."""
    from dlrun.folder.commit import commit_of

    commit, dirty = commit_of(os.getcwd())
    packages = {"dlrun": "dlrun", "torch": "torch", "hydra": "hydra-core", "numpy": "numpy"}
    versions = {name: _version(package) for name, package in packages.items()}
    return {"versions": {"python": platform.python_version(), **versions}, "git_commit": commit, "git_dirty": dirty}


def keep(folder: Path) -> None:
    """Keep beside a config which packages there are, as `pip freeze` lists them, and what the working directory's
    files differ in from their commit.

    What is there is not overwritten: where it differs, as in a sweep that goes on with other versions, another file
    with a number is added. Nothing of it is needed later, so that what cannot be written is left out.
    """
    from dlrun.folder.commit import changes_of

    with suppress(OSError, ConfigError):
        for name, text in ((PACKAGES, packages()), (CHANGES, changes_of(os.getcwd()))):
            last, free = None, folder / name
            for number in range(2, MOST):
                if not os.path.lexists(free):
                    break
                last, free = free.name, folder / name.replace(".", f"-{number}.")
            if text and (last is None or read(folder, last) != text):
                with replacing(free) as part:
                    part.write_text(text, encoding="utf-8", newline="")


def packages() -> str:
    """A line `name==version` for each package that Python can import, by the names of their folders of metadata."""
    found = {}
    for place in reversed(sys.path):  # the first of the same name is the one that is imported
        for entry in glob.glob(os.path.join(glob.escape(place or "."), "*.dist-info")):
            name, _, version = os.path.basename(entry).removesuffix(".dist-info").partition("-")
            found[name.lower().replace("_", "-")] = version
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


@functools.cache
def _version(package: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a checkout that was never installed
        return None
