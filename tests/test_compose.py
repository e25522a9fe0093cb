"""A sweep's jobs: config, folder and files as Hydra's own run_job makes them, to the last byte; and their check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict

from dlrun.config.catalogue import conf_dir
from dlrun.errors import ConfigError
from dlrun.sweep.compose import check_jobs, compose, named

#: a small config with every kind of trouble: interpolations of all sorts, groups, lists, types, options below choices
MAIN = """
defaults: [_self_, {optimizer: sgd}, {loss: null}]
lr: 0.1
seed: 0
word: some
empty: null
twice: ${lr}
chain: ${twice}-${seed}
path: ${hydra:runtime.output_dir}/x
choice: ${hydra:runtime.choices.optimizer}
number: ${hydra:job.num}
typed: ${hydra:overrides.task}
when: ${now:%Y}-${word}
copy: ${nested}
relative: {a: "${.b}", b: 1}
nested: {a: {b: 1, c: "${lr}"}, list: [1, "${seed}"]}
hidden: [3, 4]
optimizer: {shared: 1}
hydra:
  sweep: {dir: "sweeps/${word}/${now:%Y}", subdir: "${hydra.job.num}-${seed}"}
"""
GROUPS = {
    "optimizer/sgd": "{momentum: 0.0, lr: '${lr}'}",
    "optimizer/adam": "{beta: [0.9, 0.99], eps: 1e-8}",
    "loss/mse": "{weight: 1}",
}


@contextmanager
def loading(folder: Path, name: str, *typed: str) -> Iterator[tuple[DictConfig, Any]]:
    """A sweep's config and its loader, as a launcher receives them."""
    version.setbase("1.3")
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("dlrun", create_config_search_path(str(folder)))
    before = HydraConfig.instance().cfg
    try:
        config = hydra.compose_config(name, ["hydra.mode=MULTIRUN", *typed], RunMode.MULTIRUN, False)
        HydraConfig.instance().set_config(config)
        str(config.hydra.sweep.dir)  # Hydra's sweepers make the folder before they launch: its time is the sweep's
        yield config, hydra.config_loader
    finally:
        HydraConfig.instance().cfg = before
        GlobalHydra.instance().clear()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the small config, with an empty one to work in."""
    folder = tmp_path_factory.mktemp("conf")
    (folder / "main.yaml").write_text(MAIN)
    for name, text in GROUPS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        yield folder


def by_hydra(config: DictConfig, loader: Any, overrides: list[str], number: int) -> tuple[Any, Path, dict[str, str]]:
    """A job's config, folder and files, as Hydra's basic launcher makes them."""
    composed = loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    seen: list[Any] = []

    def task(own: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        seen.extend([OmegaConf.to_container(own, resolve=True), folder])

    result = run_job(task, composed, "hydra.sweep.dir", "hydra.sweep.subdir", HydraContext(loader, Callbacks()), False)
    assert result.return_value is None
    own, folder = seen
    files = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.yaml")}
    for file in files:
        (folder / file).unlink()
    return own, folder, files


def assert_equal_to_hydras(config: DictConfig, loader: Any, jobs: list[list[str]], first: int) -> None:
    before = HydraConfig.instance().cfg
    try:
        expected = [by_hydra(config, loader, overrides, number) for number, overrides in enumerate(jobs, first)]
    except Exception:
        with pytest.raises((HydraException, ConfigError)):  # what Hydra refuses is refused
            [(job.config, dict(job.files)) for job in compose(config, loader, jobs, first)]
        return
    composed = compose(config, loader, jobs, first)
    for job, overrides, (own, folder, files) in reversed(list(zip(composed, jobs, expected, strict=True))):
        assert job.overrides == overrides
        assert repr(job.config) == repr(own)  # 1 is not 1.0 or true here
        assert (job.folder, job.files) == (folder, files)
    assert HydraConfig.instance().cfg is before


NUMBERS = "0 1 007 -3 1_0 1e-3 1e+3 .5 -0.0 3. nan -inf 0x1 1:20 2026-01-01".split()
WORDS = ["true", "False", "null", "yes", "n", "adam", "a/b", "x=y", "-x", "~", "é", "a\\,b", "w" * 140]
QUOTED = ["'3'", "'null'", "''", "'a b'", '"it\'s"', "'#x'", "'a: b'", "' long'", f"'{'word ' * 30}'", "'x\ny'"]
ODD = ["???", "'${seed}'", "${seed}", "[]", "[1,a]", "{a:1}", "[${lr}]"]
PLAIN = ["seed", "lr", "word", "nested.a.b", "optimizer.shared", "empty", "twice", "path", "number"]
OTHER = "chain copy nested.a.c nested.a nested hidden hidden.0 optimizer.momentum relative.b +new ++lr ++nested.new.x"
CHOICES = "optimizer=sgd optimizer=adam loss=mse ~loss ~nested.a.b +loss@other=mse optimizer=adam optimizer=sgd".split()
CHOICES += ["hydra.job.name=x", "hydra.job.config.override_dirname.exclude_keys=[seed]", "hydra.output_subdir=null"]
CHOICES += ["hydra.sweep.subdir=${hydra.job.override_dirname}", "hydra.sweep.subdir=${lr}/${seed}_${word}"]

CASES: dict[str, list[list[str]]] = {
    "numbers": [[f"lr={value}", f"word={value}"] for value in NUMBERS[5:8]],
    "texts": [[f"empty={text}", f"nested.a.b={text}"] for text in (WORDS[3], QUOTED[0], QUOTED[8])],
    "choices": [["optimizer=sgd", "seed=1"], ["optimizer=adam", "seed=2"], ["optimizer=adam", "seed=3"]],
    "lists": [["hidden=[1]", "seed=1"], ["hidden=[2,3]", "seed=2"]],
    "order": [["nested.a=1", "nested={a: 5}"], ["nested.a=2", "nested={a: 5}"], ["seed=1", "seed=2"]],
    "fed": [["twice=${seed}", "seed=3"], ["twice=${seed}", "seed=4"], ["twice=5", "seed=4"]],
    "number": [["path=${hydra.job.num}", "lr=1"]],  # nothing that a run's own config knows: refused
    "dirname": [["hydra.sweep.subdir=${hydra.job.override_dirname}", f"lr={v}", "seed=1"] for v in (1, 2)],
    "added": [["+new=1"], ["+new=2"], ["++lr=2"], ["~empty"]],
}


@st.composite
def sweeps(draw: st.DrawFn) -> list[list[str]]:
    """Jobs as sweepers make them, with the same keys in each, some of them odd."""
    value = st.sampled_from([*NUMBERS, *WORDS, *QUOTED, *ODD])
    key = st.sampled_from(PLAIN) | st.sampled_from(OTHER.split())
    texts = draw(st.lists(key.map("{}=".format) | st.sampled_from(CHOICES), min_size=1, max_size=4))
    return [[text + draw(value) if text.endswith("=") else text for text in texts] for _ in range(2)]


@settings(max_examples=4, deadline=None, phases=[Phase.generate])  # each job takes Hydra 0.1 s
@given(jobs=sweeps(), first=st.sampled_from([0, 12]))
def test_random_jobs_equal_hydras_own(small: Path, jobs: list[list[str]], first: int) -> None:
    with loading(small, "main") as (config, loader):
        assert_equal_to_hydras(config, loader, jobs, first)


@pytest.mark.parametrize("case", CASES)
def test_jobs_equal_hydras_own(small: Path, case: str) -> None:
    with loading(small, "main") as (config, loader):
        assert_equal_to_hydras(config, loader, CASES[case], 9)


def test_dlruns_own_config_equals_hydras_and_each_structure_is_composed_once(tmp_path: Path) -> None:
    sweep = f"hydra.sweep.dir='{tmp_path}/a sweep in a folder whose name is long and has many blanks in it/${{name}}'"
    jobs = [["optimizer=adam", f"seed={seed}", f"lr={lr}"] for seed in range(50) for lr in ("1e-1", "1e-2")]
    jobs.append(["optimizer=sgd", "seed=0", "lr=0.1"])
    with loading(conf_dir(), "dlrun", sweep) as (config, loader):
        counted = Counted(loader)
        composed = compose(config, counted, jobs, 0)
        assert counted.composed == 2
        for number in (3, 98, 100):
            own, folder, files = by_hydra(config, loader, jobs[number], number)
            assert (composed[number].config, composed[number].folder) == (own, folder)
            assert composed[number].files == files
        again = compose(config, counted, jobs[1:3], 1)
        assert counted.composed == 2 and again[1].files == composed[2].files


def test_a_sweep_that_was_checked_before_its_folder_was_named_goes_into_that_folder() -> None:
    with loading(conf_dir(), "dlrun") as (config, loader):
        OmegaConf.clear_cache(config)
        compose(config, loader, [["seed=0"]], 0)
        named_now = Path(config.hydra.sweep.dir).absolute()
        assert compose(config, loader, [["seed=1"]], 5)[0].folder == named_now / "5"


class Counted:
    """A loader that counts what it composes."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.composed = loader, 0

    def load_sweep_config(self, *arguments: Any) -> DictConfig:
        self.composed += 1
        return self.loader.load_sweep_config(*arguments)

    def get_group_options(self, *arguments: Any, **options: Any) -> list[str]:
        return self.loader.get_group_options(*arguments, **options)


def refusal(jobs: list[list[str]], *typed: str) -> list[str]:
    """The lines of the message for these jobs, none if they may be trained."""
    with loading(conf_dir(), "dlrun", *typed) as (config, loader):
        try:
            check_jobs(compose(config, loader, jobs, 0))
        except ConfigError as mistake:
            return str(mistake).splitlines()
    return []


def test_every_mistake_of_a_sweep_is_told_with_its_runs() -> None:
    lrs, optimizers = ("0.1", "-1"), ("sgd", "momentum")
    product = [
        [f"optimizer={o}", f"seed={s}", f"lr={lr}", "epochs=0"] for o in optimizers for s in range(2) for lr in lrs
    ]
    assert refusal(product) == [
        "runs 0-7: epochs=0: must be int >= 1 (passes over the training set)",
        "runs 1, 3, 5, 7: lr=-1: must be null or > 0 (learning rate, null takes the optimizer's own default)",
    ]
    right = [[*each[:2], "lr=0.1"] for each in product]
    assert refusal(right) == []
    assert refusal([*right, ["optimizer=momentum", "optimizer.momentum=1"]])[0].startswith(
        "run 8: optimizer.momentum=1"
    )


def test_what_one_structure_allows_another_does_not() -> None:
    told = refusal([["optimizer=momentum", "optimizer.momentum=0.5"], ["optimizer=sgd", "+optimizer.momentum=0.5"]])
    assert [line.partition(": there is no such key")[0] for line in told] == ["run 1: optimizer.momentum=0.5"]


def test_values_that_a_mistake_feeds_are_told_too() -> None:
    told = refusal([[f"epochs={epochs}", "dataset.folds=${epochs}"] for epochs in (1, 2, 3)])
    assert [line.partition(": must")[0] for line in told] == ["run 0: dataset.folds=1"]


def test_a_config_that_does_not_resolve_is_told_with_its_runs() -> None:
    jobs = [["lr=0.1", "clip_norm=${nowhere}"], ["lr=1", "clip_norm=${nowhere}"], ["lr=1", "clip_norm=1"]]
    (told,) = refusal(jobs)
    assert told.startswith("runs 0-1: clip_norm: ") and "nowhere" in told


def test_code_of_ones_own_is_let_through_in_the_runs_that_allow_it() -> None:
    foreign = ["optimizer._target_=os.system"]
    assert refusal([foreign])[0].startswith("run 0: optimizer._target_=os.system: only dlrun's own code is run")
    told = refusal([["seed=0"], [*foreign, "seed=1"], ["optimizer._target_=dlrun.optimizers.sgd.SGD", "seed=2"]])
    assert [line.partition(" optimizer")[0] for line in told if "_target_" in line] == ["run 1:"]


def test_runs_are_named_in_spans() -> None:
    assert named([3]) == "run 3"
    assert named([4, 0, 1, 2]) == "runs 0-2, 4"
    assert named(range(10)) == "runs 0-9"
    assert named(range(0, 14, 2)) == "runs 0, 2, 4, 6 and 3 more"
