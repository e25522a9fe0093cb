"""What a stranger's config, dataset, archive or run holds is data: each attack would make a folder, and none does."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tarfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import yaml
from conftest import config
from PIL import Image
from test_cli import Ended, dlrun  # noqa: F401 - a fixture
from test_images import packed, write_cifar
from test_report import write_run

from dlrun.build import build, plain
from dlrun.datasets import california, cifar, image_folder
from dlrun.errors import ConfigError
from dlrun.folders import HEADER
from dlrun.report.report import report

DEFAULTS = yaml.safe_load(HEADER)["defaults"]
MAKE = {"_target_": "os.mkdir", "path": "MARKER"}  # what Hydra would call; MARKER becomes the folder that shows it

#: keys of config.yaml by what they would do, and what the refusal says
ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "a component": ({"optimizer": MAKE}, "only dlrun's own code is run"),
    "through a module of dlrun": (
        {"optimizer": {**MAKE, "_target_": "dlrun.records.os.mkdir"}},
        "is no choice of optimizer",
    ),
    "a function of dlrun": (
        {"optimizer": {"_target_": "dlrun.records.append_rows", "path": "MARKER", "rows": [{"a": 1}]}},
        "is no choice of optimizer",
    ),
    "another group's function": (
        {"optimizer": {"_target_": "dlrun.datasets.image_folder.image_folder"}},
        "is no choice of optimizer",
    ),
    "allowed by itself": ({"optimizer": MAKE, "allow_targets": ["os"]}, "counts only if you type it"),
    "without the guard": ({"optimizer": MAKE, "defaults": []}, "hydra.callbacks"),
    "a callback": ({"hydra": {"callbacks": {"x": MAKE}}}, "hydra.callbacks"),
    "a callback by a package": ({"defaults": [*DEFAULTS, {"dataset@hydra.callbacks.x": "evil"}]}, "hydra.callbacks"),
    "no guard": ({"hydra": {"callbacks": {"guard": None}}}, "hydra.callbacks"),
    "a logger's factory": (
        {"hydra": {"hydra_logging": {"handlers": {"console": {"()": "os.mkdir", "path": "MARKER"}}}}},
        "hydra.hydra_logging",
    ),
    "a logger's file": (
        {"hydra": {"job_logging": {"handlers": {"file": {"filename": "MARKER", "delay": False}}}}},
        "hydra.job_logging",
    ),
    "a launcher": ({"hydra": {"launcher": {"_target_": "os.mkdir"}}}, "hydra.launcher"),
    "a launcher's option": ({"hydra": {"launcher": {"width": MAKE}}}, "hydra.launcher"),
    "a sweeper's option": ({"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"x": MAKE}}}}, "hydra.sweeper.params"),
    "allowed by a sweep": (
        {
            "optimizer": MAKE,
            "hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"allow_targets": "[os]", "seed": "0,1"}}},
        },
        "hydra.sweeper.params: allow_targets is for the command line alone",
    ),
    "an import": ({"hydra": {"searchpath": ["pkg://evil_package"]}}, "pkg://evil_package would be imported"),
    "a choice from elsewhere": ({"defaults": ["setup", "../evil", *DEFAULTS[1:]]}, "not above it"),
    "the environment": ({"name": "${oc.env:SECRET}"}, "config files read no environment variables"),
    "the environment, disguised": ({"name": "${oc.${x}:SECRET}", "x": "env"}, "read no environment variables"),
    "the environment, copied": ({"hydra": {"job": {"env_copy": ["SECRET"]}}}, "hydra.job"),
    "a folder elsewhere": ({"hydra": {"run": {"dir": "MARKER"}}}, "hydra.run"),
    "a subfolder elsewhere": ({"hydra": {"output_subdir": "MARKER"}}, "hydra.output_subdir"),
    "a name that climbs": ({"name": "../../../../../../../../..MARKER"}, "may not lead out of it"),
}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


def stranger(folder: Path, marker: Path, **keys: Any) -> Path:
    """A folder with the config.yaml of a run, in which these keys are changed."""
    node = {"defaults": DEFAULTS} | plain(config("dataset=iris", "steps=1", "plots=none")) | keys
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(node, sort_keys=False).replace("MARKER", str(marker)))
    (folder / "dataset").mkdir()
    (folder / "dataset" / "evil.yaml").write_text(yaml.safe_dump(MAKE).replace("MARKER", str(marker)))
    (folder.parent / "evil.yaml").write_text("seed: 1")
    return folder


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_config_from_a_stranger_runs_nothing(
    attack: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys, message = ATTACKS[attack]
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "evil_package").mkdir()
    (tmp_path / "evil_package" / "__init__.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    ended = dlrun("--config-dir", str(stranger(tmp_path / "theirs", marker, **keys)), "--config-name", "config")
    assert not marker.exists() and "evil_package" not in sys.modules
    assert ended.code == 2 and message in " ".join(ended.err.split())
    assert "Traceback" not in ended.err and "hunter2" not in ended.err + ended.out
    assert not (tmp_path / "outputs").exists()


def test_the_config_of_a_run_repeats_it_and_harmless_keys_of_hydras_are_taken(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
) -> None:
    theirs = stranger(tmp_path / "theirs", marker, hydra={"launcher": {"width": 2}, "sweeper": {"trials": 0}})
    ended = dlrun("--config-dir", str(theirs), "--config-name", "config", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    assert (tmp_path / "run" / "summary.json").exists()


def test_files_in_place_of_dlruns_own_are_not_taken_for_them(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
) -> None:
    """A launcher that Hydra knows by code alone could be shadowed by a file."""
    theirs = stranger(tmp_path / "theirs", marker)
    (theirs / "hydra" / "launcher").mkdir(parents=True)
    shadow = "# @package _global_\nhydra: {callbacks: {x: {_target_: os.mkdir, path: MARKER}}}\n"
    (theirs / "hydra" / "launcher" / "stack.yaml").write_text(shadow.replace("MARKER", str(marker)))
    (theirs / "dlrun.yaml").write_text((theirs / "config.yaml").read_text())
    assert dlrun("--config-dir", str(theirs), "dataset=iris", "steps=1").code == 2
    assert "--config-dir" in dlrun("--config-path", str(theirs)).err
    assert not marker.exists()


def test_a_users_own_launcher_counts_where_the_command_names_it(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
) -> None:
    theirs = stranger(tmp_path / "theirs", marker, hydra={"launcher": {"_target_": "hydra_plugins.other.Launcher"}})
    (theirs / "hydra" / "launcher").mkdir(parents=True)
    launcher = "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n"
    (theirs / "hydra" / "launcher" / "mine.yaml").write_text(launcher)
    assert "hydra.launcher" in dlrun("--config-dir", str(theirs), "--config-name", "config").err
    named = ["hydra/launcher=mine", "hydra.run.dir=run", "dataset=iris", "steps=1", "plots=none"]
    assert dlrun("--config-dir", str(theirs), *named).code == 0


@pytest.mark.parametrize("key", ["allow_targets", "hydra.callbacks.x._target_", "+hydra.job_logging.x", "++hydra.x"])
def test_a_file_of_settings_may_not_say_what_is_run(
    key: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump([{key: ["os"], "optimizer._target_": "os.mkdir"}]))
    ended = dlrun("-m", "settings=settings.yaml", "seed=0,1")
    assert ended.code == 2 and f"{key} is for the command line alone" in " ".join(ended.err.split())


@pytest.mark.parametrize(
    "override",
    [
        "allow_targets=[os]",
        "hydra.callbacks.x._target_=os.mkdir",
        "hydra.launcher.setup=[touch]",
        "--config-dir=theirs",
    ],
)
def test_a_plan_may_not_say_what_is_run(
    override: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"commands": [["dataset=iris", override]], "runs": {}}))
    ended = dlrun("resume", str(tmp_path))
    assert ended.code == 2 and "type it again if you trust it" in " ".join(ended.err.split())


def test_allowing_a_package_does_not_allow_what_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check on the text comes before an import; the check on what was found comes before a call."""
    (tmp_path / "trusted_package.py").write_text("import os\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = plain(config("dataset=iris"))
    node["optimizer"] = {"_target_": "trusted_package.os.mkdir", "path": str(tmp_path / "marker")}
    with pytest.raises(ConfigError, match="only dlrun's own code is run"):
        build([node])
    assert "trusted_package" not in sys.modules
    with pytest.raises(ConfigError, match="no class or function of trusted_package's own"):
        build([node | {"allow_targets": ["trusted_package"]}])
    assert not (tmp_path / "marker").exists()


class Evil:
    """What a pickle makes a folder with."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("compress", [0, 6])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_pickle_of_california_housing_runs_nothing(
    compress: int, hidden: bool, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hidden: in an array of objects, which joblib would unpickle apart from the rest."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    evil = np.array([[Evil(marker)] * 9], dtype=object) if hidden else Evil(marker)
    joblib.dump(evil, tmp_path / "cal_housing_py3.pkz", compress=compress)
    with pytest.raises(ConfigError, match=r"cal_housing_py3.pkz cannot be read .*it (names posix.mkdir|holds objects)"):
        california.california_housing()
    assert not marker.exists()


def test_no_pickle_is_read_as_cifar_or_as_decoded_images(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    write_cifar(tmp_path / "cifar-10-batches-bin", cifar.CIFAR10)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin").write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(ConfigError, match=r"data_batch_1.bin holds \d+ bytes"):
        cifar.cifar10(str(tmp_path))
    for name in ("cat", "dog"):
        (tmp_path / "in" / "train" / name).mkdir(parents=True)
        Image.new("L", (3, 3)).save(tmp_path / "in" / "train" / name / "0.png")
    image_folder.image_folder(str(tmp_path / "in"))
    [kept] = (tmp_path / "cache" / "image_folder").iterdir()
    np.save(kept, np.array([Evil(marker)], dtype=object), allow_pickle=True)
    assert image_folder.image_folder(str(tmp_path / "in")).inputs.shape == (2, 1, 3, 3)
    assert not marker.exists()


def test_an_archive_writes_nothing_and_what_it_unpacks_to_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path / "cifar-10-batches-bin", cifar.CIFAR10)
    archive = packed(tmp_path / "cifar-10-batches-bin", tmp_path / "in.tar.gz")
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as tar, tarfile.open(archive) as good:
        for name, kind in (
            ("../climbed", tarfile.REGTYPE),
            (str(tmp_path / "absolute"), tarfile.REGTYPE),
            ("link", tarfile.SYMTYPE),
            ("device", tarfile.CHRTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        for member in good:
            tar.addfile(member, good.extractfile(member))
    before = sorted(tmp_path.rglob("*"))
    assert len(cifar.cifar10(str(evil)).inputs) == 12
    assert sorted(tmp_path.rglob("*")) == before and not (tmp_path.parent / "climbed").exists()
    monkeypatch.setattr(cifar, "LARGEST", 10_000)
    with pytest.raises(ConfigError, match="holds more than 10000 bytes"):
        cifar.cifar10(str(evil))


def test_an_image_is_never_handed_to_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow gives PostScript to Ghostscript, whatever the file's ending."""
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    buffer = io.BytesIO()
    Image.new("RGB", (3, 3)).save(buffer, "EPS")
    for name in ("cat", "dog"):
        (tmp_path / "in" / "train" / name).mkdir(parents=True)
        (tmp_path / "in" / "train" / name / "0.png").write_bytes(buffer.getvalue())
    with pytest.raises(ConfigError, match=r"2 of 2 images cannot be read:\n.*0.png: cannot identify image file"):
        image_folder.image_folder(str(tmp_path / "in"))


class Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


def test_the_report_escapes_whatever_runs_say(tmp_path: Path) -> None:
    """A name, an override, an error, a folder and a device with HTML in them make the page that plain words make."""

    def page(word: str, folder: Path) -> str:
        for number, setting in enumerate(("sgd", word)):
            for seed in range(2):
                typed = [f"optimizer={setting}", f"+{word.replace('=', ':')}=1", f"seed={seed}"]
                write_run(folder / f"{number}{seed}", *typed, accuracy=0.4 + 0.1 * seed, name=word, device=word)
        typed = [f"optimizer={word}2", f"+{word.replace('=', ':')}=1", "seed=0"]
        write_run(folder / "2", *typed, status="failed", error=word, name=word)
        report([str(folder)])
        return (folder / "report.html").read_text()

    html = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    theirs, plain_words = page(html, tmp_path / "<b>sweep"), page("word", tmp_path / "sweep")
    assert "&lt;script&gt;alert(1)" in theirs and "<img src=x" not in theirs
    assert Tags(theirs).seen == Tags(plain_words).seen
