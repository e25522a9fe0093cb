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
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.files.opening import read_named

SMALL = 2**26  #: bytes of a file of .git's that is read; packed-refs is the large one
PATIENCE = 2.0  #: seconds that git may take
LARGEST = 2**20  #: bytes of a patch that is kept
PATCH = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules")
TOO_LARGE = f"More than {LARGEST:,} bytes, of which only the names of the files are kept:"
LEFT_OUT = " [left out: it looks like a secret]"
SECRET_FILE = re.compile(
    r"(^|[/. _-])(\.?env|\.netrc|\.pypirc|\.htpasswd|id_(rsa|dsa|ecdsa|ed25519)"
    r"|[^/ ]*(secret|credential|password|token)[^/ ]*|[^/ ]*\.(pem|key|p12|pfx|keystore))([ ./\"]|$)",
    re.IGNORECASE,
)
SECRET_LINE = re.compile(
    r"(api[_-]?key|secret|token|passw(or)?d|credential|authorization|private[_-]?key)\w*[\"']?\s*[:=]\s*"
    r"([\"'][^\"']{6,}[\"']|[\w+/-]{16,}\s*$)"  # tokens = tokenize(text) is none
    r"|(passw(or)?d|pwd|passphrase)\w*[\"']?\s*[:=]\s*\S{6,}"
    r"|\b(mysql|mysqldump|mariadb|sshpass)\b.*\s-p[^\s-]\S*|\bAIza[\w-]{30,}|[\"'][0-9a-f]{40}[\"']|\s-u\s+[^\s:]+:\S+"
    r"|(?-i:\b[A-Z_]*(PASSWORD|SECRET|TOKEN|KEY)[A-Z_]*=\S{6,})"
    r"|-----BEGIN |\bAKIA[0-9A-Z]{16}\b|\b(gh[pousr]|hf|sk|xox[abp])[_-][A-Za-z0-9_-]{16,}|://[^/\s:@]+:[^/\s@]+@",
    re.IGNORECASE,
)
#: a name to which a secret is given in the lines that follow, `token = (`
SECRET_BEGINS = re.compile(
    r"(api[_-]?key|secret|token|passw(or)?d|pwd|passphrase|credential|authorization|private[_-]?key)\w*[\"']?\s*[:=]\s*"
    r"([(\[{\\|>]|[rbf]?(\"{3}|'{3}))[-+]?\s*$",
    re.IGNORECASE,
)
LETTERS = re.compile(r"[\"'][^\"']{6,}[\"']|^.\s*[\w+/=-]{16,}\s*$")  #: that may be a part of one
LINES = 5  #: after such a name in which it may stand
KEY_BEGINS, KEY_ENDS = "-----BEGIN ", "-----END "  #: what stands between is a key, or a certificate
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


def changes_of(folder: str) -> str:
    """What tracked files differ in from the commit that is checked out there, as a patch; "" where there is none.

    Files whose names look like those of secrets, and lines that look like one, are left out, and the patch says so. Of
    a patch that is larger than 1 MB only the names of the files are kept.
    """
    try:
        root, own, shared = _repository(Path(folder))
        commit = _resolved(own, shared, "HEAD")
        patch = _asked(root, own, shared, commit, ["diff", *PATCH, "HEAD"], LARGEST + 1)
        if len(patch) > LARGEST:
            names = _asked(root, own, shared, commit, ["diff", *PATCH, "--name-only", "HEAD"], LARGEST)
            return f"{TOO_LARGE}\n{names.decode(errors='replace')}"
        return without_secrets(patch.decode(errors="replace"))
    except (ConfigError, OSError, ValueError, subprocess.SubprocessError):
        return ""


def without_secrets(patch: str) -> str:
    """A patch without what looks like a secret."""
    parts = re.split(r"^(?=diff --git )", patch, flags=re.MULTILINE)
    kept = []
    for part in parts:
        name = part.partition("\n")[0]
        if SECRET_FILE.search(name):
            kept.append(f"{name}\n{LEFT_OUT}\n")
        else:
            # what git shows beside the place of a change is a line of the file, too
            lines = [re.sub(r"^(@@ [^@]* @@).*", r"\1", line) for line in part.split("\n")]
            shown = zip(lines, _hidden(lines), strict=True)
            kept.append("\n".join(f"{line[0]}{LEFT_OUT}" if hidden else line for line, hidden in shown))
    return "".join(kept)


def _hidden(lines: Sequence[str]) -> Iterator[bool]:
    """Of each line of a file's patch whether it looks like a secret, or stands in a key of several lines."""
    within, after = False, 0
    for line in lines:
        if line[:1] not in ("+", "-", " "):  # another place of the file
            within, after = False, 0
            yield False
            continue
        within = within or KEY_BEGINS in line
        yield within or SECRET_LINE.search(line) is not None or (after > 0 and LETTERS.search(line) is not None)
        within = within and KEY_ENDS not in line
        after = LINES if SECRET_BEGINS.search(line) else max(0, after - 1)


def _asked(root: Path, own: Path, shared: Path, commit: str, command: list[str], most: int) -> bytes:
    """What git says, of which so many bytes are read; raises SubprocessError where it fails or takes long."""
    with _elsewhere(root, own, shared, commit) as environment:
        asked = ["git", "--no-optional-locks", "-c", "core.quotePath=false", *command]
        git = subprocess.Popen(
            asked,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        timer = threading.Timer(PATIENCE, git.kill)
        timer.start()
        try:
            assert git.stdout
            said = git.stdout.read(most)
            whole = len(said) < most
            if not whole:
                git.kill()
            if git.wait() and whole:
                raise subprocess.SubprocessError
        finally:
            timer.cancel()
            git.kill()
            git.communicate()
    return said


@contextmanager
def _elsewhere(root: Path, own: Path, shared: Path, commit: str) -> Iterator[dict[str, str]]:
    """The environment in which git sees this commit and these files from a folder without configuration."""
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
        yield {**kept, **{f"GIT_{name}": str(place.absolute()) for name, place in places.items()}}


def _differs(root: Path, own: Path, shared: Path, commit: str) -> bool | None:
    # Without optional locks, many workers can ask at once and the user's own git commands are not disturbed.
    command = ["git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--ignore-submodules"]
    try:
        with _elsewhere(root, own, shared, commit) as environment:
            done = subprocess.run(command, cwd=root, env=environment, capture_output=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return bool(done.stdout)


def _line(file: Path) -> str:
    return read_named(file, SMALL).split("\n")[0].strip()


def _checked(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise ValueError(f"{text!r} is no commit")
    return text
