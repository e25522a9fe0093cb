"""The pages in docs/, and conf/schema.json, from conf/ and the docstrings: `python scripts/docs.py` writes them.

`--check` compares them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import schema
from doc_examples import commands
from omegaconf import OmegaConf

from dlrun.config.catalogue import choices, conf_dir, description, groups
from dlrun.config.explained import Explained, Keys, explained, options, typed

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA = conf_dir() / "schema.json"  #: for editors; in the package in a wheel
NOTE = "<!-- Written by scripts/docs.py from conf/ and the docstrings: change those, then run it again. -->"
TOKEN = re.compile(
    r"(?P<code>`[^`]*`)|\$(?P<math>[^$]+)\$|arXiv:(?P<arxiv>[\d.]*\d)"
    r"|doi:(?P<doi>10\.\S+?)(?=[.,;:)]*(?:\s|$))|(?P<special>[*<~$])"
)


def pages() -> dict[str, str]:
    """The text of every page, by its file's name."""
    main = options(conf_dir() / "dlrun.yaml")
    run = table({key: told for key, told in main.items() if key.partition(".")[0] not in groups()})
    found = {"run.md": f"{NOTE}\n# run\nKeys of every run, such as `dlrun lr=3e-4 epochs=10`:\n\n{run}\n"}
    index = [f"{NOTE}\n# What can be chosen\n[run](run.md) has the keys of every run."]
    for group in groups():
        common = {key: told for key, told in main.items() if key.startswith(f"{group}.")}
        sections = [head(group, common), *(section(group, name, common) for name in choices(group))]
        found[f"{group}.md"] = "\n\n".join(sections) + "\n"
        lines = [
            [f"[{name}]({group}.md#{name})", prose(description(conf_dir() / group / f"{name}.yaml"))]
            for name in choices(group)
        ]
        index += [f"## [{group}]({group}.md)", grid(["choice", "what"], lines)]
    return {"choices.md": "\n\n".join(index) + "\n", **found}


def head(group: str, common: Keys) -> str:
    """How one chooses from the group, and the keys that all its choices share."""
    defaults = [entry for entry in OmegaConf.load(conf_dir() / "dlrun.yaml").defaults if group in entry]
    how = f"`{group}=NAME` chooses one of these"
    if group == "regularizer":
        how = "`'regularizer=[NAME,NAME]'` chooses any of these, each with its keys under its own name"
    links = " · ".join(f"[{name}](#{name})" for name in choices(group))
    shared = [f"Keys of every {group}:", table(common)] if common else []
    default = f"; the default is `{defaults[0][group]}`" if defaults else ""
    return "\n\n".join([f"{NOTE}\n# {group}\n{how}{default}.", links, *shared])


def section(group: str, name: str, common: Keys) -> str:
    """One choice: what it is, its formulas, its keys, its reference and two commands."""
    told = explained(group, name)
    examples = "\n".join(commands(group, name, told.keys | common | told.keys))
    parts = [f"## {name}", prose(told.description), *map(formulas, told.paragraphs), table(told.keys, told)]
    parts += [told.reference and f"Reference: {prose(told.reference)}", f"```sh\n{examples}\n```"]
    return "\n\n".join(part for part in parts if part)


def formulas(paragraph: str) -> str:
    """A docstring's paragraph with what stands between $$ in blocks of their own."""
    pieces = re.split(r"\$\$(.+?)\$\$", paragraph, flags=re.DOTALL)
    blocks = [f"```math\n{' '.join(piece.split())}\n```" if i % 2 else prose(piece) for i, piece in enumerate(pieces)]
    return "\n\n".join(block for block in blocks if block)


def prose(text: str) -> str:
    """Text in Markdown: formulas between $` and `$, where no backslash is lost, links, and nothing else special."""

    def told(match: re.Match[str]) -> str:
        code, math, arxiv, doi, special = match.groups()
        if math:
            return f"$`{math}`$"
        if arxiv:
            return f"[arXiv:{arxiv}](https://arxiv.org/abs/{arxiv})"
        return code or (f"[doi:{doi}](<https://doi.org/{doi}>)" if doi else f"\\{special}")

    return TOKEN.sub(told, " ".join(text.split()))


def table(keys: Keys, told: Explained | None = None) -> str:
    """A line for each key, with what a choice says of it."""
    lines = []
    for key, (default, constraint) in keys.items():
        meaning = prose(told.meaning(key) if told else constraint.meaning)
        lines.append([f"`{key}`", f"`{typed(default)}`", f"`{constraint.text}`", meaning])
    return grid(["key", "default", "allowed", "meaning"], lines) if lines else ""


def grid(titles: list[str], lines: list[list[str]]) -> str:
    rows = [titles, ["---"] * len(titles), *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def outdated(folder: Path) -> list[str]:
    """The pages that the folder lacks, or holds in another wording."""
    found = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.md")}
    return [name for name, text in pages().items() if found.get(name) != text]


def outdated_schema() -> list[str]:
    """conf/schema.json, if conf/'s comments say something else."""
    return [SCHEMA.name] if not SCHEMA.exists() or SCHEMA.read_text(encoding="utf-8") != schema.text() else []


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        stale = outdated(DOCS) + outdated_schema()
        print(f"not up to date: {', '.join(stale)}; run python scripts/docs.py" if stale else "docs/ is up to date")
        return bool(stale)
    DOCS.mkdir(exist_ok=True)
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
    SCHEMA.write_text(schema.text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
