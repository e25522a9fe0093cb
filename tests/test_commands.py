"""Each command that README and docs show is run: by scripts/commands.py, and those that are quick in the slow suite."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from dlrun.command.cli import main
from dlrun.command.verbs import VERBS
from dlrun.config.catalogue import conf_dir
from dlrun.config.check import check

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import commands  # noqa: E402
import website  # noqa: E402
from commands import Command  # noqa: E402

PAGES = commands.pages()
README = PAGES["README.md"]
EVERY = commands.every()
#: of the pages that no script writes, what takes a second or two
QUICK = [
    command
    for command in EVERY
    if not PAGES[command.page].startswith(commands.GENERATED) and not command.elsewhere and not command.python
    if re.match(r"dlrun (?!-m|claims|completion)", command.text)
    and not re.search(
        r"\| head|mnist|california|=500|experiment=|kept/sweep|diagnose|resume|report|=cnn|before|after|--plan|300"
        r"|unpack",
        command.typed,
    )
    and command.page != "docs/cluster.md"
]
FIRST = re.compile(r"=(?:range\(.*|([^,[]+|\[[^]]*\]),.*)$")  #: what a sweep's key is given

PAGE = """
Type `dlrun lr=1` or `dlrun status`; `dlrun predict FOLDER FILE`, `x = 1`.
```sh
dlrun -m lr=1,2 \\
      'seed=range(3)'   # six runs
# nothing
scancel 12
```
```console
$ dlrun epochs=3
epoch  0/3
```
```python
import dlrun
```
```yaml
# my_conf/optimizer/mine.yaml
lr: 1
```
"""


def test_what_counts_as_a_command() -> None:
    found = list(commands.commands("x.md", PAGE))
    assert [command.text for command in found] == [
        "dlrun lr=1",
        "dlrun predict FOLDER FILE",
        "dlrun -m lr=1,2 'seed=range(3)'",
        "scancel 12",
        "dlrun epochs=3",
        "import dlrun\n",
    ]
    assert found[1].typed == "dlrun predict kept/houses houses.csv" and "Slurm" in found[3].elsewhere
    assert [bool(command.elsewhere) for command in found] == [False, False, False, True, False, False]
    assert commands.files(PAGE) == {"my_conf/optimizer/mine.yaml": "# my_conf/optimizer/mine.yaml\nlr: 1\n"}


def test_every_command_was_run_or_stands_among_those_that_cannot_be() -> None:
    ran = commands.ran()
    here = {command[:2] for command in EVERY if not command.elsewhere}
    assert here - set(ran) == set(), "new: run python scripts/commands.py"
    assert set(ran) - here == set(), "gone: run python scripts/commands.py"
    assert commands.told(list(ran.values()), len(EVERY) - len(here)) in README, "run python scripts/commands.py"
    for pattern, why in commands.ELSEWHERE.items():  # no reason without a command that has it
        assert any(re.search(pattern, command.text) for command in EVERY), why


def test_readme_is_one_page_whose_links_and_pictures_are_there() -> None:
    assert len(README.splitlines()) <= 220
    examples = README.partition("## Five examples")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\*\*\d\. ", examples, re.MULTILINE)) == 5
    pictures = {Path(link).name for link in re.findall(r'<img src="(docs/pictures/[^"]+)"', README)}
    assert pictures == {picture.name for picture in commands.PICTURES.iterdir()} and len(pictures) == 5
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / link).exists(), link


def test_every_page_stands_in_the_navigation() -> None:
    named = re.findall(r'= "(\S+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(Path(page).name for page in PAGES if page != "README.md")


def test_no_sentence_stands_twice_in_pages_written_by_hand() -> None:
    seen: dict[str, str] = {}
    for page, text in PAGES.items():
        prose = re.sub(r"^```.*?^```$|^\|.*?$|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL)
        if text.startswith("<!-- Written"):
            continue
        for sentence in re.split(r"(?<=[.:])\s+", " ".join(prose.split())):
            if len(sentence.split()) >= 8:
                assert seen.setdefault(sentence, page) is page, f"{page} and {seen[sentence]}: {sentence}"


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    good = '<a href="other.html#here">x</a><img src="p.png"><a href="https://example.org">y</a>'
    (tmp_path / "index.html").write_text(good)
    (tmp_path / "other.html").write_text('<p id="here"><a href="index.html">home</a>')
    (tmp_path / "p.png").touch()
    assert website.broken(tmp_path) == []
    bad = (
        '<a href="other.html#there">x</a><img src="q.png"><a href="../up.md">y</a><script src="https://cdn.test/x.js">'
    )
    (tmp_path / "lost.html").write_text(bad)
    assert website.broken(tmp_path) == [
        "lost.html: fetches https://cdn.test/x.js",
        "lost.html: no anchor other.html#there",
        "lost.html: no ../up.md",
        "lost.html: no q.png",
        "lost.html: not in zensical.toml's nav",
    ]


def test_the_site_has_what_github_has() -> None:
    markdown = pytest.importorskip("markdown")
    pytest.importorskip("latex2mathml")
    from github_markdown import GitHub

    def html(text: str) -> str:
        return str(markdown.markdown(text, extensions=["fenced_code", "tables", "md_in_html", GitHub()]))

    assert "<li>one</li>" in html("A list:\n- one\n- two") and "<table>" in html(
        "A table\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    assert "<li>" not in html("```sh\nx\n- y\n```") and html("x\n\n```math\n\\frac{a}{b}\n```").count("<mfrac>") == 1
    assert "<msqrt>" in html(r"so $`\sqrt{d_1 * e_1}`$ it *is*") and "<em>is</em>" in html(r"so $`a * b`$ it *is*")
    with pytest.raises(ValueError, match="no MathML"):
        html(r"$`\notaword x`$")


@pytest.mark.slow
def test_what_wants_a_slurm_passes_the_check(tmp_path: Path) -> None:
    """Composed with the launcher's own keys, which have no counterpart on this machine; the first job of each sweep."""
    ours = re.search(r"```yaml\n(.*?)```", PAGES["docs/cluster.md"], re.DOTALL)
    assert ours is not None
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "hydra" / "launcher" / "ours.yaml").write_text(ours[1])
    shown = [command.text for command in EVERY if command.text.startswith("dlrun -m") and "Slurm" in command.elsewhere]
    tried = 0
    for text in shown:
        words = [word for word in shlex.split(text)[2:] if word not in ("--config-dir", "~/clusters", "…")]
        first = [
            re.sub(r"=(?:range\(.*|([^,[]+|\[[^]]*\]),.*)$", lambda found: f"={found[1] or 0}", word) for word in words
        ]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            path = f"hydra.searchpath=[file://{tmp_path}]"
            composed = compose("dlrun", [path, *first, "name=test"], return_hydra_config=True)
            hydra = composed.hydra
            check(compose("dlrun", [*(word for word in first if not word.startswith("hydra")), "name=test"]), hydra)
        tried += 1
    assert tried >= 4


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({command.page for command in QUICK}))
def test_quick_commands_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In this process, in the page's order; what a console block shows is printed, with numbers within their spread."""
    monkeypatch.chdir(tmp_path)
    for name, text in commands.files(PAGES[page]).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    exec(compile(commands.PREPARATION, "PREPARATION", "exec"), {})
    kept = [command for command in commands.KEPT if "sweep" not in command]
    used = " ".join(command.typed for command in QUICK if command.page == page)
    shown = [Command(page, command) for command in kept if shlex.split(command)[-1].partition("=")[2] in used]
    for command in [*shown, *(command for command in QUICK if command.page == page)]:
        monkeypatch.setattr(sys, "argv", shlex.split(command.typed))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert ended.value.code in (0, None), f"{command.typed}: {err}"
        if (
            block := re.search(rf"^```console\n\$ {re.escape(command.text)}\n(.*?)^```", PAGES[page], re.M | re.S)
        ) is not None:
            within_spread(block[1], out)


def within_spread(told: str, out: str) -> None:
    """Every line that a page shows is printed: the words, and the numbers to 0.05, whole ones and the epoch aside."""
    number = r"\d[\d,]*\.?\d*"
    printed = {" ".join(re.sub(number, "N", line).split()): line for line in out.splitlines()}
    for line in told.splitlines():
        if line == "...":
            continue
        same = printed[" ".join(re.sub(number, "N", line).split())]
        pairs = zip(re.findall(number, line), re.findall(number, same), strict=True)
        for one, other in pairs:
            assert "." not in one or abs(float(one) - float(other)) <= (0.02 if "accuracy" in line else 0.05), line


@pytest.mark.slow
def test_the_first_result_of_readme_holds(tmp_path: Path) -> None:
    """The other two, of minutes, scripts/commands.py tries."""
    [digits, *others] = commands.results(README)
    assert digits.command == "dlrun" and len(digits.seeds) == 10 and len(others) == 2
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    values = digits.now(tmp_path, environment)
    assert digits.problem(values) == ""
    assert "README says" in digits._replace(mean=digits.mean - 0.01).problem(values) and digits.problem(values[1:])


def test_the_verbs_that_pages_name_are_there() -> None:
    for page, text in PAGES.items():
        for verb in re.findall(r"`dlrun ([a-z]+)`", text):
            assert verb in VERBS, f"{page}: dlrun {verb}"
