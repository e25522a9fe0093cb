"""What Tab completes, by the completer itself and in real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from dlrun.command.arguments import OWN
from dlrun.command.completion import OPTIONS, SCRIPTS, VALUES, complete, parted, verbs
from dlrun.command.finished import FORMATS
from dlrun.command.verbs import VERBS
from dlrun.config.catalogue import choices, groups

PROGRAM = Path(sys.executable).parent / "dlrun"


def found(line: str) -> list[str]:
    words, word, _ = parted(f"dlrun {line}")
    of = complete(words, word)
    return [f":{of.places}"] if of.places else sorted(of.words)


@pytest.mark.parametrize(
    "line, answers",
    [
        ("optimizer=ad", ["optimizer=adadelta", "optimizer=adagrad", "optimizer=adam", "optimizer=adamw"]),
        ("opt", ["optimizer.", "optimizer="]),
        ("optimizer=momentum optimizer.", ["optimizer.lr=", "optimizer.momentum=", "optimizer.velocity="]),
        ("optimizer=momentum optimizer.be", []),
        ("optimizer.be", ["optimizer.beta1=", "optimizer.beta2="]),  # of the default
        ("-m optimizer=sgd,adam optimizer.mo", []),
        ("-m optimizer=sgd,momentum optimizer.mo", ["optimizer.momentum="]),
        ("-m optimizer=sgd,adamw,ada", [f"optimizer=sgd,adamw,{name}" for name in ("adadelta", "adagrad", "adam")]),
        ("regularizer=[l2,dr", ["regularizer=[l2,dropout,", "regularizer=[l2,dropout]"]),
        ("'regularizer=[l", [f"regularizer=[{n}{s}" for n in ("l1", "l2", "label_smoothing") for s in ",]"]),
        ("regularizer=[dropout] regularizer.dropout.p_h", ["regularizer.dropout.p_hidden="]),
        ("optimizer=[ad", []),
        ("+sched", ["+schedule.", "+schedule="]),
        ("compile=", ["compile=auto", "compile=false", "compile=true"]),
        ("architecture.activation=le", ["architecture.activation=leaky_relu", "architecture.activation=lecun_tanh"]),
        ("seed=", []),
        ("dataset=table dataset.path=hou", [":files"]),
        ("dataset.path=hou", [":files"]),  # before its choice is typed
        ("hydra.run.dir=", [":folders"]),
        ("hydra/launcher=stack_", ["hydra/launcher=stack_slurm", "hydra/launcher=stack_slurm_gpu"]),
        ("hydra/launcher=stack_slurm hydra.launcher.part", ["hydra.launcher.partition="]),
        ("--su", ["--summary"]),
        ("--cfg ", ["all", "hydra", "job"]),
        ("--cfg=j", ["--cfg=job"]),
        ("--config-dir ", [":folders"]),
        ("res", ["resume"]),
        ("ex", ["experiment=", "export"]),
        ("list opt", ["optimizer"]),
        ("list optimizer/adam", ["optimizer/adam", "optimizer/adamw"]),
        ("claims xor_", ["xor_bad_init", "xor_good_init"]),
        ("claims --l", ["--large", "--list"]),
        ("report out", [":folders"]),
        ("report --m", ["--margin", "--metric"]),
        ("predict outputs/first h", [":files"]),
        ("predict outputs/first houses.csv --output ", [":files"]),
        ("predict outputs/first which=", ["which=best", "which=last"]),
        ("export outputs/first --format ", ["onnx", "torch"]),
        ("export outputs/first --format=o", ["--format=onnx"]),
        ("diagnose outputs/first diagnostics=[land", ["diagnostics=[landscape,", "diagnostics=[landscape]"]),
        ("plot schedule=one", ["schedule=one_cycle"]),
        ("completion z", ["zsh"]),
        ("dataset.path=a\\ b dataset=ir", ["dataset=iris"]),
    ],
)
def test_what_a_word_may_become(line: str, answers: list[str]) -> None:
    assert found(line) == sorted(answers)


def test_the_beginning_offers_all_that_there_is() -> None:
    answers = found("")
    assert {*(f"{group}=" for group in groups()), *VERBS, "lr=", "epochs="} <= set(answers)
    assert not any("." in answer.rstrip(".") for answer in answers)
    for group in groups():
        assert found(f"{group}=") == sorted(f"{group}={name}" for name in choices(group))


def test_what_is_offered_is_there() -> None:
    assert set(verbs()) == set(VERBS) and all(about for about, _ in verbs().values())
    assert set(OPTIONS) - {*OWN, "--version"} <= {n for a in get_args_parser()._actions for n in a.option_strings}
    assert set(VALUES["--format"]) == set(FORMATS)


def test_choices_of_ones_own_are_offered(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text(
        "# My own\n_target_: mine.Rule\nlr: 0.1 # > 0; the rate\nzeta: 1 # > 0; x\n"
    )
    (tmp_path / "optimizer" / "broken.yaml").write_text("# Broken\nlr: [ # > 0; the rate\n")
    assert found(f"--config-dir {tmp_path} optimizer=m") == [f"optimizer={n}" for n in ("mine", "momentum", "muon")]
    assert found(f"--config-dir={tmp_path} optimizer=mine optimizer.z") == ["optimizer.zeta="]
    assert found(f"--config-dir={tmp_path} optimizer=broken optimizer.") == []


def test_files_of_ones_own_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("signum.py", "2.py", "_x.py", "s.txt", "a b.py", "sub/mine.py"):
        (tmp_path / name).touch()
    (tmp_path / "signum.py").write_text(
        "class A:\n    def update(self, *,\n        lr=1, # > 0; rate\n        zeta=1, # > 0; x\n        ): pass\n"
    )
    assert found("optimizer=s") == [f"optimizer={name}" for name in ("saddle_free_newton", "sgd", "signum.py", "sub/")]
    assert found("optimizer=") == sorted(f"optimizer={name}" for name in [*choices("optimizer"), "signum.py"])
    assert found("-m optimizer=sgd,sub/") == ["optimizer=sgd,sub/mine.py"]
    assert found(f"dataset={tmp_path}/si") == [f"dataset={tmp_path}/signum.py"]
    assert found("diagnostics=[sub/m") == ["diagnostics=[sub/mine.py,", "diagnostics=[sub/mine.py]"]
    assert found("diagnostics=[su") == ["diagnostics=[sub/"]
    assert found("list optimizer/si") == ["optimizer/signum.py"]
    assert found("optimizer=signum.py optimizer.z") == ["optimizer.zeta="]


def test_a_reader_that_goes_away_is_no_mistake() -> None:
    read, write = os.pipe()
    os.close(read)
    code = "import sys; from dlrun.__main__ import main; sys.argv = ['dlrun', 'completion', 'bash']; main()"
    ended = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert ended.returncode == 0 and ended.stderr == ""


def test_it_asks_for_nothing_heavy_and_is_quick() -> None:
    code = (
        "import sys; from dlrun.__main__ import main; sys.argv = ['dlrun', 'completion', 'bash', 'dlrun optimizer=a']"
    )
    code += (
        "\ntry: main()\nexcept SystemExit: print(sorted({'hydra', 'omegaconf', 'torch', 'rich'} & set(sys.modules)))"
    )
    times = []
    for _ in range(3):
        before = os.times()
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        after = os.times()  # the processor's, which what else the machine does leaves alone
        times.append(
            sum(getattr(after, f"children_{of}") - getattr(before, f"children_{of}") for of in ("user", "system"))
        )
    assert ended.stdout.splitlines() == ["adadelta", "adagrad", "adam", "adamw", "amsgrad", "[]"], ended.stderr
    assert min(times) < 0.3


@pytest.mark.parametrize("shell", ["bash", *(pytest.param(s, marks=pytest.mark.slow) for s in ("zsh", "fish"))])
def test_in_a_real_shell(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell) or not PROGRAM.exists():
        pytest.skip(f"no {shell}, or no {PROGRAM}")
    (tmp_path / "outputs" / "first").mkdir(parents=True)
    (tmp_path / "houses.csv").write_text("a")
    begin = "dlrun completion fish | source" if shell == "fish" else f'eval "$(dlrun completion {shell})"'
    options = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}[shell]
    with Shell([shell, *options], tmp_path) as terminal:
        terminal.type(f"{begin}; echo ready$((1))\r" if shell != "fish" else f"{begin}; echo ready(math 1)\r", "ready1")
        terminal.type("dlrun optimizer=mo\t", "optimizer=momentum ")
        terminal.type("optimizer.mo\t", r"optimizer\.momentum=")
        terminal.type("0.5 'regularizer=[l2,dr\t", r"\[l2,dropout")
        terminal.type("]' dataset=table dataset.path=hou\t", r"dataset\.path=houses\.csv")
        terminal.type("\x15dlrun report out\t", "dlrun report outputs/")


class Shell:
    """A shell in a terminal of its own."""

    def __init__(self, command: list[str], folder: Path) -> None:
        path = f"{PROGRAM.parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "HOME": str(folder), "TERM": "xterm", "COLUMNS": "200", "PS1": "$ "}
        environment |= {"PYTHONPATH": str(Path(__file__).parent.parent)}
        self.process, self.terminal = pty.fork()
        if not self.process:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.terminal)

    def type(self, text: str, answer: str) -> None:
        """Type a text and wait until the shell shows what matches the answer."""
        os.write(self.terminal, text.encode())
        shown, end = "", time.monotonic() + 60
        while not re.search(answer, re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\x1b\([AB]|[\r\n\b\a]", "", shown)):
            assert time.monotonic() < end, f"{text!r} shows {shown!r}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                more = os.read(self.terminal, 2**16).decode(errors="replace")
                shown += more
                for question, reply in (("\x1b[6n", "\x1b[1;1R"), ("\x1b[c", "\x1b[?62c")):
                    if question in more:  # what fish asks of a terminal
                        os.write(self.terminal, reply.encode())


def test_the_scripts_are_for_the_shells_that_are_named() -> None:
    assert list(SCRIPTS) == ["bash", "zsh", "fish"]
    ended = subprocess.run([sys.executable, "-m", "dlrun", "completion", "bsh"], capture_output=True, text=True)
    assert ended.returncode == 2 and "name a shell, bash, zsh, fish; did you mean bash?" in ended.stderr
