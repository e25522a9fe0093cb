"""What tells settings apart that nobody typed: another --config-name, a file that was edited, data that changed.

Runs are of one setting if their whole configs agree, and their data, but for the seed and what follows from it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from sys import intern
from typing import Any, TypeVar

import pandas as pd

from dlrun.config.check import leaves
from dlrun.errors import ConfigError
from dlrun.folder.resume import FREE
from dlrun.report.cells import BETWEEN, numbers
from dlrun.report.collect import composed_of, config_of, config_text, configured, digest_of
from dlrun.report.strata import REPEATS

T = TypeVar("T")
DATA = "data"  #: the column with the digest of a run's samples, where runs differ in them
BY_SEED = "by seed"  #: in place of a digest, where each seed is to have its own data
IGNORED = ("defaults", "seed", "zip", "settings", *FREE)
_IGNORED_LINES = tuple(f"{key}:" for key in IGNORED)
#: what a value is made of that stands in every run's own config, or is its folder
_FOLLOWS = re.compile(r"\$\{(hydra:runtime\.output_dir|[A-Za-z_]\w*(\.\w+)*)\}")


def told_apart(table: pd.DataFrame, axes: Sequence[str], runs: Mapping[str, Path]) -> tuple[pd.DataFrame, list[str]]:
    """The table with further columns where runs that are equal in `axes` are not, and notes that say so.

    runs: the folder of each run in the table. One whose files are damaged is left out, and a note says so.
    """
    left_out: dict[str, str] = {}

    def of(run: str, read: Callable[[Path], T]) -> T | None:
        try:
            return read(runs[run])
        except ConfigError as problem:
            left_out[run] = f"left out: {problem}"
            return None

    texts = {run: of(run, _essence) for run in table["run"]}
    digests = {run: of(run, digest_of) for run in table["run"]}
    keys: dict[str, None] = {}
    data = False
    for _, twins in table.groupby(list(axes), sort=False, dropna=False) if axes else [((), table)]:
        members = [run for run in twins["run"] if run not in left_out]
        if len({texts[run] for run in members} - {None}) > 1:
            configs = {run: of(run, _configs) for run in members if texts[run] is not None}
            whole = {run: found for run, found in configs.items() if found}
            keys |= dict.fromkeys(_differing(list(whole.values()), [runs[run] for run in whole]))
        known = Counter(digests[run] for run in members if digests[run])
        if len(known) > 1 and all(of(run, _drawn_by_seed) for run in members if digests[run]):
            own = twins.assign(digest=twins["run"].map(digests)).groupby("seed")["digest"]
            if own.nunique().max() == 1:  # each seed has data of its own, and not two
                digests |= dict.fromkeys(members, BY_SEED)
                continue
        data = data or len(known) > 1
        if known:  # of a run that died before it had read its data nothing is known
            digests |= {run: digests[run] or known.most_common(1)[0][0] for run in members}
    notes = []
    if added := [key for key in keys if key not in table]:
        told = [key for key in added if key not in REPEATS]
        for key in added:
            found = [of(run, partial(configured, keys=[key])) or {} for run in table["run"]]
            table.insert(table.columns.tolist().index(BETWEEN), key, numbers([row.get(key, "") for row in found]))
        if told:
            notes.append(
                f"nobody typed it, but these runs' configs differ in {', '.join(told)}: they are different settings, "
                "whatever their seeds"
            )
    if data:
        table.insert(
            table.columns.tolist().index(BETWEEN), DATA, [f"{str(digests[run] or '')[:8]}…" for run in table["run"]]
        )
        notes.append(f"these runs were not trained on the same data: {DATA} has the beginning of each digest")
    if left_out:
        table = table[~table["run"].isin(left_out)]
    return table, [*left_out.values(), *notes]


def _essence(folder: Path) -> str | None:
    """A run's config.yaml without what makes no setting: equal texts need not be parsed. None where there is none."""
    lines = config_text(folder).splitlines()
    # one text for all runs that have it alike: of many runs they fill the memory
    return intern("\n".join(line for line in lines if not line.startswith((*_IGNORED_LINES, "#")))) or None


def _configs(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's config as it was trained, and as it was composed, by key."""
    return _leaves(config_of(folder)), _leaves(composed_of(folder))


def _drawn_by_seed(folder: Path) -> bool:
    """Whether a run's samples themselves, not their split into parts, were to follow its seed: dataset.seed=${seed}."""
    keys = _leaves(composed_of(folder))
    return any(
        key.startswith("dataset.") and key != "dataset.split_seed" and "${seed}" in str(value)
        for key, value in keys.items()
    )


def _differing(members: Sequence[tuple[dict[str, Any], dict[str, Any]]], folders: Sequence[Path]) -> list[str]:
    """The keys in which the configs differ; where they differ in a choice, that stands for all its keys.

    members: what `_configs` says of each folder.
    """
    configs = [config for config, _ in members]
    found = [key for key in dict.fromkeys(key for config in configs for key in config) if _values(configs, key) > 1]
    for key in found:
        for config, raw in members:
            text = raw.get(key)
            if isinstance(text, str) and "${" in text and "${" not in _FOLLOWS.sub("", text):
                config[key] = text  # it differs where what it is made of does, which is looked at for itself
    found = [key for key in found if _values(configs, key) > 1]
    groups = {key.split(".")[0] for key in found if key.endswith("._target_")}
    chosen = [key for key in found if key.split(".")[0] not in groups]
    for group in sorted(groups):
        names = {_choice(folder, group) for folder in folders}
        targets = _values(configs, *[key for key in found if key.split(".")[0] == group and key.endswith("._target_")])
        chosen += [group] if len(names) >= targets else [key for key in found if key.split(".")[0] == group]
    return chosen


def _choice(folder: Path, group: str) -> str:
    with suppress(ConfigError):  # which is told where the column is made
        return configured(folder, [group])[group]
    return ""


def _leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    return {".".join(path): value for path, value in leaves(dict(config)) if path[0] not in IGNORED}


def _values(configs: Sequence[Mapping[str, Any]], *keys: str) -> int:
    """How many different values there are."""
    return len({repr([config.get(key) for key in keys]) for config in configs})
