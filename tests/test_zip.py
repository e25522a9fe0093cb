"""Sweeps with keys side by side and lists of settings, beside Cartesian products: which jobs come of which command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hypothesis import given
from hypothesis import strategies as st

from dlrun.command.cli import main
from dlrun.errors import ConfigError
from hydra_plugins.dlrun_stack.sweeper import directions, typed


def jobs(*arguments: str) -> list[list[str]]:
    """The overrides of each job, as the sweeper combines them."""
    points = directions(OverridesParser.create().parse_overrides(list(arguments)))
    return [[override for point in job for override in point] for job in product(*points)]


@given(st.lists(st.sampled_from(["lr=1e-1,1e-2", "seed=range(3)", "optimizer=choice(sgd,adam)", "lr=3", "+x='a,b',c"])))
def test_without_pairs_it_is_hydras_own_sweeper(arguments: list[str]) -> None:
    [hydras] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(arguments), None)
    assert jobs(*arguments) == hydras
    assert jobs(*arguments, "zip=null", "settings=null") == hydras


def test_zipped_keys_go_side_by_side() -> None:
    pairs = ["lr=1e-1,1e-2", "batch_size=64,32"]
    assert jobs("zip=[lr,batch_size]", *pairs) == [["lr=0.1", "batch_size=64"], ["lr=0.01", "batch_size=32"]]
    assert jobs("seed=range(3)", *pairs, "zip=[lr,batch_size]") == [
        [f"seed={seed}", *pair]
        for seed in range(3)
        for pair in (["lr=0.1", "batch_size=64"], ["lr=0.01", "batch_size=32"])
    ]


def test_groups_of_zipped_keys_are_combined() -> None:
    found = jobs("zip=[[lr,+b],[c,d]]", "lr=1,2", "+b=3,4", "epochs=5", "c=range(3)", "d=choice(x,y,z)")
    expected = [
        [*first, "epochs=5", *second]
        for first in (["lr=1", "+b=3"], ["lr=2", "+b=4"])
        for second in (["c=0", "d=x"], ["c=1", "d=y"], ["c=2", "d=z"])
    ]
    assert found == expected


SETTINGS = """
- {optimizer: sgd, lr: 1e-1}
- optimizer: momentum
  optimizer.momentum: 0.9
  clip_norm: null
  architecture.hidden: [64, 64]
- {}
- {name: "it's 1,2 or ${seed}", compile: true, schedule: 'null', +text: '3', threads: 1e-05}
"""


def test_settings_of_a_file_are_combined_with_what_is_swept(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(SETTINGS)
    found = jobs(f"settings={tmp_path / 'my.yaml'}", "seed=0,1")
    assert found == [
        [*setting, f"seed={seed}"]
        for setting in (
            ["optimizer=sgd", "lr=0.1"],
            ["optimizer=momentum", "optimizer.momentum=0.9", "clip_norm=null", "architecture.hidden=[64,64]"],
            [],
            ["name='it\\'s 1,2 or ${seed}'", "compile=true", "schedule='null'", "+text='3'", "threads=1e-05"],
        )
        for seed in (0, 1)
    ]
    parsed = OverridesParser.create().parse_overrides(found[-1])
    assert [each.value() for each in parsed] == ["it's 1,2 or ${seed}", True, "null", "3", 1e-05, 1]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab1 ,.'=[]{}\\\"-e", max_size=6)
)


@given(value=scalars | st.lists(scalars, max_size=3))
def test_a_value_of_a_file_reaches_hydra_as_it_is(value: Any) -> None:
    [override] = OverridesParser.create().parse_overrides([f"key={typed(value)}"])
    assert override.value() == value and repr(override.value()) == repr(value)


MISTAKES = {
    "unequal lengths": (["zip=[lr,seed]", "lr=1,2", "seed=range(3)"], "zip: lr has 2, seed has 3 values"),
    "unknown key": (["zip=[lr,sed]", "lr=1,2", "seed=1,2"], "zip: sed is not swept; did you mean seed?"),
    "not swept": (["zip=[lr,seed]", "lr=1,2", "seed=1"], "zip: seed is not swept; give it as many values"),
    "in two groups": (["zip=[[lr,seed],[lr,b]]", "lr=1,2", "seed=1,2", "b=1,2"], "zip: lr is named twice"),
    "no keys": (["zip=3", "lr=1,2"], "zip: write zip=[lr,batch_size]"),
    "half groups": (["zip=[lr,[seed]]", "lr=1,2"], "zip: write zip=[lr,batch_size]"),
    "without brackets": (["zip=lr,seed", "lr=1,2", "seed=1,2"], "zip: write zip=[lr,batch_size]"),
    "no values": (["seed=range(0)"], "seed=range(0): there is no such value"),
    "no file": (["settings=nowhere.yaml"], "settings=nowhere.yaml: "),
    "two files": (["settings=a.yaml,b.yaml"], "settings: name one file"),
    "no list": (["settings=mapping.yaml"], "settings=mapping.yaml: must hold a list of settings"),
    "no mappings": (["settings=words.yaml"], "settings=words.yaml: must hold a list of settings"),
    "no YAML": (["settings=broken.yaml"], "settings=broken.yaml: "),
    "typed as well": (["settings=right.yaml", "lr=3"], "settings=right.yaml: lr is in the file and in the command"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"mapping": "lr: 1", "words": "[lr]", "broken": "- {lr: 1", "right": "- {lr: 1}\n- {seed: 1}"}
    for name, text in files.items():
        Path(f"{name}.yaml").write_text(text)
    arguments, message = MISTAKES[mistake]
    with pytest.raises(ConfigError) as told:
        jobs(*arguments)
    assert str(told.value).startswith(message) and "\n" not in str(told.value)


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[Any]]]:
    """The command `dlrun -m`, with a launcher that trains nothing: the exit code and the batches that it was given."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, list[Any]]:
        batches: list[Any] = []

        def launch(self: Any, job_overrides: Any, initial_job_idx: int) -> list[Any]:
            batches.append((initial_job_idx, job_overrides))
            return []

        # Hydra loads its plugins once more than Python does, so an import gives another class
        basic = Plugins.instance().class_name_to_class["hydra._internal.core_plugins.basic_launcher.BasicLauncher"]
        monkeypatch.setattr(basic, "launch", launch)
        monkeypatch.setattr(sys, "argv", ["dlrun", "-m", "hydra/launcher=basic", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), batches

    return command


def test_the_command_hands_on_pairs_in_batches(launched: Callable[..., tuple[int, list[Any]]], tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    params = "hydra: {sweeper: {params: {lr: '1e-1,1e-2', batch_size: '64,32'}}}"
    (tmp_path / "plan" / "pairs.yaml").write_text(f"# @package _global_\n{params}\n")
    keys = ["zip=[lr,batch_size]", "optimizer=glob(ada*)", "optimizer.eps=1e-8", "hydra.sweeper.max_batch_size=4"]
    code, batches = launched("+plan=pairs", *keys, "--config-dir", str(tmp_path))
    assert code == 1  # that launcher leaves no runs
    names = ["adadelta", "adagrad", "adam", "adamw"]
    pairs = [["lr=0.1", "batch_size=64"], ["lr=0.01", "batch_size=32"]]
    jobs = [[*pair, "+plan=pairs", f"optimizer={name}", "optimizer.eps=1e-08"] for pair in pairs for name in names]
    expected = [[*job, f"hydra.sweep.subdir='{number}'"] for number, job in enumerate(jobs)]  # each in its place
    assert batches == [(0, expected[:4]), (4, expected[4:])]


def test_a_mistake_in_the_last_job_stops_the_sweep_before_the_first(
    launched: Callable[..., tuple[int, list[Any]]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, batches = launched("lr=0.1,0.01,-1", "hydra.sweeper.max_batch_size=1")
    assert (code, batches) == (2, []) and not list(tmp_path.iterdir())
    assert "run 2: lr=-1: must be null or > 0" in " ".join(capfd.readouterr().err.split())
    code, batches = launched("zip=[lr,seed]", "lr=0.1,0.2", "seed=1,2,3")
    assert (code, batches) == (2, []) and not list(tmp_path.iterdir())
    assert capfd.readouterr().err.count("\n") == 1


def test_zip_without_a_sweep_is_refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dlrun", "zip=[lr,seed]"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "zip=[lr,seed]: for sweeps alone, which begin with -m" in capfd.readouterr().err
