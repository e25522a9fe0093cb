"""What a stranger's config, dataset, archive or run holds is data: each attack would make a folder, and none does."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
import yaml
from conftest import config
from PIL import Image
from test_cli import Ended, dlrun  # noqa: F401 - a fixture
from test_images import packed, write_cifar
from test_report import write_run

from dlrun.config import typed
from dlrun.config.catalogue import conf_dir
from dlrun.config.loader import Loader, guarded
from dlrun.datasets import california, cifar, image_folder
from dlrun.errors import ConfigError
from dlrun.folder.commit import commit_of
from dlrun.job.folders import HEADER
from dlrun.report.report import report
from dlrun.training.build import build, plain
from dlrun.training.machine import compiles

DEFAULTS = yaml.safe_load(HEADER)["defaults"]
MAKE = {"_target_": "os.mkdir", "path": "MARKER"}  # what Hydra would call; MARKER becomes the folder that shows it

#: keys of config.yaml by what they would do, and what the refusal says
ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "a component": ({"optimizer": MAKE}, "only dlrun's own code is run"),
    "through a module of dlrun": (
        {"optimizer": {**MAKE, "_target_": "dlrun.folder.checkpoint.os.mkdir"}},
        "is no choice of optimizer",
    ),
    "a function of dlrun": (
        {"optimizer": {"_target_": "dlrun.folder.records.append_rows", "path": "MARKER", "rows": [{"a": 1}]}},
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
    "a diagnostic's name that climbs": (
        {"diagnostics": {"../../../../..MARKER": {"_target_": "dlrun.diagnostics.gradient_norm.GradientNorm"}}},
        "is no name of a choice",
    ),
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
    """dlrun's own files come first; a launcher that Hydra knows by code alone could be shadowed by a file."""
    theirs = stranger(tmp_path / "theirs", marker)
    (theirs / "hydra" / "launcher").mkdir(parents=True)
    shadow = "# @package _global_\nhydra: {callbacks: {x: {_target_: os.mkdir, path: MARKER}}}\n"
    for name in ("stack", "basic"):
        (theirs / "hydra" / "launcher" / f"{name}.yaml").write_text(shadow.replace("MARKER", str(marker)))
    (theirs / "dlrun.yaml").write_text((theirs / "config.yaml").read_text())
    assert dlrun("--config-dir", str(theirs), "dataset=iris", "steps=1", "plots=none").code == 0
    ended = dlrun("-m", "--config-dir", str(theirs), "hydra/launcher=basic", "dataset=iris", "steps=1")
    assert ended.code == 2
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
    named = ["hydra/launcher=mine", "hydra.sweep.dir=sweep", "dataset=iris", "steps=1", "plots=none"]
    assert dlrun("-m", "--config-dir", str(theirs), *named).code == 0


@pytest.mark.slow
def test_what_a_file_says_was_typed_was_not(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
) -> None:
    """Hydra adds the command's words to a record in the config, which a file may fill before; jobs are made of it."""
    factory = f"+hydra.job_logging.handlers.pwn={{\\(\\):os.mkdir,path:'{marker}'}}"
    evil = {
        "task": {
            "hydra": {"overrides": {"task": ["allow_targets=[os]"]}},
            "optimizer": MAKE,
            "allow_targets": ["os"],
        },
        "hydra": {"hydra": {"overrides": {"hydra": [factory]}}},
        "job": {"hydra": {"overrides": {"task": ["seed=0,1", "optimizer._target_=os.mkdir", "allow_targets=[os]"]}}},
    }
    launcher = {"override hydra/launcher": "basic"}
    for name, content in evil.items():
        theirs = stranger(tmp_path / name, marker, defaults=["setup", "_self_", "evil", launcher, *DEFAULTS[3:]])
        (theirs / "evil.yaml").write_text(
            "# @package _global_\n" + yaml.safe_dump(content).replace("MARKER", str(marker))
        )
        config_of = ["--config-dir", str(theirs), "--config-name", "config"]
        for words in ([*config_of], ["-m", *config_of, "hydra.sweep.dir=sweep"], ["resume", str(theirs)]):
            ended = dlrun(*words)
            assert not marker.exists(), (name, words)
            assert ended.code in (0, 2) and "Traceback" not in ended.err, (name, words, ended.err)
            if name == "task":
                assert "add 'allow_targets=[os]' to the command" in " ".join(ended.err.split())
        assert not (tmp_path / "sweep" / "1").exists()  # where no seeds were typed


def test_typed_words_reach_the_processes_that_compose_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """joblib, Ray and submitit have the jobs' configs made elsewhere, with the loader that they are sent."""
    from hydra._internal.utils import create_config_search_path

    monkeypatch.setattr(typed, "words", frozenset(["allow_targets=[mine]"]))
    with guarded():
        sent = pickle.dumps(Loader(create_config_search_path(str(conf_dir()))))
    typed.take([])
    assert typed.packages() == set()
    pickle.loads(sent)
    assert typed.packages() == {"mine"}


def test_the_environment_is_read_for_typed_words_alone(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("OPEN", "sesame")
    quick = ["dataset=iris", "steps=1", "plots=none"]
    refused = "${oc.env:SECRET}: config files read no environment variables"
    (tmp_path / "settings.yaml").write_text('- name: "${oc.env:SECRET}"\n- name: "${oc.${x}:SECRET}"\n')
    (tmp_path / "theirs").mkdir()
    plan = {"commands": [[*quick, "seed=0,1", "name=${oc.env:SECRET}"]], "runs": {}}
    (tmp_path / "theirs" / "plan.json").write_text(json.dumps(plan))
    # beside a job that asks for nothing
    (tmp_path / "beside.yaml").write_text('- name: "${oc.env:SECRET}"\n- name: b\n')
    (tmp_path / "other").mkdir()
    plan["commands"] = [[*quick, "name=${oc.env:SECRET},b"]]
    (tmp_path / "other" / "plan.json").write_text(json.dumps(plan))
    commands = [["-m", *quick, f"settings={name}.yaml"] for name in ("settings", "beside")]
    for words in (*commands, ["resume", "theirs"], ["resume", "other"]):
        ended = dlrun(*words)
        assert ended.code == 2 and refused in " ".join(ended.err.split()) and "hunter2" not in ended.err + ended.out
    assert not list(tmp_path.glob("**/summary.json"))
    assert dlrun(*quick, "name=${oc.env:OPEN}", "hydra.run.dir=alone").code == 0
    theirs = stranger(tmp_path / "config", marker)
    config_of = ["--config-dir", str(theirs), "--config-name", "config", "name=${oc.env:OPEN}"]
    assert dlrun(*config_of, "hydra.run.dir=again").code == 0
    names = [json.loads((tmp_path / run / "summary.json").read_text())["name"] for run in ("alone", "again")]
    assert names == ["sesame", "sesame"]


BOMBS = {
    "doubling": {f"x{i}": f"${{x{i + 1}}}${{x{i + 1}}}" for i in range(60)} | {"x60": ""},
    "growing": {"x0": "${x1}" * 900, "x1": "a" * 10_000},
    "itself": {"x0": "${x0}"},
    "a wide time": {"x0": "${now:%999999999Y}"},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_interpolations_that_stand_for_very_much_are_told(
    bomb: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
) -> None:
    theirs = stranger(tmp_path / "theirs", marker, name="${x0}", **BOMBS[bomb])
    ended = dlrun("--config-dir", str(theirs), "--config-name", "config")
    assert ended.code == 2 and "Traceback" not in ended.err and len(ended.err) < 2000
    assert not (tmp_path / "outputs").exists()


def test_the_environment_is_not_read_for_where_configs_are_looked_for(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hydra warns of a folder that is not there, by its name."""
    monkeypatch.setenv("SECRET", "hunter2")
    place = {"searchpath": [f"file://{tmp_path}/${{oc.env:SECRET}}"]}
    theirs = stranger(tmp_path / "theirs", marker, hydra=place)
    with warnings.catch_warnings(record=True) as told:
        ended = dlrun("--config-dir", str(theirs), "--config-name", "config")
    assert ended.code == 2 and "config files read no environment variables" in " ".join(ended.err.split())
    assert "hunter2" not in ended.err and not any("hunter2" in str(each.message) for each in told)


ESCAPES = "\x1b]0;owned\x07\x9b31m\u202e"


@pytest.mark.parametrize("options", ["--cfg job", "-c job -p name", "--cfg=all", "--info config", "--help"])
def test_configs_that_are_shown_command_no_terminal(
    options: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
) -> None:
    theirs = stranger(tmp_path / "theirs", marker, name=ESCAPES)
    ended = dlrun("--config-dir", str(theirs), "--config-name", "config", *options.split())
    assert ended.code == 0 and "owned" in ended.out
    assert not any(letter in ended.out + ended.err for letter in ESCAPES if not letter.isprintable())


def test_warnings_of_libraries_command_no_terminal(dlrun: Callable[..., Ended]) -> None:  # noqa: F811
    """`${oc.deprecated:seed,"..."}` warns in words of the config's own."""
    dlrun("list", "loss")
    told = warnings.formatwarning(UserWarning(ESCAPES), UserWarning, "file.py", 1)
    assert "owned" in told and not any(letter in told for letter in ESCAPES if not letter.isprintable())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python cannot be told so")
def test_processes_that_libraries_start_import_nothing_from_the_working_directory(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's compiler and joblib start Python by -c and -m, which look there first."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "struct.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    command = tmp_path / "dlrun"
    command.write_text(
        "import contextlib, subprocess, sys\nfrom dlrun.command.cli import main\nsys.argv = ['dlrun', 'list', 'loss']\n"
        "with contextlib.suppress(SystemExit):\n    main()\n"
        "subprocess.run([sys.executable, '-c', 'import struct; struct.pack'], check=True)\n"
    )
    subprocess.run([sys.executable, str(command)], cwd=tmp_path / "theirs", check=True, capture_output=True)
    assert not marker.exists()


@pytest.mark.parametrize("library", ["dlrun.plots.curves", pytest.param("optuna", marks=pytest.mark.slow)])
def test_no_settings_of_matplotlib_are_taken_from_the_working_directory(library: str, tmp_path: Path) -> None:
    """They may have it start LaTeX, or be a pipe."""
    os.mkfifo(tmp_path / "matplotlibrc")
    lines = "import dlrun.plots.curves"
    if library == "optuna":  # of which some parts import it too
        pytest.importorskip("optuna")
        words = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "lr=interval(0.01,0.1)", "dataset=iris"]
        lines = f"import sys; from dlrun.command.cli import main; sys.argv = {['dlrun', *words, 'steps=1']}; main()"
    subprocess.run([sys.executable, "-c", lines], cwd=tmp_path, check=True, capture_output=True, timeout=200)


def test_pipes_and_devices_among_configs_do_not_hold_anybody_up(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
) -> None:
    theirs = stranger(tmp_path / "theirs", marker)
    os.mkfifo(theirs / "dataset" / "pipe.yaml")
    config_of = ["--config-dir", str(theirs), "--config-name", "config"]
    assert "pipe.yaml is a pipe" in " ".join(dlrun(*config_of).err.split())
    (theirs / "config.yaml").unlink()
    os.mkfifo(theirs / "config.yaml")
    assert dlrun(*config_of).code == 2


def test_a_pickle_of_hydras_is_not_read(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    marker: Path,
) -> None:
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Evil(marker)))
    for option in ("--experimental-rerun", "--exp"):
        ended = dlrun(option, "config.pickle")
        assert ended.code == 2 and "a pickle may run any code" in ended.err and not marker.exists()


@pytest.mark.parametrize(
    "key", ["allow_targets", "hydra.callbacks.x._target_", "+hydra.job_logging.x", "++hydra.x", "dataset@hydra.x"]
)
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
        "hydra.launcher.additional_parameters.output=/x",
        "hydra.launcher.temp_folder=/x",
        "hydra.launcher.ray.init.address=evil:6379",
        "hydra.sweeper.storage=sqlite:////x",
        "hydra.sweep.dir=/x",
        "hydra.run.dir=/x",
        "hydra/launcher=evil",
        "+dataset@hydra.callbacks.x=evil",
        "+hydra={callbacks:{}}",
        "++optimizer={_target_:os.mkdir}",
        "--config-dir=theirs",
        "-m",
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
    with pytest.raises(ConfigError, match=r"2 of 2 images cannot be read:\n.*0.png: it is damaged, or none of PNG"):
        image_folder.image_folder(str(tmp_path / "in"))


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_repository_runs_nothing_and_its_commit_is_found(tmp_path: Path, marker: Path) -> None:
    """Whatever its configuration names, and that of a submodule; in all ways in which git keeps a branch."""
    touch = f"sh -c 'touch {marker}; cat'"
    theirs = tmp_path / "theirs"
    for folder in (theirs, theirs / "module"):
        folder.mkdir()
        git(folder, "init", "-q", "-b", "main")
        (folder / "file").write_text("one")
        (folder / ".gitattributes").write_text("* filter=evil diff=evil\n")
        git(folder, "add", "file", ".gitattributes")
        git(folder, "commit", "-qm", "first")
    git(theirs, "add", "module")  # a submodule without .gitmodules
    git(theirs, "commit", "-qm", "second")
    head = git(theirs, "rev-parse", "HEAD")
    git(theirs, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    git(theirs, "worktree", "add", "-q", "-b", "other", str(tmp_path / "branch"))
    for folder in (theirs, theirs / "module"):
        for key in (
            "core.fsmonitor",
            "filter.evil.clean",
            "filter.evil.process",
            "diff.external",
            "diff.evil.textconv",
        ):
            git(folder, "config", key, touch)
        hooks = folder / ".git" / "hooks"
        hooks.mkdir(exist_ok=True)
        (hooks / "post-index-change").write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / "post-index-change").chmod(0o755)
        (folder / "file").touch()  # git has to look into it
    marker.unlink(missing_ok=True)

    def found(folder: Path) -> tuple[str | None, bool | None]:
        commit_of.cache_clear()
        return commit_of(str(folder))

    (theirs / "below").mkdir()
    os.utime(theirs / "file", (1, 1))
    assert found(theirs / "below") == (head, False)
    assert found(tmp_path / "tree") == found(tmp_path / "branch") == (head, False)
    (theirs / "file").write_text("two")
    assert found(theirs) == (head, True)
    (tmp_path / "branch" / "file").write_text("two")
    assert found(tmp_path / "branch") == (head, True)
    assert not marker.exists()
    git(theirs, "-c", "core.fsmonitor=false", "pack-refs", "--all")
    assert not (theirs / ".git" / "refs" / "heads" / "main").exists()
    assert found(theirs) == (head, True) and found(tmp_path / "branch") == (head, True)
    (theirs / ".git" / "HEAD").write_text("ref: ../../../precious\n")
    assert found(theirs) == (None, None)
    (theirs / ".git" / "HEAD").unlink()
    os.mkfifo(theirs / ".git" / "HEAD")
    assert found(theirs) == (None, None)
    assert found(tmp_path) == (None, None)
    assert not marker.exists()
    commit_of.cache_clear()


def test_compiled_code_comes_from_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    folder = tmp_path / "dlrun" / "compiled"

    def refused() -> bool:
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        with pytest.raises(ConfigError, match="must be a folder of your own"):
            compiles(True, 1, 1, cpu)
        return not compiles("auto", 10**6, 1000, cpu) and "TORCHINDUCTOR_CACHE_DIR" not in os.environ

    assert compiles(True, 1, 1, cpu) and os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert refused()
    folder.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr("os.getuid", lambda: folder.stat().st_uid + 1)
        assert refused()
    folder.rmdir()
    (tmp_path / "theirs").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "theirs")
    assert refused()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")  # wherever the command goes
    assert compiles(True, 1, 1, cpu) and os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "mine")
    for place in ("mine", "mine/steps"):
        (tmp_path / place).mkdir()
        (tmp_path / place).chmod(0o777)
        with pytest.raises(ConfigError, match=f"everybody may write to .*/{place}, from where compiled code is run"):
            compiles(True, 1, 1, cpu)
        (tmp_path / place).chmod(0o750)
    assert compiles(True, 1, 1, cpu)
    folder.unlink()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    assert compiles(True, 1, 1, cpu) and os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)


def test_no_part_of_the_compiler_looks_among_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlrun.matrix.trace import keep_to_the_cache

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    keep_to_the_cache()
    theirs = [
        f"{name}.{key}"
        for name, module in list(sys.modules.items())
        if name.startswith("torch._inductor")
        for key, value in list(vars(module).items())
        if isinstance(value, str) and "torchinductor_" in value and not key.startswith("__")
    ]
    assert not theirs
    from torch._inductor import codecache

    assert Path(codecache._HEADER_LOCK_DIR).is_relative_to(tmp_path)
    assert Path(codecache.default_cache_dir()) == tmp_path


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
