"""Whatever a file or a config holds, it works or is refused in one ConfigError: nothing else, no hang, no remains."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import config
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from safetensors.torch import save
from test_images import GOOD, OPTIONS, packed, pictures, write_cifar, write_mnist

from dlrun.config.catalogue import conf_dir
from dlrun.config.check import check, leaves
from dlrun.config.loader import Loader, guarded
from dlrun.datasets import california, cifar, idx, image_files, image_folder
from dlrun.datasets.prepare import prepare
from dlrun.datasets.table import table
from dlrun.errors import ConfigError
from dlrun.folder.records import yaml_text
from dlrun.initializers import checkpoint
from dlrun.job.folders import HEADER

TOLD = (ConfigError, HydraException, OmegaConfBaseException)  #: what the command line tells in one message


def examples(number: int) -> Any:
    return settings(
        max_examples=number,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make an example smaller takes minutes
        deadline=timedelta(seconds=30),  # far beyond any of them: only what hangs takes so long
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with bytes changed (most often near the beginning, where headers are), cut out, put in or cut off."""
    damage = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, min(60, len(damage))) | st.integers(0, len(damage)))
        how = draw(st.sampled_from(["change", "cut out", "put in", "cut off"]))
        some = draw(st.binary(max_size=4) | st.sampled_from([b"\xff" * 8, b"\0" * 8, b"-1", b"1e999", b'"', b"\n,"]))
        if how == "cut off":
            del damage[at:]
        else:
            damage[at : at + (0 if how == "put in" else len(some))] = b"" if how == "cut out" else some
    return bytes(damage)


def refused_or_right(read: Callable[[], Any]) -> None:
    try:
        read()
    except ConfigError as mistake:
        assert str(mistake) and len(str(mistake).splitlines()) <= 12


# Files

CSV = b"a,b,kind,y\n" + b"1.5,2,red,0\n2.5,3,blue,1\n-1e3,4,red,1\n" * 8
ARRAY = np.random.default_rng(0).uniform(1, 9, (40, 9))


@cache
def written(name: str) -> bytes:
    """A right file of each kind."""
    file = BytesIO()
    if name == "parquet":
        pytest.importorskip("pyarrow")
        pd.read_csv(BytesIO(CSV)).to_parquet(file)
    elif name in ("png", "jpeg"):
        Image.effect_noise((9, 9), 50).save(file, name)
    elif name == "tar.gz":
        with tempfile.TemporaryDirectory() as folder:
            write_cifar(Path(folder, "cifar-10-batches-bin"), cifar.CIFAR10)
            file.write(packed(Path(folder, "cifar-10-batches-bin"), Path(folder, "x.tar.gz")).read_bytes())
    elif name == "pkz":
        joblib.dump(ARRAY, file)
    elif name == "safetensors":
        file.write(save({"1.weight": torch.ones(6, 4), "1.bias": torch.ones(6)}))
    return file.getvalue() or {"csv": CSV, "idx": GOOD}[name]


def read(name: str, file: Path) -> Any:
    if name in ("csv", "parquet"):
        return prepare(table(str(file)), **OPTIONS | {"scale": "standard"})
    readers: dict[str, Callable[[], Any]] = {
        "idx": lambda: idx.read_idx(file, 2),
        "tar.gz": lambda: cifar.cifar10(str(file)),
        "pkz": california.california_housing,
        "png": lambda: image_files.decode_all([file], None),
        "jpeg": lambda: image_files.decode_all([file], 5),
        "safetensors": lambda: checkpoint.load(str(file), "initializer.path"),
    }
    return readers[name]()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["csv", "parquet", "idx", "tar.gz", "pkz", "png", "jpeg", "safetensors"])
def test_a_damaged_file_is_refused_or_read(
    name: str, pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged before it is packed, where that makes a format, as after: then a checksum mostly notices."""
    if pack is gzip.compress and name not in ("csv", "idx", "tar.gz"):
        pytest.skip("not a format")
    whole = gzip.decompress(written(name)) if name == "tar.gz" else written(name)
    file = tmp_path / {"pkz": "cal_housing_py3.pkz"}.get(name, f"x.{name}{'.gz' if pack is gzip.compress else ''}")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    file.write_bytes(pack(whole))
    read(name, file)

    @examples(40)
    @given(damaged(whole))
    def damage(content: bytes) -> None:
        file.write_bytes(pack(content))
        refused_or_right(lambda: read(name, file))

    damage()
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


ROWS = "1.5,red,0\n2.5,blue,1\n" * 5
FAULTS = {
    "mixed": ("a,k,y\n" + ROWS + "1.O,red,1\n", r"'a' holds numbers, but '1.O' in row 11 and such in 1 of 11 rows"),
    "huge": (
        "a,k,y\n" + ROWS + "1" + "0" * 400 + ",red,1\n",
        r"holds numbers that are not finite: 'a' \(1 infinite\): correct them, or .* leaves out",
    ),
    "large": (
        "a,k,y\n" + ROWS.replace(",0", ",.5") + "1,red,1e300\n",
        "targets hold values too large for torch.float32",
    ),
    "infinite": ("a,k,y\n" + ROWS + "inf,red,1\n", r"'a' holds numbers, but 'inf' in row 11"),
    "no rows": ("a,k,y\r\n", "has a header but no rows"),
    "empty": ("", "is empty"),
    "UTF-16": ("a,k,y\n".encode("utf-16") + b"\xe9", "not in UTF-16"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_table_names_the_fault(fault: str, tmp_path: Path) -> None:
    content, message = FAULTS[fault]
    file = tmp_path / "table.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message):
        read("csv", file)


def test_whole_numbers_beyond_64_bits_are_numbers_and_lines_may_end_in_crlf(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,y\r\n" + "".join(f"{10**25 + i},{i % 2}\r\n" for i in range(9)))
    samples = table(str(tmp_path / "table.csv"))
    assert samples.feature_names == ["a"] and np.array_equal(samples.inputs[:, 0], np.full(9, 1e25))


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = [pyarrow.array([1.0, 2.0])] * 3
    parquet.write_table(pyarrow.table(columns, names=["a", "a", "y"]), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match=r"x.parquet .*'?a'?"):
        table(str(tmp_path / "x.parquet"))


def test_what_is_damaged_in_the_cache_is_made_again_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    pictures(tmp_path / "in", 4, 4, 3)
    whole = image_folder.image_folder(str(tmp_path / "in")).inputs.copy()
    [kept] = (tmp_path / "cache" / "image_folder").iterdir()
    for content in (b"", kept.read_bytes()[:-1], kept.read_bytes()[:100], b"PK\3\4", b"\x93NUMPY\1\0\xff\xff{"):
        kept.write_bytes(content)
        assert np.array_equal(image_folder.image_folder(str(tmp_path / "in")).inputs, whole)
    np.save(kept, np.zeros((1, 1, 1, 1)))
    assert np.array_equal(image_folder.image_folder(str(tmp_path / "in")).inputs, whole)
    write_mnist(tmp_path / "cache" / "mnist", ending=".gz")
    file = tmp_path / "cache" / "mnist" / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match=f"{re.escape(str(file))}.*: delete it to have it downloaded anew"):
        idx.mnist()


@pytest.mark.parametrize("kind", ["link to nowhere", "link to itself", "pipe", "folder"])
def test_what_is_no_image_file_is_told(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    pictures(tmp_path / "in", 4, 4, 3)
    odd = tmp_path / "in" / "train" / "cat" / "odd.png"
    makers: dict[str, Callable[[], object]] = {
        "link to nowhere": lambda: odd.symlink_to("nowhere.png"),
        "link to itself": lambda: odd.symlink_to(odd),
        "pipe": lambda: os.mkfifo(odd),
        "folder": odd.mkdir,
    }
    makers[kind]()
    with pytest.raises(ConfigError, match=f"no files.*:\n  {re.escape(str(odd))}"):
        image_folder.image_folder(str(tmp_path / "in"))
    assert not (tmp_path / "cache").exists()


# Configs

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["???", "${x}", "${name}", "${", "${oc.env:HOME}", "full", "adam", "null", ".inf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab_", max_size=3), inner, max_size=3),
    max_leaves=4,
)


@cache
def whole_config() -> dict[str, Any]:
    return dict(config("dataset=iris", "regularizer=[l2,dropout]"))


@cache
def paths() -> list[tuple[str, ...]]:
    from omegaconf import OmegaConf

    return [path for path, _ in leaves(OmegaConf.to_container(config("dataset=iris", "regularizer=[l2,dropout]")))]  # type: ignore[arg-type]


def loaded(folder: Path, name: str, *overrides: str) -> None:
    """What the command line does with a config before it makes a folder or imports torch."""
    search = create_config_search_path(str(conf_dir()))
    search.append("command-line", f"file://{folder}")
    search.get_path().insert(2, search.get_path().pop())
    setup_globals()
    composed = Loader(search).load_configuration(name, ["name=test", *overrides], RunMode.RUN)
    check(composed, composed.hydra)


KEYS = st.sampled_from(["lr", "seed", "optimizer", "dataset", "optimizer.beta1", "architecture.hidden", "name", "zip"])
WORDS = st.text(max_size=6) | st.sampled_from(
    ["[1,2", "{a:1}", "${seed}", "'", "[]", "1e999", "../x", "a@b", "range(3)"]
)


@examples(25)
@given(st.sampled_from(["", "+", "++", "~"]), KEYS | st.text(max_size=6), WORDS)
def test_any_override_is_taken_or_told(prefix: str, key: str, word: str) -> None:
    with guarded(), tempfile.TemporaryDirectory() as folder:
        try:
            loaded(Path(folder), "dlrun", f"{prefix}{key}={word}")
        except TOLD as mistake:
            assert str(mistake)


@cache
def config_text() -> bytes:
    from dlrun.training.build import plain

    return (HEADER + yaml_text(plain(config("dataset=iris", "regularizer=[l2,dropout]")))).encode()


@pytest.mark.slow
@examples(40)
@given(st.data())
def test_any_config_file_is_taken_or_told(data: st.DataObject) -> None:
    """A run's config.yaml with its text damaged, or with any value in place of one of its own."""
    import yaml

    text = config_text()
    if data.draw(st.booleans()):
        text = data.draw(damaged(text))
    else:
        node = yaml.safe_load(text)
        *above, last = data.draw(st.sampled_from(paths()))
        below = node
        for key in above:
            below = below[key]
        below[data.draw(st.just(last) | st.text(max_size=3))] = data.draw(VALUES)
        text = yaml.safe_dump(node).encode()
    with guarded(), tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_bytes(text)
        try:
            loaded(Path(folder), "config")
        except TOLD as mistake:
            assert str(mistake)


BROKEN = {
    "bytes": b"\xff\xfe\0lr: 1",
    "a tag": b"seed: !!python/object/apply:os.getcwd []",
    "a list": b"[1, 2]",
    "a text": b"only words",
    "nothing": b"",
    "aliases": b"a: &a [1,1,1,1,1,1,1,1]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 8)) for i in range(9)),
    "itself": b"a: &a [*a]",
    "depth": b"seed: " + b"[" * 3000,
    "a folder": None,
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_config_file_is_told_by_its_name(case: str, tmp_path: Path) -> None:
    content = BROKEN[case]
    if content is None:
        (tmp_path / "config.yaml").mkdir()
    else:
        (tmp_path / "config.yaml").write_bytes(content)
    with guarded(), pytest.raises(TOLD, match=r"config|hydra"):
        loaded(tmp_path, "config")


@pytest.mark.parametrize("case", ["config", "table"])
def test_the_command_ends_with_2_one_message_and_no_folder(case: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(BROKEN["aliases"] or b"")
    (tmp_path / "table.csv").write_bytes(b"a,y\n\xff\xff,1\n")
    arguments = {
        "config": ["--config-dir", ".", "--config-name", "config"],
        "table": ["dataset=table", "dataset.path=table.csv"],
    }
    command = [sys.executable, "-m", "dlrun", *arguments[case]]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, env=environment)
    assert ended.returncode == 2 and ended.stderr.startswith("dlrun: ") and "Traceback" not in ended.stderr
    assert f"{case}." in ended.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.yaml", "table.csv"]
