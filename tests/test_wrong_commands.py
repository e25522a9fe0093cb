"""Wrong commands, each with what it is told: one message before anything is trained or written, and no traceback.

What Hydra's options, sweeps and searches refuse stands in test_options.py, what verbs say of damaged folders with the
tests of these verbs.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import Ended, dlrun, environment  # noqa: F401 - a fixture

#: as typed in a shell -> what the message holds; `run`, `half`, `sweep`, `empty`, `conf` and the files lie in `place`
WITHOUT_TORCH = {
    # words, blanks and signs
    "lr = 0.1": "lr = 0.1: key and value are one word: lr=0.1",
    "'lr = 0.1'": "lr = 0.1: not understood; did you mean lr=0.1?",
    "'lr=0.1 seed=3'": "not understood; leave out the quotes around several words: lr=0.1 seed=3",
    "optimizer adam": "optimizer adam: key and value are one word: optimizer=adam",
    "lr:0.1": "lr:0.1: key and value are joined by =: lr=0.1",
    "hydra.run.dir=a[1]": "a path with such signs stands in quotes of its own: 'hydra.run.dir=\"a[1]\"'",
    "hydra.run.dir=a,b": "a path with such signs stands in quotes of its own: 'hydra.run.dir=\"a,b\"'",
    "lr==0.1": "lr==0.1: not understood; did you mean lr=0.1?",
    "lr=1e-3,": "lr=1e-3,: not understood; did you mean lr=1e-3?",
    '"lr=\'0.1"': "lr='0.1: not understood; did you mean lr=0.1?",
    "'lr=0.1\"'": 'lr=0.1": not understood; did you mean lr=0.1?',
    "lr=−0.1": "not understood; did you mean lr=-0.1?",
    "lr=“0.1”": "not understood; did you mean lr=0.1?",
    "'name=“a b”'": 'not understood; did you mean name="a b"?',
    "name=a=b": """name=a=b: not understood; the value needs quotes of its own: 'name="a=b"'""",
    "''": "'': a word of the command is empty",
    "architecture.hidden=[64, 64]": "a value with blanks in it stands in quotes: 'architecture.hidden=[64,64]'",
    "'architecture.hidden=[64,64'": "not understood; did you mean architecture.hidden=[64,64]?",
    "'architecture.hidden=(64,64)'": "not understood; did you mean architecture.hidden=[64,64]?",
    "--epochs=3": "--epochs=3: keys have no dashes before them: epochs=3",
    "--gpu 0": "--gpu 0: keys have no dashes before them; did you mean device, auto or text",
    "--resume run": "--resume: verbs have no dashes before them, and come first: dlrun resume run",
    "--verbose": "--verbose: there is no such option; `dlrun --hydra-help` has all options",
    "--cfg": "--cfg/-c: expected one argument",
    "lst": "lst: there is no such verb; did you mean list?",
    "train": "train: there is no such verb; there are claims, completion",
    "mnist": "mnist is a choice: dataset=mnist",
    "run": "run is a run's folder, and no verb: `dlrun report run` tells of it",
    # keys
    "learning_rate=0.1": "learning_rate=0.1: there is no such key; did you mean lr=0.1?",
    "architecture.hiden=[3]": "there is no such key; did you mean architecture.hidden=[3]?",
    "optimzer.lr=0.1": "optimzer.lr=0.1: there is no such key; did you mean optimizer.lr=0.1?",
    "optimizer.momentum=0.9": "optimizer.momentum is a key of optimizer=momentum",
    "momentum=0.9": "momentum=0.9: there is no such key; optimizer.momentum is a key of optimizer=momentum",
    "architecture.dropout=0.5": "regularizer=dropout is a choice, with regularizer.dropout.p_input",
    "regularizer.l2.lambda=0.1": "regularizer.l2.lambda=0.1: there is no such key; regularizer=l2 is a choice, with",
    "dataset.path=houses.csv": "kmnist, mnist, table: dataset=table dataset.path=houses.csv",
    "+epoch=3": "epoch=3: there is no such key; did you mean epochs=3?",
    "keep=packed": "keep=packed: there is no such key; did you mean hydra.sweeper.keep=packed?",
    "~lr": "~lr: a run needs each of its keys; leave it out, and it has its default",
    # choices
    "optimizer=adm": "optimizer=adm: there is no such choice; did you mean adam? `dlrun list optimizer` has all",
    "dataset=MNIST": "did you mean mnist? `dlrun list dataset` has all",
    "optimizer=cosine": "there is no such choice; it is one of another group, schedule=cosine",
    "'optimizer=*'": "there is no such choice; all of them are 'optimizer=glob(*)'",
    "optimizer=null": "optimizer=null: a run has one; `dlrun list optimizer` has what there is",
    "regularizer=null": "regularizer=null: none at all is regularizer=none",
    "~optimizer": "optimizer: a run has one, and this config none",
    "dataset=houses.csv": "a file of your own is dataset=table dataset.path=houses.csv;",
    "dataset=./houses.csv": "a file of your own is dataset=table dataset.path=./houses.csv;",
    "'regularizer=[l2,dropuot]'": "regularizer=dropuot: there is no such choice",
    "optimizer._target_=os.system": "only dlrun's own code is run",
    # values
    "epochs=ten": "epochs=ten: must be int >= 1",
    "epochs=1e3": "epochs=1000.0: must be int >= 1 (passes over the training set); did you mean epochs=1000?",
    "epochs=": "epochs=: must be int >= 1",
    "optimizer.beta1=1": "optimizer.beta1=1: must be in [0, 1)",
    "batch_size=fulll": "did you mean full?",
    "lr=None": "(learning rate, null takes the optimizer's own default); did you mean lr=null?",
    "'lr=${foo}'": "lr: Interpolation key 'foo' not found",
    "compile=yes": "compile=yes: must be auto or bool (fuse the training step with torch's compiler); did you mean "
    "compile=true?",
    "checkpoint_every=5m": "did you mean checkpoint_every=5min?",
    "architecture.hidden=64": "did you mean architecture.hidden=[64]?",
    "architecture.hidden=64,64": "a list stands in brackets: 'architecture.hidden=[64,64]'",
    "name=../x": "may not lead out of it by ..",
    "initializer=checkpoint": "initializer.path has to be given",
    # sweeps
    "lr=0.1,0.2": "several values make a sweep, which begins with -m: dlrun -m lr=0.1,0.2",
    "'seed=range(3)'": "several values make a sweep, which begins with -m: dlrun -m 'seed=range(3)'",
    "'lr=loguniform(1e-4,1)'": "of so many: dlrun -m 'lr=loguniform(1e-4,1)' hydra.sweeper.samples=16",
    "'seed=range(3'": "seed=range(3: not understood; did you mean seed=range(3)?",
    "diagnostics=fit,lags": "several at once are a list, in quotes: 'diagnostics=[fit,lags]'",
    "'optimizer=[sgd,adam]'": "a run has one optimizer, not a list: dlrun -m optimizer=sgd,adam",
    "'dataset=[iris]'": "dataset=[iris]: a run has one dataset, not a list: give one, dataset=iris",
    "-m 'loss=[mse,huber],mse'": "loss=[mse,huber]: a run has one loss, not a list",
    "'schedule=[]'": "schedule=[]: a run has one schedule",
    "-m lr=0.1 0.2": "lr=0.1 0.2: values are joined by commas, without blanks: lr=0.1,0.2",
    "-m lr=0.1,,0.2": "lr=0.1,,0.2: not understood; did you mean -m lr=0.1,0.2?",
    "-m 'lr={0.1,0.2}'": "not understood; did you mean -m lr=0.1,0.2?",
    "-m 'lr=[0.1,0.2]'": "several values make a sweep: dlrun -m 'lr=0.1,0.2'",
    "-m seed=0-9": "several values make a sweep: dlrun -m 'seed=range(0,10)'",
    "-m settings=nowhere.yaml": "settings=nowhere.yaml: there is no file nowhere.yaml",
    # folders and files
    "hydra.run.dir=sweep": "hydra.run.dir=sweep: a sweep is there, whose folder is no run's",
    "hydra.run.dir=run seed=7": "the folder run already holds a run of another config",
    "-m hydra.sweep.dir=run": "the folder run holds a run that is no sweep's: choose another hydra.sweep.dir",
    "--config-name broken": "--config-name=broken: there is no broken.yaml where configs are looked for",
    "--config-dir . --config-name broken": "broken.yaml cannot be read as YAML: while parsing a flow sequence",
    "--config-dir nowhere": "nowhere' not found",
    "--config-dir conf optimizer=grammar": "grammar.yaml: not a constraint: 'bigger than 0'; write a comment such as",
    "--config-dir conf optimizer=foreign": "only dlrun's own code is run; if you trust it, add 'allow_targets=[mine]'",
    # verbs
    "resume": "resume: name the folder of one run or sweep",
    "resume nowhere": "nowhere is not there; give the folder of a run or a sweep",
    "resume empty": "empty is no sweep's folder and no run's",
    "resume sweep seed=3": "resume seed=3: a sweep goes on with the commands that it was given",
    "report nowhere": "nowhere holds no run, for it is not there; give the folders",
    "report houses.csv": "houses.csv holds no run, for it is a file; give the folders",
    "report run --margin -1": "--margin -1: give a number above 0",
    "report run --target val_accuracy": "--target val_accuracy: give a column and a number, as val_accuracy=0.97",
    "report run --metrics loss": "report --metrics: there is no such option; did you mean --metric?",
    "diagnose run": "diagnose: name the folders of runs or sweeps, and 'diagnostics=[NAME,...]'; `dlrun",
    "diagnose nowhere 'diagnostics=[fit]'": "nowhere holds no run, for it is not there",
    "diagnose run 'diagnostics=[fitt]'": "diagnostics=fitt: there is no such choice; did you mean fit?",
    "plot schedule=cosin": "schedule=cosin: there is no such choice; did you mean cosine?",
    "predict run houses.csv": "predict: say where the predictions go: --output predictions.csv",
    "predict run houses.csv --output broken.yaml": "broken.yaml is there already, and is not overwritten",
    "predict sweep houses.csv --output x.csv": "sweep holds no run: it has no config.yaml; it is a sweep's",
    "export run --format onx": "export --format onx: must be onnx or torch; did you mean onnx?",
    "export run --format torch --output nowhere/x": "nowhere/x: there is no folder nowhere",
    "claims xor": "claims xor: there is no such claim; there are xor_bad_init, xor_good_init",
    "claims xor_bad_init seed=3": "claims seed=3: a claim has its runs",
    "list optimiser": "list optimiser: there is no such group; did you mean optimizer?",
    "list adam": "list adam: there is no such group; optimizer/adam is one",
    "completion powershell": "completion: name a shell, bash, zsh, fish",
}

#: what only the data, the network or the machine can tell
WITH_TORCH = {
    "normalization=instance": "normalization=instance averages over space",
    "architecture=linear normalization=batch": "this network has none",
    "normalization=batch batch_size=1": "normalization=batch needs two samples",
    "dataset=diabetes loss=hinge": "loss=hinge is for binary targets",
    "dataset=iris architecture=cnn": "architecture=cnn needs images",
    "dataset=diabetes regularizer=label_smoothing": "label_smoothing needs classes",
    "dataset=iris dataset.val_fraction=0.001": "empty split",
    "dataset=iris dataset.fold=5": "dataset.fold=5 needs dataset.folds, the number of folds",
    "dataset=iris optimizer=lbfgs": "set batch_size=full, or choose another optimizer",
    "dataset=table": "dataset=table needs a file: dataset.path=data.csv",
    "dataset=table dataset.path=nowhere.csv": "nowhere.csv",
    "dataset=table dataset.path=houses.csv dataset.target=prize": "dataset.target=prize: no such column in",
    "dataset=image_folder dataset.path=nowhere": "there is no such folder that holds train/<class>/",
    "device=gpu": "there are auto, which takes a GPU where there is one, cpu, cuda",
    "device=cuda:99": "device=cuda:99: not usable on this machine",
    "optimizer=torch optimizer.name=Adm": "did you mean Adam?",
    "schedule.warmup=soon": "schedule.warmup=soon",
    "architecture.width=3": "give architecture.depth",
    "predict half houses.csv --output x.csv": "encoding.json",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name."""
    place = tmp_path_factory.mktemp("place")
    for name in ("run", "half", "sweep", "empty", "conf/optimizer"):
        (place / name).mkdir(parents=True)
    for name in ("run", "half"):
        (place / name / "config.yaml").write_text("seed: 0\n")
        (place / name / "metrics.csv").write_text("epoch,step\n")
    (place / "run" / "summary.json").write_text(json.dumps({"status": "finished"}))
    (place / "sweep" / "plan.json").write_text(json.dumps({"commands": [["dataset=iris", "seed=0,1"]], "runs": {}}))
    (place / "houses.csv").write_text("area,price\n" + "".join(f"{50 + i},{100 + 2 * i}\n" for i in range(30)))
    (place / "broken.yaml").write_text("lr: [1, 2\nseed: 3\n")
    target = "_target_: {}\nlr: 0.1 # {}; rate\n"
    for name, words in {
        "grammar": ("dlrun.optimizers.sgd.SGD", "bigger than 0"),
        "foreign": ("mine.Mine", "> 0"),
    }.items():
        (place / "conf" / "optimizer" / f"{name}.yaml").write_text(target.format(*words))
    return place


def test_there_are_sixty_and_more() -> None:
    assert len(WITHOUT_TORCH) > 60


@pytest.mark.parametrize("command", [*WITHOUT_TORCH, *WITH_TORCH])
def test_it_gets_one_message_before_anything_is_written(
    command: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    ended = dlrun(*shlex.split(command))
    assert ended.code == 2 and ended.out == "" and ended.err.startswith("dlrun: "), ended.err
    assert {**WITHOUT_TORCH, **WITH_TORCH}[command] in " ".join(ended.err.split())
    assert "Traceback" not in ended.err and (ended.err.count("\n") == 1 or "What differs" in ended.err)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def test_those_that_need_no_torch_import_none(place: Path) -> None:
    """A sample of them in one process that has imported nothing heavy; none of these takes a second."""
    sample = [shlex.split(command) for command in list(WITHOUT_TORCH)[::5]]
    script = (
        "import contextlib, json, sys\nfrom dlrun.command.cli import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['dlrun', *words]\n"
        "    with contextlib.suppress(SystemExit):\n        main()\n"
        "print(sorted({'torch', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script, json.dumps(sample)]
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True, env=environment())
    assert ended.returncode == 0 and ended.stdout == "[]\n", ended.stderr
    assert ended.stderr.count("dlrun: ") == len(sample)
