"""What GitHub's Markdown has and Python-Markdown lacks, as an extension for zensical.toml; formulas become MathML."""

from __future__ import annotations

import re

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor

FENCE = re.compile(r"(```+|~~~+)(\w*)")
BLOCK = re.compile(r"(?:- |\* |\d+\. |\|)")  #: what begins a list or a table
FORMULA = r"\$`([^`]+)`\$"
BEFORE_FENCES, BEFORE_CODE = 28, 195  #: above Python-Markdown's own fences (25) and code between backticks (190)


def mathml(formula: str, display: str) -> str:
    """LaTeX as MathML, which browsers draw without a script. Raises ValueError for what has no translation."""
    found = convert(formula.replace(r"\arg\max", r"\operatorname{argmax}"), display=display)
    if "\\" in found:
        raise ValueError(f"no MathML for {formula!r}")
    return found


class Blocks(Preprocessor):
    """Formulas in fences, lists and tables that follow a paragraph at once, and Markdown within <details>."""

    def run(self, lines: list[str]) -> list[str]:
        found: list[str] = []
        fence, formula = "", list[str]()
        for line in lines:
            before = found[-1] if found else ""
            if fence:
                if line.startswith(fence):
                    fence = ""
                    if formula:
                        found[-1] = f'<div class="formula">{mathml(" ".join(formula[1:]), "block")}</div>'
                        formula, line = [], ""
                elif formula:
                    formula.append(line)
                    continue
            elif opened := FENCE.match(line):
                fence, language = opened.groups()
                if language == "math":
                    formula = [line]
            elif BLOCK.match(line) and before and before[0] not in " -|" and not BLOCK.match(before):
                found.append("")
            elif line == "<details>" or line.startswith("<details><summary>"):
                line = line.replace("<details>", '<details markdown="1">')
            found.append(line)
        return found


class Formula(InlineProcessor):
    """A formula between $` and `$."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:
        return self.md.htmlStash.store(mathml(m[1], "inline")), m.start(), m.end()


class GitHub(Extension):
    """The extension: `scripts.github_markdown` among zensical.toml's markdown_extensions."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(Blocks(md), "github_blocks", BEFORE_FENCES)
        md.inlinePatterns.register(Formula(FORMULA, md), "github_formula", BEFORE_CODE)


def makeExtension(**_: object) -> GitHub:
    """What Python-Markdown asks a module of extensions for."""
    return GitHub()
