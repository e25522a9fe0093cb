"""A sweep's jobs as compose makes them, against Hydra's own run_job, to the last byte; and their check before the first run."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict

from dlrun.catalogue import conf_dir
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

    result = run_job(
        task, composed, "hydra.sweep.dir", "hydra.sweep.subdir", HydraContext(loader, Callbacks()), False
    )
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
            [(job.config, job.files()) for job in compose(config, loader, jobs, first)]
        return
    composed = compose(config, loader, jobs, first)
    for job, overrides, (own, folder, files) in reversed(list(zip(composed, jobs, expected, strict=True))):
        assert job.overrides == overrides
        assert repr(job.config) == repr(own)  # 1 is not 1.0 or true here
        assert (job.folder, job.files()) == (folder, files)
    assert HydraConfig.instance().cfg is before


VALUES = [
    *"0 1 007 -3 1_0 1e-3 1e+3 .5 -0.0 3. nan -inf true False null yes n 1:20 0x1 2026-01-01 adam a/b x=y -x ~ ???".split(),
    *("'3'", "'null'", "''", "'a b'", '"it\'s"', "a\\,b", "é", "'#x'", "'a: b'", "' long'", f"'{'word ' * 30}'", "'x\ny'"),
    *("'${seed}'", "${seed}", "${nested.a}", "[]", "[1,a]", "{a:1}", "w" * 140, "[${lr}]"),
]
KEYS = "lr seed word empty twice chain copy nested.a.b nested.a.c nested.a nested hidden hidden.0".split()
KEYS += "optimizer.shared optimizer.momentum optimizer.lr relative.b number path +new ++lr ++nested.new.x loss.weight".split()
CHOICES = "optimizer=sgd optimizer=adam loss=mse ~loss ~nested.a.b ~lr=0.1 +loss@other=mse optimizer.beta=[1,2]".split()
CHOICES += ["hydra.job.name=x", "hydra.job.config.override_dirname.exclude_keys=[seed]", "hydra.output_subdir=null"]
CHOICES += ["hydra.sweep.subdir=${hydra.job.override_dirname}", "hydra.sweep.subdir=${lr}/${seed}_${word}"]
PLAIN = "seed={} lr={} word={} nested.a.b={} optimizer.shared={} empty={}".split()


@st.composite
def sweeps(draw: st.DrawFn) -> list[list[str]]:
    """Jobs as sweepers make them, with the same keys in each, some of them odd."""
    value, key = st.sampled_from(VALUES), st.sampled_from(KEYS)
    texts = draw(st.lists(st.sampled_from(PLAIN) | key.map(lambda k: k + "={}") | st.sampled_from(CHOICES), max_size=4))
    return [[text.replace("{}", draw(value)) for text in texts] for _ in range(2)]


@settings(max_examples=8, deadline=None)
@given(jobs=sweeps(), first=st.sampled_from([0, 12]))
def test_random_jobs_equal_hydras_own(small: Path, jobs: list[list[str]], first: int) -> None:
    with loading(small, "main") as (config, loader):
        assert_equal_to_hydras(config, loader, jobs, first)
