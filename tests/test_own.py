"""Choices of one's own, in a package or in one file: they train as dlrun's own do, and count where they are typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from test_cli import Ended, dlrun, metrics, summary  # noqa: F401 - a fixture

import dlrun as library
from dlrun.config import typed
from dlrun.config.catalogue import conf_dir, constraints, constraints_in, groups, registered
from dlrun.config.escapes import quoted
from dlrun.config.own import shortened, text_of
from dlrun.errors import ConfigError
from dlrun.plots.diagnostics.own import figure as own_picture
from dlrun.plots.pictures import draw
from dlrun.training.components import KINDS, named, refuse_other_kinds

OWN = Path(__file__).parent.parent / "examples" / "own"
FILES = {"optimizer": "signum", "dataset": "rings", "architecture": "maxout", "diagnostics": "effective_rank"}
SEVERAL = ("diagnostics",)
QUICK = ["steps=6", "eval_every=0.2", "plots=none"]


def chosen(name: Callable[[str], str]) -> list[str]:
    return [
        f"{group}=[{name(file)}]" if group == "diagnostics" else f"{group}={name(file)}"
        for group, file in FILES.items()
    ]


def in_file(name: str) -> str:
    return str(OWN / "mylab" / f"{name}.py")


IN_FILES = chosen(in_file)


@pytest.fixture
def mylab(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What to type for the package."""
    monkeypatch.syspath_prepend(OWN)
    return ["--config-dir", str(OWN / "conf"), "allow_targets=[mylab]"]


@pytest.mark.slow
def test_a_package_and_its_files_train_the_same_run(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    mylab: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert dlrun(*mylab, *chosen(str), *QUICK, "hydra.run.dir=package").code == 0
    package, files = tmp_path / "package", tmp_path / "files"
    left = iter([False, False, True])  # ended in the middle, and gone on with where the files are typed again
    due = lambda self: next(left, False) and os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    monkeypatch.setattr("dlrun.job.run.Progress.due", due)
    ended = dlrun(*IN_FILES, *QUICK, "hydra.run.dir=files")
    allowed = f"allow_targets=[{','.join(in_file(name) for name in FILES.values())}]"
    assert ended.code == 130 and f"files '{allowed}'` goes on" in ended.out + ended.err
    refused = dlrun("resume", "files")
    assert refused.code == 2 and f"'{allowed}' stands in a file, and counts only if you type it" in refused.err
    monkeypatch.chdir(OWN)  # by paths as short as one types them
    short = f"allow_targets=[{','.join(f'mylab/{name}.py' for name in FILES.values())}]"
    assert dlrun("resume", str(files), short).code == 0
    assert summary(files)["status"] == "finished" and metrics(files) == metrics(package)
    for name in ("last.safetensors", "effective_rank.csv"):
        assert (files / name).read_bytes() == (package / name).read_bytes()
    assert len((files / "effective_rank.csv").read_text().splitlines()) == 1 + 2 * len(metrics(files))
    typed.take([])
    with pytest.raises(ConfigError, match="only dlrun's own code is run"):
        library.load(files).model  # noqa: B018
    assert library.load(files, allow_targets=["mylab/maxout.py"]).predict([[0.0, 1.0]]).shape == (1, 4)


@pytest.mark.parametrize("group", FILES)
def test_a_file_has_the_keys_of_its_yaml(group: str) -> None:
    kept, text = OWN / "conf" / group / f"{FILES[group]}.yaml", text_of(group, Path(in_file(FILES[group])))
    assert constraints_in(text, kept) == constraints(kept)
    made, there = yaml.safe_load(text), yaml.safe_load(kept.read_text())
    for node in (made, there):
        node.get(FILES[group], node).pop("_target_")
    assert made == there


@pytest.mark.slow
def test_a_sweep_with_a_file_trains_each_run_as_alone_and_is_resumed(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    sweep = [
        f"optimizer=sgd,{in_file('signum')}",
        "dataset=iris",
        "optimizer.lr=0.01",
        "seed=0,1",
        "hydra.sweep.dir=sweep",
    ]
    assert dlrun("-m", *sweep, *QUICK).code == 0
    assert (
        dlrun(f"optimizer={in_file('signum')}", "dataset=iris", "lr=0.01", "seed=1", *QUICK, "hydra.run.dir=alone").code
        == 0
    )
    for one, other in zip(metrics(tmp_path / "sweep" / "3"), metrics(tmp_path / "alone"), strict=True):
        assert [*map(float, one.values())] == pytest.approx([*map(float, other.values())], rel=1e-5)
    shutil.rmtree(tmp_path / "sweep" / "3")
    refused = dlrun("resume", "sweep")
    allowed = f"allow_targets=[{in_file('signum')}]"
    assert refused.code == 2 and f"dlrun resume sweep '{allowed}'" in refused.err
    assert dlrun("resume", "sweep", allowed).code == 0
    assert (tmp_path / "sweep" / "3" / "summary.json").exists()


def test_a_choice_in_a_file_is_described(dlrun: Callable[..., Ended]) -> None:  # noqa: F811
    for word in (f"optimizer/{in_file('signum')}", f"optimizer={in_file('signum')}"):
        told = dlrun("list", word).out
        assert "optimizer.beta=0.9  in [0, 1); decay of the mean" in told and "arXiv:1802.04434" in told
        assert told.count("by the sign of the mean gradient") == 1 and "θ ← θ - lr sign(m)" in told
    assert "there is no file" in dlrun("list", "optimizer/nowhere.py").err
    Path("net.py").write_text("class Net:\n    def __init__(self, shape, outputs, blocks, width=32): pass\n")
    assert "architecture.width=32  any; a comment" in dlrun("list", "architecture/net.py").out


def test_a_class_made_of_dlruns_has_its_keys_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dlrun.optimizers.adam import Adam\nclass Other: pass\n"
        "class Mine(Adam):\n    def update(self, theta, g, state, *, lr, beta1, beta2, eps,\n"
        "               boost=2.0):  # >= 1; factor\n        pass\n"
    )
    node = yaml.safe_load(text_of("optimizer", file))
    assert node.pop("_target_") == f"{file}:Mine"
    assert node.pop("boost") == 2.0
    adam = yaml.safe_load((conf_dir() / "optimizer" / "adam.yaml").read_text())
    assert node == {key: value for key, value in adam.items() if key != "_target_"}


MISTAKES = {
    "nothing": ("", [], "one class is wanted, or one of the file's name, and there is none"),
    "two": ("class A: pass\nclass B: pass", [], "and there is A, B"),
    "no Python": ("class A(:", [], "mine.py, line 1: this is no Python: invalid syntax"),
    "no rate": ("class A:\n    def update(self, *, lr): pass", [], "lr of A has no default: write `lr=0.01`"),
    "no default": ("class A:\n    def update(self, *, lr=1, k): pass", [], "k of A has no default: write k=..."),
    "no value": ("class A:\n    def update(self, *, lr=1, k=len): pass", [], "k=len: a default is a number, a text"),
    "a key": ("class A:\n    def update(self, *, lr=1, k=2): pass", ["optimizer.kk=1"], "the keys here are lr, k"),
    "a value": (
        "class A:\n    def update(self, *,\n        lr=1, # > 0; rate\n        ): pass",
        ["optimizer.lr=0"],
        "lr=0: must be > 0 (rate)",
    ),
    "fails": ("raise ValueError('odd')\nclass A:\n    def update(self, *, lr=1): pass", [], "cannot be imported (odd)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_file_that_makes_no_choice_is_told(
    mistake: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    text, words, message = MISTAKES[mistake]
    (tmp_path / "mine.py").write_text(text)
    ended = dlrun("optimizer=mine.py", *words)
    assert ended.code == 2 and message in ended.err and "Traceback" not in ended.err, ended.err
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}  # which Python leaves beside what it imports
    assert left == {"mine.py"}


def test_a_file_needs_a_place_and_a_name_of_its_own(dlrun: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811
    assert "optimizer=nowhere.py: there is no file" in dlrun("optimizer=nowhere.py").err
    (tmp_path / "adam.py").touch()
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "signum.py").touch()
    ended = {
        "optimizer=it's/my.py,sgd": "of several values, a path with commas, quotes or brackets in it stands in quotes",
        "optimizer=sgd,my.py": f"there is no file {tmp_path}/my.py\n",
        "optimizer='a b/my.py'": f"there is no file {tmp_path}/a b/my.py\n",
        "optimizer=folder.py": "is a folder, and a file is wanted",
        "optimizer=signum": "did you mean optimizer=signum.py?",
        "signum.py": "a file of your own stands behind what it is a choice of: optimizer=signum.py",
        "optimizer=nothing": "; one of your own is optimizer=FILE.py",
    }
    for word, told in ended.items():
        assert told in dlrun(word).err, word
    (tmp_path / "signum.py").write_text(Path(in_file("signum")).read_text())
    assert "begins with -m: dlrun -m optimizer=sgd,signum.py" in dlrun("optimizer=sgd,signum.py").err
    assert "adam is a choice of dlrun's own: give the file another name" in dlrun("optimizer=adam.py").err


UGLY = ["it's", "a,b", "[x]", "a b", "${lr}", 'say "hi"', "back\\slash", "\\'", 'end"', "a=b", "(p)", "{é😀}", "a\nb"]


@pytest.mark.parametrize("folder", UGLY)
def test_a_path_may_hold_any_sign(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone as the shell hands it over, among others in quotes; and YAML, allow_targets and their readers agree."""
    file = tmp_path / folder / "signum.py"
    file.parent.mkdir()
    shutil.copy(in_file("signum"), file)
    monkeypatch.chdir(tmp_path)
    for value, short in (
        (f"{folder}/signum.py", "signum"),
        (quoted(f"{folder}/signum.py"), "signum"),
        (f"sgd,{quoted(str(file))}", "sgd,signum"),
        (f"choice({quoted(str(file))}, adam)", "choice(signum, adam)"),
    ):
        typed.take([word := f"optimizer={value}"])
        choice, allowed = shortened([word])
        assert choice == f"optimizer={short}"
        parsed = OverridesParser.create().parse_override(allowed)
        assert OmegaConf.to_container(OmegaConf.create(parsed.value()), resolve=True) == [str(file)]
        for again in (allowed, typed.whole(f"allow_targets=[{value}]")):
            typed.take([again])
            assert str(file) in typed.packages(), again
        assert OmegaConf.create(text_of("optimizer", file))._target_ == f"{file}:Signum"


@pytest.mark.slow
def test_a_run_of_a_file_in_an_ugly_folder_is_looked_into(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "it's [a], ${lr}"
    folder.mkdir()
    shutil.copy(in_file("maxout"), folder)
    assert dlrun(f"architecture={folder}/maxout.py", "dataset=iris", *QUICK, "hydra.run.dir=run").code == 0
    asked = re.search("allow_targets=.*(?= stands)", dlrun("resume", "run").err)
    assert asked
    [word] = shlex.split(f"'{asked[0]}")
    assert dlrun("diagnose", "run", "diagnostics=[confusion]", word).code == 0


@pytest.mark.slow
def test_a_file_that_another_file_names_is_not_run(dlrun: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811
    """A stranger's folder names Python beside it: in its config, its plan, its settings, its defaults."""
    evil = tmp_path / "evil.py"
    evil.write_text(
        f"import os\nos.mkdir({str(tmp_path / 'marker')!r})\n"
        "from dlrun.optimizers.sgd import SGD\nclass Evil(SGD): pass\n"
    )
    assert dlrun("dataset=iris", *QUICK, "hydra.run.dir=theirs").code == 0
    config = tmp_path / "theirs" / "config.yaml"
    node = yaml.safe_load(config.read_text())
    for target in (f"{evil}:Evil", "evil.py:Evil", f"{evil}:os.mkdir"):
        node["allow_targets"] = [str(evil)] if target == f"{evil}:Evil" else []
        config.write_text(yaml.safe_dump({**node, "architecture": {**node["architecture"], "_target_": target}}))
        for words in (
            ["--config-dir", "theirs", "--config-name", "config"],
            ["resume", "theirs"],
            ["diagnose", "theirs", "diagnostics=[weights]"],
            ["predict", "theirs", "new.csv", "--output", "out.csv"],
            ["export", "theirs", "--format", "torch"],
        ):
            ended = dlrun(*words)
            assert ended.code == 2 and "Traceback" not in ended.err, (words, ended.err)
            assert not (tmp_path / "marker").exists(), (target, words)
    dlrun("report", "theirs")
    (tmp_path / "plan").mkdir()
    for word in (f"optimizer={evil}", "optimizer=evil.py", "+optimizer=sgd,evil.py", "diagnostics=[evil.py]"):
        (tmp_path / "plan" / "plan.json").write_text(json.dumps({"commands": [[word, "epochs=1"]], "runs": {}}))
        ended = dlrun("resume", "plan")
        assert ended.code == 2 and "may run any code" in ended.err and not (tmp_path / "marker").exists(), ended.err
    with pytest.raises(ConfigError, match="stands in a file"):
        shortened([f"optimizer={evil}"])
    (tmp_path / "settings.yaml").write_text("- {optimizer: evil.py}\n- {optimizer: evil}\n")
    (tmp_path / "mine.yaml").write_text("defaults: [dlrun, override optimizer: evil, _self_]\n")
    for words in (["-m", "settings=settings.yaml"], ["--config-dir", ".", "--config-name", "mine"], ["optimizer=evil"]):
        ended = dlrun(*words, "dataset=iris")
        assert ended.code == 2 and not (tmp_path / "marker").exists(), (words, ended.err)
    assert str(evil) not in typed.packages()
    assert dlrun("optimizer=evil.py", "dataset=iris", *QUICK).code == 0 and (tmp_path / "marker").exists()


def test_a_diagnostic_of_ones_own_has_a_picture(tmp_path: Path) -> None:
    layers, header = ("1.w", "$4.weight{"), "epoch,step,layer,quantity,value"
    values = {(e, layer, q): e + 10 * len(layer) + ord(q) for e in range(3) for layer in layers for q in "ab"}
    lines = [f"{e},{4 * e},{layer},{q},{value}" for (e, layer, q), value in values.items()]
    looks: dict[str, object] = {"mine": {"table": "mine.csv"}, "../up": {}, "curves": {}}
    (tmp_path / "summary.json").write_text(json.dumps({"status": "finished", "name": "x", "diagnostics": looks}))
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,lr,train_loss,val_loss,grad_norm,seconds\n0,0,1,1,1,1,0\n1,4,1,1,1,1,1\n"
    )
    (tmp_path / "mine.csv").write_text("\n".join([header, *lines, ""]))
    page = own_picture(tmp_path, "mine")
    assert page is not None
    for axes, quantity in zip(page.axes, "ab", strict=True):
        assert axes.get_ylabel() == quantity
        drawn = {str(line.get_label()): list(line.get_ydata()) for line in axes.get_lines()}  # type: ignore[arg-type]
        assert drawn == {layer: [values[e, layer, quantity] for e in range(3)] for layer in layers}
    assert [path.name for path in draw(tmp_path)] == ["curves.png", "mine.png"]
    for other in (header, f"{header}\n0,0,a,b,1\n0,0,a,b,2", "epoch,x\n0,1"):
        (tmp_path / "mine.csv").write_text(f"{other}\n")
        assert own_picture(tmp_path, "mine") is None


KINDS_OF = {
    "architecture": ("torch.nn", "Module", "def forward(self, x): return x"),
    "diagnostics": ("dlrun.diagnostics.diagnostic", "OfFinished", "def look(self, view): return []"),
    "initializer": ("dlrun.initializers.drawn", "Zeros", "pass"),
    "loss": ("dlrun.losses", "MSE", "pass"),
    "normalization": ("dlrun.normalizations", "Normalization", "def layer(self, channels, axes): pass"),
    "optimizer": ("dlrun.optimizers.rule", "Rule", "def update(self, *_, lr=1): pass"),
    "regularizer": ("dlrun.regularizers.regularizer", "Regularizer", "pass"),
    "schedule": ("dlrun.schedules.schedule", "Schedule", "def __call__(self, t, clock): return t"),
    "tracker": ("dlrun.trackers.tracker", "Tracker", "open = log = close = print"),
}


def own_class(place: Path, group: str, body: str = "") -> dict[str, object]:
    """The part of a config that names a class for this group, in a file of its own."""
    module, base, usual = KINDS_OF[group]
    file = place / f"{group}{len(list(place.iterdir()))}.py"
    file.write_text(f"from {module} import {base}\nclass B({base}):\n    {body or usual}\n")
    node: dict[str, object] = {"_target_": f"{file}:B"}
    return {"mine": node} if group in ("diagnostics", "regularizer", "tracker") else node


def test_every_choice_of_dlruns_is_of_its_groups_kind() -> None:
    """So that KINDS names bases as they are called, and a file of one's own has to be no more than these are."""
    assert sorted(KINDS) == sorted({*groups()} - {"dataset"})
    for group, kind in KINDS.items():
        for target in registered(group):
            try:
                cls = named(target)
            except ConfigError:  # of a tracker whose package is not installed
                continue
            assert kind.base in [f"{each.__module__}.{each.__qualname__}" for each in cls.__mro__], target


def test_a_class_of_another_kind_is_refused(tmp_path: Path) -> None:
    for group in KINDS_OF:
        part = own_class(tmp_path, group)
        refuse_other_kinds({group: part})
        for other in KINDS_OF:
            if other != group:
                node: dict[str, object] = part.get("mine", part)  # type: ignore[assignment]
                several = other in ("diagnostics", "regularizer", "tracker")
                with pytest.raises(
                    ConfigError, match=rf"^{other}: B in .* is no {KINDS[other].name}: it is for {group}="
                ):
                    refuse_other_kinds({other: {"mine": node} if several else node})
    (tmp_path / "plain.py").write_text("class B: pass\n")
    with pytest.raises(ConfigError, match=r"is no architecture: class B\(torch.nn.Module\) would be one"):
        refuse_other_kinds({"architecture": {"_target_": f"{tmp_path}/plain.py:B"}})
    with pytest.raises(ConfigError, match=r"schedule: B in .* lacks __call__"):
        refuse_other_kinds({"schedule": own_class(tmp_path, "schedule", "pass")})


NET = "from torch import nn\nclass Mine(nn.Module):\n    def forward(self, x): return self.layer(x)\n"
MADE = "    def __init__(self, shape, outputs, blocks):\n        super().__init__()\n        "
QUICK_ONE = "a typo"
WRONG = {
    "no arguments": ("architecture", NET, "Mine in FILE: Mine.__init__() takes 1 positional argument but 4 were given"),
    "a typo": ("architecture", f"{NET}{MADE}self.layer = nn.Lienar(4, 3)", "FILE, line 6: AttributeError: module"),
    "sizes": ("architecture", f"{NET}{MADE}self.layer = nn.Linear(3, 3)", "FILE, line 3: RuntimeError: mat1 and mat2"),
    "a list": ("dataset", "def mine(): return [1]", "mine gives a list, and dlrun.datasets.data.Samples is wanted"),
    "an end": ("dataset", "import sys\ndef mine():\n    sys.exit(0)", "FILE, line 3: sys.exit(0) was called"),
    "an end at once": ("architecture", f"{NET}exit()", "cannot be imported (sys.exit() was called)"),
}


@pytest.mark.parametrize("wrong", [QUICK_ONE, *(pytest.param(each, marks=pytest.mark.slow) for each in WRONG)])
def test_what_fails_in_ones_own_file_is_told_with_its_line(
    wrong: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    group, text, told = WRONG[wrong]
    (tmp_path / "mine.py").write_text(text)
    for command in ([f"{group}=mine.py"], ["-m", f"{group}=mine.py"]):
        ended = dlrun(*command, *(["dataset=iris"] if group != "dataset" else []), *QUICK)
        assert ended.code == 2 and told.replace("FILE", str(tmp_path / "mine.py")) in ended.err, ended.err


def test_a_training_that_a_file_would_end_has_failed(dlrun: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "mine.py").write_text(
        "from dlrun.optimizers.sgd import SGD\nclass Mine(SGD):\n    def update(self, *_, lr): exit(0)\n"
    )
    ended = dlrun("optimizer=mine.py", "dataset=iris", *QUICK, "hydra.run.dir=run")
    told = f"{tmp_path / 'mine.py'}, line 3: sys.exit(0) was called"
    assert ended.code == 1 and told in ended.err and summary(tmp_path / "run")["error"] == told
    assert summary(tmp_path / "run")["status"] == "failed"


def test_a_tracker_that_fails_is_told_of_on_the_screen(dlrun: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811
    """Whether it fails before the training or in it; the run is whole all the same."""
    for moment in ("open", "log"):
        (tmp_path / "broken.py").write_text(
            "from dlrun.trackers.tracker import Tracker\nclass Broken(Tracker):\n    'Fails'\n"
            "    def open(self, *a): return -1\n    log = close = open\n"
            f"    def {moment}(self, *a): raise OSError('no room')\n"
        )
        sys.modules.pop(str(tmp_path / "broken.py"), None)
        ended = dlrun("tracker=broken.py", "dataset=iris", *QUICK, f"hydra.run.dir={moment}")
        told = "tracker=broken failed, and the run goes on without it: OSError('no room')"
        assert ended.code == 0 and (ended.out + ended.err).count(told) == 1, moment
        assert (tmp_path / moment / "dlrun.log").read_text().count(told) == 1
        found = summary(tmp_path / moment)
        assert found["status"] == "finished" and found["tracker"] == {"broken": {"failed": "OSError('no room')"}}


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_tracker_that_fails_in_a_sweep_is_told_of_once(
    seeds: int,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.py").write_text(
        "from dlrun.trackers.tracker import Tracker\nclass Broken(Tracker):\n    'Fails'\n"
        "    def open(self, *a): raise OSError('no room')\n    log = close = open\n"
    )
    ended = dlrun("-m", "tracker=broken.py", "dataset=iris", f"seed=range({seeds})", *QUICK, "hydra.sweep.dir=sweep")
    assert ended.code == 0 and ended.out.count("tracker=broken failed") == 1 and ended.out.count("no room") == 1
