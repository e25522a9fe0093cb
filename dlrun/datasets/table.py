"""A user's own table: CSV, TSV or Parquet with a header and a target column."""

from __future__ import annotations

import difflib
import gzip
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dlrun.datasets.data import Samples, Task
from dlrun.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t", ".parquet": None}
LARGEST = 2**27  #: zeros and ones that a text column may become: 1 GB
UNPACKED = 2**30  #: bytes that a packed file may hold
MISSING = "missing"  #: the category of a text cell without text


def table(path: str | None = None, target: str | None = None, task: str = "auto", impute: bool = False) -> Samples:
    """A file's rows: inputs (rows, features) float64, text columns as one 0/1 feature per category, in sorted order.

    Args:
        path: the file; its ending says the format; .csv.gz and .tsv.gz are read too.
        target: the column to predict, the last one where None.
        task: regression, binary, multiclass, or auto: classes where the target holds text, booleans or at most 20
            distinct whole numbers (binary for two of them), a regression otherwise.
        impute: accept missing cells; text becomes the category "missing", numbers stay NaN until the split is
            known and `prepare` fills them with the median of the training part.

    Raises ConfigError for whatever in the file cannot be trained on, by the column's name.
    """
    if not path:
        raise ConfigError("dataset=table needs a file: dataset.path=data.csv")
    file = Path(path).expanduser().absolute()
    frame = _read(file)
    label = _find(str(target), frame, file) if target is not None else frame.columns[-1]
    if len(frame.columns) < 2:
        raise ConfigError(f"{file} has no column but {label!r}, so no inputs; .csv is split at commas, .tsv at tabs")
    _refuse_missing(frame, label, impute, file)
    columns = [_features(frame[name], file) for name in frame.columns if name != label]
    targets, kind, class_names = _target(frame[label], task, file)
    names = [name for part, _ in columns for name in part]
    return Samples(np.hstack([values for _, values in columns]), targets, kind, names, class_names)


def _read(file: Path) -> pd.DataFrame:
    import pandas as pd

    ending = Path(file.name.lower().removesuffix(".gz")).suffix
    if ending not in SEPARATORS:
        raise ConfigError(f"dataset.path: {file} ends in none of {', '.join(SEPARATORS)}")
    if not file.is_file():
        raise ConfigError(f"dataset.path: there is no file {file}")
    try:
        if file.suffix.lower() == ".gz":
            _refuse_bomb(file)
        if ending == ".parquet":
            frame = pd.read_parquet(file, engine="pyarrow")
        else:
            with warnings.catch_warnings():  # pandas only warns of rows that are longer than the header
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(
                    file,
                    sep=SEPARATORS[ending],
                    na_values=["?"],  # as the UCI tables have it, beside pandas' own: empty, NA, NaN, null...
                    index_col=False,
                    skipinitialspace=True,
                    low_memory=False,  # one type per column, however long
                )
    except ImportError as error:
        raise ConfigError(f"{file}: Parquet needs pyarrow: pip install pyarrow, or save the table as CSV") from error
    except pd.errors.EmptyDataError as error:
        raise ConfigError(f"{file} is empty") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not in UTF-8 ({error}): save it in that encoding") from error
    except Exception as error:  # pandas and pyarrow raise anything for a damaged file
        raise ConfigError(f"{file} cannot be read as {ending}: {str(error).strip() or repr(error)}") from error
    frame.columns = frame.columns.map(str)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ConfigError(f"{file} has several columns of the name {twice[0]!r}: rename them")
    if len(frame) == 0:
        raise ConfigError(f"{file} has a header but no rows")
    if all(_is_number(name) for name in frame.columns):
        line = ", ".join(frame.columns)
        raise ConfigError(f"{file}: the first line holds numbers ({line}) where the columns' names are wanted")
    return frame.apply(_unmixed, file=file)


def _refuse_bomb(file: Path) -> None:
    """A few megabytes may stand for more than any memory."""
    with gzip.open(file) as content:
        while content.read(2**20):
            if content.tell() > UNPACKED:
                raise OSError(f"it holds more than {UNPACKED} bytes: unpack it if that is meant")


def _unmixed(column: pd.Series, file: Path) -> pd.Series:
    """The column, as numbers where all its texts are numbers; ConfigError where most are, for then one is a slip."""
    from pandas.api.types import is_object_dtype, is_string_dtype

    if not (is_object_dtype(column) or is_string_dtype(column)):
        return column
    cells = column.dropna()
    number = cells.map(lambda cell: not isinstance(cell, bool) and _is_number(cell))
    if len(cells) and number.all():
        return column.map(float, na_action="ignore").astype(np.float64)  # whole numbers beyond 64 bits
    if number.mean() > 0.5:
        odd = cells[~number]
        raise ConfigError(
            f"{file}: {column.name!r} holds numbers, but {str(odd.iloc[0])!r} in row {odd.index[0] + 1} and such in "
            f"{len(odd)} of {len(column)} rows: correct them, or leave them empty and set dataset.impute=true"
        )
    return column


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _find(target: str, frame: pd.DataFrame, file: Path) -> str:
    names = list(frame.columns)
    if target in names:
        return target
    near = difflib.get_close_matches(target, names, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"dataset.target={target}: no such column in {file}; {hint}It has {', '.join(names)}")


def _refuse_missing(frame: pd.DataFrame, label: str, impute: bool, file: Path) -> None:
    """One message for all columns with missing cells (but those to be imputed) and infinite numbers."""
    from pandas.api.types import is_numeric_dtype

    found, imputable = [], False
    for name, column in frame.items():
        missing = int(column.isna().sum())
        infinite = int(np.isinf(_numbers(column)).sum()) if is_numeric_dtype(column) else 0
        if missing and (name == label or not impute):
            found.append(f"{name!r} ({missing} missing)")
            imputable |= name != label
        if infinite:
            found.append(f"{name!r} ({infinite} infinite)")
    if found:
        way = "correct the file"
        way += ", or set dataset.impute=true to fill what is missing (not in the target)" if imputable else ""
        raise ConfigError(f"{file}: of {len(frame)} rows, some hold no finite value: {', '.join(found)}; {way}")


def _numbers(column: pd.Series) -> np.ndarray:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _features(column: pd.Series, file: Path) -> tuple[list[str], np.ndarray]:
    """The names and values (rows, features) that a column becomes."""
    from pandas.api.types import is_complex_dtype, is_datetime64_any_dtype, is_numeric_dtype, is_timedelta64_dtype

    name = str(column.name)
    if is_datetime64_any_dtype(column) or is_timedelta64_dtype(column) or is_complex_dtype(column):
        raise ConfigError(f"{file}: {name!r} holds {column.dtype}, neither number nor text: convert or drop it")
    if is_numeric_dtype(column):
        numbers = _numbers(column)
        if name.startswith("Unnamed: ") and np.array_equal(numbers, np.arange(len(numbers))):
            raise ConfigError(f"{file}: the nameless column only counts the rows: drop it (pandas: index=False)")
        return [name], numbers[:, None]
    categories, codes = _categories(column, file)
    return [f"{name}={category}" for category in categories], np.eye(len(categories))[codes]


def _categories(column: pd.Series, file: Path) -> tuple[list[str], np.ndarray]:
    """The sorted categories of a text column, and each row's number among them."""
    cells = [MISSING if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)]
    categories, codes = np.unique(np.array(cells, dtype=object), return_inverse=True)
    if len(categories) == len(cells) > 50:
        raise ConfigError(
            f"{file}: the text in {column.name!r} differs in each of the {len(cells)} rows, as a name or number of the "
            "row does, and so it tells nothing about other rows: drop the column"
        )
    if len(categories) * len(cells) > LARGEST:
        raise ConfigError(
            f"{file}: {column.name!r} holds {len(categories)} different texts in {len(cells)} rows, too many for "
            "a column of 0 and 1 each: group them, or drop the column"
        )
    return list(categories), codes


def _target(column: pd.Series, task: str, file: Path) -> tuple[np.ndarray, Task, list[str]]:
    """The targets, the task, and the classes' names."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    name = column.name
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        values = _numbers(column)
        distinct, codes = np.unique(values, return_inverse=True)
        whole = bool((distinct == np.floor(distinct)).all())
        class_names = [f"{value:.0f}" for value in distinct] if whole else []
        few = whole and len(distinct) <= 20
    elif task == "regression":
        raise ConfigError(f"dataset.task=regression: the target {name!r} of {file} holds {column.dtype}, not numbers")
    else:
        class_names, codes = _categories(column, file)
        whole = few = True
    if len(np.unique(codes)) < 2:
        raise ConfigError(f"{file}: the target {name!r} is {column.iloc[0]} in every row: there is nothing to learn")
    if task == "auto":
        task = "regression" if not few else "binary" if len(class_names) == 2 else "multiclass"
    if task == "regression":
        return values, "regression", []
    if not whole:
        raise ConfigError(f"dataset.task={task}: the target {name!r} of {file} holds fractions, no classes")
    if task == "binary" and len(class_names) != 2:
        raise ConfigError(f"dataset.task=binary: the target {name!r} of {file} has {len(class_names)} classes, not 2")
    return codes.astype(np.int64), cast(Task, task), class_names
