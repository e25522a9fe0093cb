"""What is kept beside runs, compared and removed: notes and tags, diff, rm, and conditions that no code is made of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_report import write_run

from dlrun.command.cli import main
from dlrun.errors import ConfigError
from dlrun.folder import environment, notes
from dlrun.folder.commit import changes_of, without_secrets
from dlrun.report import collect
from dlrun.report.report import noted
from dlrun.report.statistics import mean_interval
from dlrun.report.where import condition
from dlrun.sweep.removing import remove


@pytest.fixture
def dlrun(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A command in a folder of its own, in this process: its exit code and what it said."""

    def ended(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dlrun", *words])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out + said.err

    monkeypatch.chdir(tmp_path)
    return ended


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two optimizers, three seeds; the last seed of sgd failed."""
    folder = tmp_path / "sweep"
    for number, (optimizer, seed) in enumerate([(o, s) for o in ("sgd", "adam") for s in range(3)]):
        status = "failed" if (optimizer, seed) == ("sgd", 2) else "finished"
        typed = [f"optimizer={optimizer}", "lr=0.01", f"seed={seed}"]
        test = 0.5 + 0.1 * seed + 0.2 * (optimizer == "adam")
        write_run(folder / str(number), *typed, test=test, status=status)
    (folder / "plan.json").write_text(json.dumps({"commands": [["seed=0,1,2"]], "runs": {}}))
    collect.write_tables([folder], folder)
    return folder


ROWS = [
    {
        "run": "0",
        "status": "pruned",
        "lr": "0.1",
        "optimizer.momentum": "",
        "regularizer.l2.lambda": "1",
        "note": "a b",
        "tags": "first,a b",
    },
    {
        "run": "1",
        "status": "finished",
        "lr": "0.010",
        "optimizer.momentum": "0.9",
        "regularizer.l2.lambda": "",
        "note": "",
        "tags": "",
    },
]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('status=="pruned"', [0]),
        ("status != pruned", [1]),
        ("lr==1e-2", [1]),
        ("lr>=0.1 and status=='pruned'", [0]),
        ("lr<0.05 or optimizer.momentum==''", [0, 1]),
        ("not (lr<0.05 or status==pruned)", []),
        ("optimizer.momentum<1", [1]),  # an empty cell has no order
        ("regularizer.l2.lambda==1", [0]),  # a word that Python keeps for itself
        ('note=="a b" or lr > 5 and lr < 1', [0]),
        ("not not status==pruned", [0]),
        ('"first" in tags', [0]),
        ("first in tags and lr==0.1 or 'a b' in tags", [0]),
        ("not fir in tags", [0, 1]),  # a part of one is none
    ],
)
def test_conditions_mean_what_they_say(text: str, meant: list[int]) -> None:
    test = condition(text, list(ROWS[0]))
    assert [i for i, row in enumerate(ROWS) if test(row)] == meant


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "something is missing"),
        ("status", "something is missing"),
        ("state==1", "there is no column state"),
        ("lr=0.1", "cannot be read"),
        ("lr<red", "give a number"),
        ("lr==1 lr==2", "one too many"),
        ("(lr==1", "not closed"),
        ("__import__('os').system('touch pwned')", "no comparison"),
        ("lr==1;import os", "one too many"),
        ("(" * 60 + "lr==1" + ")" * 60, "more than 50"),
        ("lr==" + "1" * 3000, "letters at most"),
        ("lr == 'open", "cannot be read"),
        ("1 in lr", "no comparison"),
        ("(in tags", "something is missing"),
    ],
)
def test_other_conditions_are_refused_in_a_message(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        condition(text, list(ROWS[0]))


@settings(max_examples=60)
@given(st.text(alphabet="lr01.=!<>()\"' andotx\n", max_size=30) | st.text(max_size=30))
def test_any_text_is_a_condition_or_a_config_error(text: str) -> None:
    try:
        test = condition(text, list(ROWS[0]))
    except ConfigError:
        return
    assert all(test(row) in (True, False) for row in ROWS)


def test_rm_removes_what_a_condition_means_and_nothing_else(sweep: Path, dlrun) -> None:
    mine = sweep / "1" / "thoughts.txt"
    mine.write_text("mine")
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    code, said = dlrun("rm", str(sweep), "--where", 'optimizer=="sgd" and seed<2', "--dry-run")
    assert code == 0 and "2 runs would be removed" in said and "0\n1\n2 runs" in said
    assert {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()} == before
    code, said = dlrun("rm", str(sweep), "--where", 'optimizer=="sgd" and seed<2')
    assert code == 0 and "2 runs removed" in said and "other files than dlrun's stay in 1" in said
    assert not (sweep / "0").exists() and [path.name for path in (sweep / "1").rglob("*")] == ["thoughts.txt"]
    assert pd.read_csv(sweep / "sweep.csv")["run"].tolist() == [2, 3, 4, 5]
    assert {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file() and path.parent.name in "2345"} == {
        path: content for path, content in before.items() if path.parent.name in "2345"
    }
    assert dlrun("rm", str(sweep), "--where", "lr>0")[0] == 0 and not list(sweep.glob("*.csv"))  # no run, no table
    write_run(sweep / "0", "lr=1", "seed=0")
    assert dlrun("rm", str(sweep))[0] == dlrun("rm", str(sweep), "--where", "x==1")[0] == 2
    assert dlrun("rm", str(sweep / "none"), "--where", "lr==1")[0] == 2


@pytest.mark.slow
def test_rm_leaves_alone_what_is_at_work(sweep: Path) -> None:
    code = "import sys; from pathlib import Path; from dlrun.folder.lock import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    for place, left in ((sweep / "3", ["3"]), (sweep, ["3", "4", "5"])):
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdout and other.stdout.readline() == "held\n"
        found = remove(sweep, "optimizer==adam", dry=False)
        assert list(found.at_work) == left and "another process is at work" in found.at_work["3"]
        other.communicate("")
        assert (sweep / "3" / "summary.json").exists() and (sweep / "4").exists() == (place == sweep)
        for number, seed in ((4, 1), (5, 2)):
            if place != sweep:
                write_run(sweep / str(number), "optimizer=adam", "lr=0.01", f"seed={seed}")


def test_rm_follows_no_link_and_keeps_a_checkpoint_that_others_need(sweep: Path, tmp_path: Path, monkeypatch) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.yaml").write_text("precious")
    (sweep / "0" / "checkpoint").symlink_to(outside)
    (sweep / "link").symlink_to(outside)
    monkeypatch.setattr(
        "dlrun.sweep.removing.checkpoint.newest",
        lambda folder: {"runs": [".", "../2"]} if folder.parent.name == "0" else {},
    )
    found = remove(sweep, "seed==0", dry=False)
    assert found.runs == ["3"] and "1 other run would go on from the checkpoint" in found.at_work["0"]
    assert remove(sweep, "optimizer==sgd", dry=False).runs == ["0", "1", "2"]  # all that need it
    assert (outside / "config.yaml").read_text() == "precious"


def test_notes_and_tags_are_added_later_and_are_columns_of_the_table(sweep: Path, dlrun) -> None:
    code, said = dlrun("note", str(sweep / "3"), "odd; =1+1", "--tag", "odd,slow")
    assert code == 0 and "odd; =1+1; tags: odd, slow" in said
    dlrun("note", str(sweep / "3"), "still odd", "--untag", "slow")
    assert "odd; =1+1; still odd; tags: odd" in dlrun("note", str(sweep / "3"))[1]
    table = collect.table(sweep).set_index("run")
    assert table.loc["3", "note"] == "odd; =1+1; still odd" and table.loc["3", "tags"] == "odd"
    assert table.loc["2", "note"] == "" and table.loc["3", "optimizer"] == "adam"
    before = (sweep / "sweep.csv").read_bytes()
    collect.write_tables([sweep], sweep)
    assert (sweep / "sweep.csv").read_bytes() == before
    write_run(sweep / "6", "optimizer=adam", "note=typed", "tags=[a,'b c']", "seed=9")
    notes.add(sweep / "6", "later", ["a", "z"])
    assert collect.read_run(sweep / "6") | {"note": "typed; later", "tags": "a,b c,z"} == collect.read_run(sweep / "6")
    dlrun("note", str(sweep), "of the whole sweep")
    assert noted(sweep, []) == {"note": "of the whole sweep"}  # which the report begins with
    for words in ((str(sweep / "3"), "--tag", "a;b"), ("nowhere", "text"), (str(sweep), "one", "two")):
        assert dlrun("note", *words)[0] == 2


@pytest.mark.parametrize(
    "content", ["[]", '{"notes": 1, "tags": []}', '{"notes": [1], "tags": []}', "{", '{"notes": []}']
)
def test_damaged_notes_are_told(content: str, sweep: Path) -> None:
    (sweep / "0" / "notes.json").write_text(content)
    with pytest.raises(ConfigError, match=r"notes\.json"):
        notes.notes_of(sweep / "0")
    left_out: list[str] = []
    rows = collect.read_rows(collect.find([sweep]), left_out)
    assert len(rows) == 5 and "notes.json" in left_out[0]
    with pytest.raises(ConfigError, match=r"notes\.json"):  # and not that there is no such column
        remove(sweep / "0", "status==finished", dry=True)


def test_diff_of_runs_and_of_sweeps(sweep: Path, tmp_path: Path, dlrun) -> None:
    told = {"versions": {"python": "3.11", "torch": "2"}, "data": "d" * 32, "dataset": {"rows": {"train": 5}}}
    a = write_run(tmp_path / "a", "lr=1", test=0.5, config="seed: 0\noptimizer:\n  lr: 1\nname: x\n", **told)
    told |= {"versions": {"python": "3.12", "torch": "2"}, "data": "e" * 32}
    b = write_run(tmp_path / "b", "lr=2", test=0.75, config="seed: 0\noptimizer:\n  lr: 2\nname: y\n", **told)
    code, said = dlrun("diff", str(a), str(b))
    lines = [line.split() for line in said.splitlines()]
    assert code == 0 and ["optimizer.lr", "1", "2"] in lines and ["python", "3.11", "3.12"] in lines
    assert ["test_accuracy", "0.5000", "0.7500", "+0.25"] in lines and not any(line[:1] == ["name"] for line in lines)
    assert ["digest", "dddddddddddd…", "eeeeeeeeeeee…"] in lines and not any(line[:1] == ["torch"] for line in lines)

    other = tmp_path / "other"
    shift = np.array([0.01, 0.02, 0.06])
    for seed in range(3):
        write_run(other / str(seed), "optimizer=adam", "lr=0.01", f"seed={seed}", test=0.7 + 0.1 * seed + shift[seed])
    write_run(other / "3", "optimizer=lion", "lr=0.01", "seed=0")
    write_run(sweep / "9", "optimizer=muon", "lr=0.01", "seed=0")
    write_run(other / "4", "optimizer=muon", "lr=0.01", "seed=0", status="pruned")
    code, said = dlrun("diff", str(sweep), str(other))
    low, high = mean_interval(shift)
    assert code == 0 and f"{low:+.3g} – {high:+.3g}" in said and "+0.03" in said
    joined = " ".join(said.split())
    assert "1 setting only in A (sgd" in joined.replace("optimizer=", "") and "failed" in said
    assert "1 setting only in B (lion" in joined.replace("optimizer=", "")
    assert "1 setting finished only in A, though both have runs of them (muon" in joined.replace("optimizer=", "")
    assert (
        dlrun("diff", str(sweep), str(a))[0]
        == dlrun("diff", str(a))[0]
        == dlrun("diff", str(sweep), str(sweep))[0]
        == 2
    )


def test_sweeps_of_which_no_run_can_be_read_are_not_compared(tmp_path: Path, dlrun) -> None:
    for run in ("a/0", "a/1", "b/0", "b/1"):
        write_run(tmp_path / run, "lr=1", f"seed={run[-1]}")
        (tmp_path / run / "summary.json").write_text("{")
    code, said = dlrun("diff", str(tmp_path / "a"), str(tmp_path / "b"))
    assert code == 2 and said.count("left out: ") == 4 and "Traceback" not in said


def test_a_place_of_other_things_is_not_searched_for_ever(tmp_path: Path, monkeypatch, dlrun) -> None:
    monkeypatch.setattr(collect, "SEARCHED", 20)
    for at in range(30):
        (tmp_path / "many" / str(at)).mkdir(parents=True)
        write_run(tmp_path / "runs" / str(at), f"lr={at}")
    assert len(collect.find([tmp_path / "runs"])) == 30  # of runs there may be any number
    for words in (["diff", "many", "runs"], ["report", "many"], ["rm", "many", "--where", "lr==1"]):
        code, said = dlrun(*words)
        assert code == 2 and "more than 20 folders that hold no run" in " ".join(said.split())


def test_packages_are_those_of_pips_list_and_what_is_kept_is_not_overwritten(tmp_path: Path, monkeypatch) -> None:
    from importlib.metadata import version

    lines = dict(line.split("==") for line in environment.packages().splitlines())
    for name in ("torch", "numpy", "hydra-core", "filelock"):
        assert lines[name].split("+")[0] == version(name).split("+")[0]
    environment.keep(tmp_path)
    environment.keep(tmp_path)
    assert (tmp_path / "dlrun-packages.txt").read_text() == environment.packages()
    monkeypatch.setattr(environment, "packages", lambda: "other==1\n")
    (tmp_path / "dlrun-packages-3.txt").symlink_to(tmp_path / "precious")
    environment.keep(tmp_path)
    environment.keep(tmp_path)
    assert (tmp_path / "dlrun-packages-2.txt").read_text() == "other==1\n"
    assert not (tmp_path / "dlrun-packages-4.txt").exists() or not (tmp_path / "precious").exists()


def test_the_working_trees_changes_are_kept_without_secrets_and_without_what_its_git_would_run(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / ".env").write_text("A=1\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    assert changes_of(str(tmp_path)) == ""
    (tmp_path / "code.py").write_text("x = 2\napi_key = 'abcdef0123456789'\n")
    (tmp_path / ".env").write_text("PASSWORD=hunter22\n")
    script = tmp_path / "pwned.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    script.chmod(0o755)
    for key in ("diff.external", "core.fsmonitor", "diff.x.textconv"):
        subprocess.run([*git, "config", key, str(script)], check=True)
    (tmp_path / ".gitattributes").write_text("*.py diff=x\n")
    patch = changes_of(str(tmp_path))
    assert "-x = 1\n+x = 2\n+ [left out: it looks like a secret]" in patch and not (tmp_path / "pwned").exists()
    assert "hunter22" not in patch and "abcdef0123" not in patch and "b/.env\n [left out" in patch
    (tmp_path / "code.py").write_text("y = 1\n" * 300_000)
    patch = changes_of(str(tmp_path))
    assert patch.startswith("More than 1,048,576 bytes") and "code.py" in patch and len(patch) < 200
    assert changes_of("/") == ""


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("+token: ghp_0123456789abcdefghij", True),
        ("+PASSWORD = 'correct horse'", True),
        ("+-----BEGIN RSA PRIVATE KEY-----", True),
        ("-url = https://me:pa55word@host/x", True),
        ("+aws = AKIAABCDEFGHIJKLMNOP", True),
        ("+tokens = model.tokenize(text)", False),
        ("+mysql -u root -phunter22 shop", True),
        ("+mysql -u root -p shop", False),
        ("+for key in keys:", False),
        ("+lr = 0.1", False),
    ],
)
def test_lines_that_look_like_secrets(line: str, hidden: bool) -> None:
    patch = f"diff --git a/x.py b/x.py\n@@ -1 +1 @@\n{line}\n"
    assert (line not in without_secrets(patch)) == hidden


def test_a_secret_of_several_lines_is_left_out_and_what_stands_around_it_kept() -> None:
    before = "diff --git a/x.py b/x.py\n@@ -1 +1,9 @@\n"
    for begin, parts in {
        "+token = (": ["+    'abcdefgh'", '+    "ijklmnop"'],
        "+api_key: >-": ["+  abcdefghijklmnopqrst"],
        "+password = \\": ["+    'correct horse'"],
        '+secret = """': ["+abcdefghijklmnopqrst"],
    }.items():
        patch = "\n".join([before + begin, *parts, "+)", "+lr = 0.1", ""])
        told = without_secrets(patch)
        assert begin in told and "+lr = 0.1" in told and not any(part in told for part in parts), told


def test_on_end_is_the_command_that_was_typed_and_no_other(tmp_path: Path, monkeypatch, capfd) -> None:
    from dlrun.command import after
    from dlrun.terminal.exits import statuses

    words, command = after.taken(["lr=1", "on_end=echo $DLRUN_STATUS, $DLRUN_FOLDER", "-m"], ["report", "resume"])
    assert words == ["lr=1", "-m"] and command == "echo $DLRUN_STATUS, $DLRUN_FOLDER"
    assert after.taken(["resume", "x", "on_end=y"], ["report", "resume"]) == (["resume", "x"], "y")
    for wrong in (["on_end="], ["report", "x", "on_end=y"]):
        with pytest.raises(ConfigError):
            after.taken(wrong, ["report", "resume"])
    monkeypatch.setattr("dlrun.terminal.exits.statuses", statuses)
    statuses[:] = ["finished", "finished", "diverged"]
    after.ended(command, tmp_path / "none", 0)
    assert capfd.readouterr().out == ""  # nothing has begun
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    after.ended(command, tmp_path, 2)
    assert capfd.readouterr().out == ""  # the command was refused
    after.ended(command, tmp_path, 1)
    assert capfd.readouterr().out == f"2 finished, 1 diverged, {tmp_path}\n"
    statuses.clear()  # as those of a sweep that Ctrl-C ended
    after.ended('echo "$DLRUN_STATUS $DLRUN_CODE"', tmp_path, 130)
    assert capfd.readouterr().out == "interrupted 130\n"
    after.ended("exit 3", tmp_path, 0)
    assert "it ended with 3" in capfd.readouterr().err
    monkeypatch.setattr(after, "PATIENCE", 0.1)
    after.ended("sleep 30", tmp_path, 0)
    assert "was ended" in capfd.readouterr().err
    statuses.clear()


@pytest.mark.slow
def test_a_command_in_a_file_is_refused_and_a_typed_one_is_in_none(dlrun, tmp_path: Path) -> None:
    quick = ["dataset=iris", "epochs=1", "plots=none"]
    code, _ = dlrun(*quick, "hydra.run.dir=one", "on_end=touch $DLRUN_FOLDER.$DLRUN_STATUS", "note='a, b'")
    assert code == 0 and (tmp_path / "one.finished").exists()
    assert not any("touch" in path.read_text() for path in (tmp_path / "one").rglob("*.yaml"))
    config = (tmp_path / "one" / "config.yaml").read_text()
    assert "on_end: null" in config and collect.read_run(tmp_path / "one")["note"] == "a, b"
    (tmp_path / "one" / "config.yaml").write_text(config.replace("on_end: null", "on_end: touch pwned"))
    code, said = dlrun("--config-dir", "one", "--config-name", "config", "hydra.run.dir=two")
    assert code == 2 and "counts only if you type it" in said and not (tmp_path / "pwned").exists()
    assert dlrun("resume", "one")[0] == 2 or not (tmp_path / "pwned").exists()
    code, _ = dlrun("-m", *quick, "seed=0,1", "hydra.sweep.dir=sweep", "on_end=touch ended; exit 1")
    assert code == 0 and (tmp_path / "ended").exists()
    assert len(list((tmp_path / "sweep").rglob("dlrun-packages*.txt"))) == 1  # once for all runs
    assert "ended" not in (tmp_path / "sweep" / "plan.json").read_text()


def test_keys_of_several_lines_headings_and_files_of_any_name_are_left_out() -> None:
    key = ["-----BEGIN RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEAn1", "qwertyuiop", "-----END RSA PRIVATE KEY-----"]
    patch = [
        "diff --git a/conf.py b/conf.py", "--- a/conf.py", "+++ b/conf.py",
        '@@ -11,4 +11,4 @@ API_KEY = "supersecretvalue1234567890"', " x = 1", *(f"+{line}" for line in key), "+y = 2",
        "@@ -40,2 +40,2 @@ def plain():", f"+{key[0]}", f"+{key[1]}",
        "@@ -60,2 +60,2 @@", "+z = 3",
        'diff --git "a/f\u00fcr/.env" "b/f\u00fcr/.env"', "@@ -1 +1 @@", "+DB=geheim",
        "diff --git a/secrets/prod.txt b/secrets/prod.txt", "@@ -1 +1 @@", "+geheim",
        "",
    ]  # fmt: skip
    kept = without_secrets("\n".join(patch))
    assert not any(word in kept for word in (*key, "supersecret", "geheim", "def plain"))
    assert all(line in kept for line in (" x = 1", "+y = 2", "+z = 3", "@@ -11,4 +11,4 @@", "secrets/prod.txt"))


def test_rm_keeps_files_that_are_named_almost_as_dlruns(sweep: Path) -> None:
    mine = [sweep / "0" / name for name in ("swa_mine.safetensors", "l2_norms.safetensors", "dlrun-changes-x.patch")]
    own = [
        sweep / "0" / name for name in ("swa.safetensors", "snapshot_ensemble_2.safetensors", "dlrun-changes-2.patch")
    ]
    for file in (*mine, *own):
        file.write_text("")
    remove(sweep, "run==0", dry=False)
    assert all(file.exists() for file in mine) and not any(file.exists() for file in own)


def test_notes_that_are_long_or_no_folder(sweep: Path, dlrun) -> None:
    long = "word " * 60
    assert long.strip() in dlrun("note", str(sweep / "1"), long)[1]
    for text, told in (("", "the text is empty"), (f"{sweep}/999", "there is no folder")):
        code, said = dlrun("note", str(sweep / "2"), text)
        assert code == 2 and told in said
    code, said = dlrun("rm", str(sweep), "--where", "lr<1", "--where", "lr>5", "--dry-run")
    assert code == 2 and "give one --where" in said


@pytest.mark.parametrize("sign", ["==", "!="])
def test_a_tag_that_is_one_of_several_is_not_compared_with_the_whole_cell(sign: str) -> None:
    row = {"tags": "one,two"}
    with pytest.raises(ConfigError, match="to ask for one tag: '\"one\" in tags'"):
        condition(f"tags{sign}one", ["tags"])(row)
    assert condition(f"tags{sign}'one,two'", ["tags"])(row) == (sign == "==")
    assert condition(f"tags{sign}one", ["tags"])({"tags": "one"}) == (sign == "==")
