"""What a run's numbers depend on besides its config: versions, and the working directory's commit."""

from __future__ import annotations

import functools
import os
import platform
from typing import Any


def environment() -> dict[str, Any]:
    """What a run's numbers depend on besides its config: versions, and the git commit of the working directory."""
    from dlrun.folder.commit import commit_of

    commit, dirty = commit_of(os.getcwd())
    packages = {"dlrun": "dlrun", "torch": "torch", "hydra": "hydra-core", "numpy": "numpy"}
    versions = {name: _version(package) for name, package in packages.items()}
    return {"versions": {"python": platform.python_version(), **versions}, "git_commit": commit, "git_dirty": dirty}


@functools.cache
def _version(package: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a checkout that was never installed
        return None
