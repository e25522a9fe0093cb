"""The git commit of the working directory, and whether its files differ, without heeding what the repository says.

A repository's own configuration may name programs that git starts (core.fsmonitor, filters, hooks, remotes of missing
objects), and so may those of its submodules. So the commit is read from .git's files, and git compares the files with
that commit from a folder of dlrun's own that has no configuration at all.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.files.opening import read_named

SMALL = 2**26  #: bytes of a file of .git's that is read; packed-refs is the large one
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # SHA-1 or SHA-256


@functools.cache  # a sweep asks for every run, and its code was loaded once
def commit_of(folder: str) -> tuple[str | None, bool | None]:
    """The commit that is checked out there, and whether tracked files differ from it.

    (None, None) outside of a repository and before its first commit; for the second, None where git is not installed
    or cannot tell within two seconds. Of submodules nothing is looked at.
    """
    try:
        root, own, shared = _repository(Path(folder))
        commit = _resolved(own, shared, "HEAD")
        return commit, _differs(root, own, shared, commit)
    except (ConfigError, OSError, ValueError):
        return None, None


def _repository(folder: Path) -> tuple[Path, Path, Path]:
    """The root of the working tree, its own folder of git's, and the one that it shares with other working trees."""
    root = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
    if root is None:
        raise FileNotFoundError(folder)
    own = root / ".git"
    if own.is_file():  # of a worktree, or a submodule: `gitdir: ../.git/worktrees/name`
        own = root / _line(own).removeprefix("gitdir: ")
    with suppress(FileNotFoundError):
        return root, own, own / _line(own / "commondir")
    return root, own, own


def _resolved(own: Path, shared: Path, name: str) -> str:
    """The commit of HEAD, or of the branch that it stands on."""
    text = _line(own / name)
    if not text.startswith("ref: "):
        return _checked(text)
    name = text.removeprefix("ref: ")
    if not name.startswith("refs/") or ".." in name.split("/"):
        raise ValueError(name)
    for place in (own, shared):
        with suppress(FileNotFoundError):
            return _checked(_line(place / name))
    lines = (line.split() for line in read_named(shared / "packed-refs", SMALL).splitlines())
    return _checked(next((words[0] for words in lines if words[1:] == [name]), ""))


def _differs(root: Path, own: Path, shared: Path, commit: str) -> bool | None:
    with tempfile.TemporaryDirectory(prefix="dlrun-") as empty:
        folder = Path(empty)
        (folder / "refs").mkdir()
        (folder / "HEAD").write_text(f"{commit}\n")
        sha256 = (
            "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectformat = sha256\n" if len(commit) > 40 else ""
        )
        (folder / "config").write_text(sha256)
        # Variables of git's that the user has set for another repository are left out.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        places = {"DIR": folder, "WORK_TREE": root, "OBJECT_DIRECTORY": shared / "objects", "INDEX_FILE": own / "index"}
        # Without optional locks, many workers can ask at once and the user's own git commands are not disturbed.
        command = ["git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--ignore-submodules"]
        try:
            done = subprocess.run(
                command,
                cwd=root,
                env={**kept, **{f"GIT_{name}": str(place.absolute()) for name, place in places.items()}},
                capture_output=True,
                timeout=2,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
    return bool(done.stdout)


def _line(file: Path) -> str:
    return read_named(file, SMALL).split("\n")[0].strip()


def _checked(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise ValueError(f"{text!r} is no commit")
    return text
