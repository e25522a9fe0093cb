"""What tells runs apart and is no setting of a technique: folds and splits, which repeat it, and datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dlrun.errors import ConfigError
from dlrun.folder.reading import read_summary
from dlrun.folder.resume import FREE
from dlrun.report.cells import BETWEEN
from dlrun.report.collect import composed_of, digest_of
from dlrun.report.statistics import FINISHED
from dlrun.report.tables import SPLIT, lacking, name, typed

#: what tells runs of a setting apart, names that may be made of seeds among it; max_time decides how far a run comes
NO_SETTING = ("seed", *(key for key in FREE if key != "max_time"))
FOLD, SPLIT_SEED = "dataset.fold", "dataset.split_seed"
REPEATS = (FOLD, SPLIT_SEED)  #: what repeats a setting, beside the seed
FOLLOWS = "${seed}"  #: a split seed that is the run's seed
DATASETS = ("dataset", "dataset.path", "dataset.target", "dataset.keep_classes")  #: another of these is another problem
UNKNOWN = 1.0  #: rows that measure per row that trains, where no run tells: more than any usual split has


@dataclass(frozen=True)
class Repeats:
    """What the runs of a setting repeat: seeds, or folds or splits of the data, whose training parts overlap."""

    what: str = "seed"  #: seed, fold or split
    overlap: float = 0.0  #: rows that measure per row that trains; 0 where each run of a setting is independent

    @property
    def over(self) -> str:
        """What a mean over all runs of a setting is over."""
        return "seeds" if self.what == "seed" else f"{self.what}s and seeds"


def overrides(table: pd.DataFrame) -> list[str]:
    """The keys that were typed for some run."""
    columns = table.columns.tolist()
    return columns[1 : columns.index(BETWEEN)]


def varied(table: pd.DataFrame) -> list[str]:
    """Those of which the runs have different values."""
    return [key for key in overrides(table) if table[key].nunique(dropna=False) > 1]


def told_by(table: pd.DataFrame) -> list[str]:
    """The keys in which runs of different settings or different datasets differ."""
    return [key for key in apart(table) if key not in REPEATS]


def apart(table: pd.DataFrame) -> list[str]:
    """The keys that tell runs apart, but for the seed."""
    return [key for key in varied(table) if key.split(".")[0] not in NO_SETTING]


def datasets(table: pd.DataFrame, keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of these keys those that tell datasets apart, and those that tell settings apart.

    A key that has one value on each dataset, as with zip=[dataset,epochs], belongs to the dataset.
    """
    own = [key for key in keys if key in DATASETS]
    if not own:
        return [], list(keys)
    counts = table.groupby(own, sort=False, dropna=False)[[key for key in keys if key not in own]].nunique(dropna=False)
    rest = [str(key) for key in counts if counts[key].max() > 1]
    return [key for key in keys if key not in rest], rest


def labels(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of datasets in headings: `iris`, `table a.csv`; where that is not enough, all that tells.

    found: of each dataset the values of its keys.
    """
    short = [" ".join(typed(v) for key, v in each.items() if key in DATASETS and not lacking(v)) for each in found]
    return short if len({*short} - {""}) == len(found) else [name(dict(each)) for each in found]


def with_names(table: pd.DataFrame, runs: Mapping[str, Path]) -> pd.DataFrame:
    """The table with the name of the dataset also of runs that do not know it, as those by --config-name: that of runs
    on the same samples."""
    if "dataset" not in table or not (unnamed := table["dataset"].map(lacking)).any() or unnamed.all():
        return table
    digests = table["run"].map(lambda run: _digest(runs[run]))
    names = dict(zip(digests[~unnamed], table.loc[~unnamed, "dataset"], strict=True))
    known = digests[unnamed].map(lambda digest: names.get(digest, "") if digest else "")
    return table.assign(dataset=table["dataset"].where(~unnamed, known))


def _digest(run: Path) -> str | None:
    with suppress(ConfigError):
        return digest_of(run)
    return None


def with_splits(table: pd.DataFrame, runs: Mapping[str, Path]) -> tuple[pd.DataFrame, Repeats]:
    """The table with a column SPLIT, which numbers the ways in which its runs' data are split, and what that means.

    The column is there if there are several ways. runs: the folder of each run.
    """
    keys: list[pd.Series] = []
    if FOLD in table and table[FOLD].nunique() > 1:
        keys.append(table[FOLD])
    if SPLIT_SEED in table:
        keys.append(table[SPLIT_SEED].where(table[SPLIT_SEED] != FOLLOWS, table["seed"]).astype(str))
    elif len(table) and _follows(runs[table["run"].iloc[0]]):
        keys.append(table["seed"])
    keys = [key for key in keys if key.nunique(dropna=False) > 1]
    if not keys:
        return table, Repeats()
    number = table.groupby(keys, sort=False, dropna=False).ngroup()
    what = "fold" if len(keys) == 1 and keys[0].name == FOLD else "split"
    return table.assign(**{SPLIT: number}), Repeats(what)


def _follows(run: Path) -> bool:
    """Whether the run's config, in which nobody typed it, splits the data by the seed."""
    with suppress(ConfigError):
        node = composed_of(run).get("dataset")
        return isinstance(node, dict) and node.get("split_seed") == FOLLOWS
    return False


def overlap(table: pd.DataFrame, keys: Sequence[str], runs: Mapping[str, Path], quoted: str) -> float:
    """How many rows measure, per row that trains, in a split of these runs; of several settings the most.

    Of a test part that every split has the rows say nothing: then they are those that validate.
    """
    good = table[table["status"].isin(FINISHED)]
    firsts = good.drop_duplicates(list(keys)) if keys else good.head(1)
    found = [each for run in firsts["run"] for each in _overlap(runs[run], quoted, FOLD in varied(table))]
    return max(found, default=UNKNOWN)


def _overlap(run: Path, quoted: str, folds: bool) -> Iterator[float]:
    with suppress(ConfigError, OSError, LookupError, TypeError, ValueError):  # a stranger's file may say anything
        told = read_summary(run)["dataset"]
        fixed = folds or "own test" in told["split"]
        part = "test" if quoted.startswith("test") and not fixed else "val"
        share = float(told["rows"][part]) / float(told["rows"]["train"])
        if 0 < share < float("inf"):
            yield share


def is_stacked(table: pd.DataFrame) -> bool:
    """Whether some runs trained together, so that their seconds are those of all of them."""
    return "width" in table and bool((pd.to_numeric(table["width"], errors="coerce") > 1).any())
