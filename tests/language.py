"""Find words that the project does not use, with their place: `python tests/language.py [PATH ...]`.

Names, string literals (messages and help texts), docstrings, comments and pages are searched. A `Rule` states a
pattern, what to write instead, and where it applies.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]

Kind = Literal["name", "text", "docstring", "comment", "page"]
PROSE: frozenset[Kind] = frozenset({"text", "docstring", "comment", "page"})
NAMES: frozenset[Kind] = frozenset({"name"})
EVERYWHERE = PROSE | NAMES

FOLDERS = ("qcs", "benchmarks", "tests", "docs", ".")
PAGES = {".md", ".yml", ".toml", ".html", ".css", ".js", ".svg", ".ini", ".cfg"}
NOT_OURS = ("tests/golden/", "benchmarks/ferplus/results/", "docs/images/pictures/")
ITSELF = ("tests/language.py", "tests/test_language.py")  # they list the words


@dataclass(frozen=True)
class Rule:
    """A pattern that must not occur.

    Args:
        pattern: A regular expression, matched against lower-case text as whole words; a space matches any white space.
        instead: What to write instead.
        example: A sentence, or a name in the case of names alone, in which the pattern occurs.
        kinds: Where it must not occur.
        under: Folders below which the rule applies; everywhere if empty.
    """

    pattern: str
    instead: str
    example: str
    kinds: frozenset[Kind] = EVERYWHERE
    under: tuple[str, ...] = ()

    def found(self, text: str) -> Iterator[re.Match[str]]:
        """Yield each place of a text where the pattern occurs; `_` separates words."""
        spaced = self.pattern.replace(" ", r"\s+")
        return re.finditer(rf"\b(?:{spaced})\b", text.replace("_", " "), re.IGNORECASE)


@dataclass(frozen=True)
class Passage:
    """A piece of text and where it begins."""

    kind: Kind
    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Hit:
    """A forbidden word and its place."""

    path: str
    line: int
    kind: Kind
    word: str
    rule: Rule

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.word!r}: write {self.rule.instead}"


_VERBS = (
    "anonym|apolog|author|binar|capital|categor|central|character|custom|digital|discret|equal|factor|final|general|"
    "harmon|initial|item|linear|local|material|maxim|memor|minim|modern|normal|optim|organ|parallel|parametr|"
    "penal|polar|priorit|quant|random|real|recogn|regular|serial|special|stabil|standard|summar|symbol|synchron|token|"
    "util|vector|visual"
)

SPELLING = (
    Rule(r"\w*colour(s|ed|ing|ful)?", "color", "The colour of the bars."),
    Rule(r"grey(s|ish|scale)?", "gray; grayscale of images", "A grey image."),
    Rule(
        rf"\w*({_VERBS})is(e|ed|es|er|ers|ing|able|ation|ations)", "-ize, -ization", "Normalise the recognised faces."
    ),
    Rule(r"analys(e|ed|ing)", "analyze", "Analyse the errors."),
    Rule(r"emphasis(e|ed|ing)", "emphasize", "To emphasise it."),
    Rule(r"licen[c]e(s|d)?", "license", "Under this licence."),
    Rule(r"(un)?learnt", "learned", "It has learnt much."),
    Rule(
        r"\w*(label|model|cancel|travel|level|signal|channel|total|fuel)l(ed|ing|er|ers)",
        "one l: labeled, modeling",
        "Labelled images.",
    ),
    Rule(r"\w*cent(re|res|red|ring)", "center", "A centre crop."),
    Rule(r"\w*(neighb|behavi|fav|hon|flav|hum|rum|lab)our(s|ed|ing|able|ite|hood)?", "-or", "Nearest neighbour."),
    Rule(r"\w*artefact(s)?", "artifact", "An artefact of the crop."),
    Rule(r"catalogu(e|es|ed)", "catalog", "A catalogue of weights."),
    Rule(r"programme(s)?", "program", "A training programme."),
    Rule(r"judgement(s)?", "judgment", "A judgement of annotators."),
    Rule(r"(de|of)fence(s)?|pretence", "-ense", "A defence of it."),
    Rule(r"(milli|centi|kilo)?met(re|res)|fibre(s)?", "-er", "Ten metres."),
    Rule(r"whilst|amongst", "while, among", "Whilst training."),
    Rule(r"practis(e|ed|es|ing)", "practice", "To practise it."),
    Rule(r"fulfil(s)?|skilful", "fulfill", "They fulfil it."),
    Rule(r"maths", "mathematics", "The maths of it."),
    Rule(r"per cent", "percent", "Ten per cent."),
    Rule(r"ageing", "aging", "Ageing files."),
)

WORDS = (
    Rule(r"mirrored", "test-time augmentation, flipped", "Averaged with the mirrored image."),
    Rule(r"two looks|(second|another) look", "a second pass, a flipped view", "A second look at pictures."),
    Rule(r"looks? between|between two looks", "evaluations", "Views between two looks."),
    Rule(r"looks?", "a word of the field: comparison, view", "look", NAMES, ("qcs",)),
    Rule(r"epochs? without a better( \w+)?", "early stopping, patience", "Epochs without a better loss."),
    Rule(r"largest norm|none for any", "maximum gradient norm", "Largest norm; None for any."),
    Rule(r"share of a label", "label smoothing", "The share of a label spread over all."),
    Rule(r"decay per step of an average", "EMA decay", "Decay per step of an average."),
    Rule(r"(has|have|had|having) (a|no) say", "teacher, decide", "Teachers have a say in the targets."),
    Rule(r"(says?|said|state[sd]?) of (itself|themselves)", "metadata", "What the file says of itself."),
    Rule(r"told", "is described in, states, given", "How it works is told in the paper.", PROSE),
    Rule(r"told", "a noun: text, message, sentence", "told", NAMES),
    Rule(r"(came|comes|come) of", "Return ..., the result of", "What came of each file."),
    Rule(r"(not )?ours to \w+", "not available", "Data sets are not ours to have."),
    Rule(r"stands? in|stands? under", "is described in, is listed in", "The rest stands in the paper."),
    Rule(r"company", "partner images", "The company of an image."),
    Rule(r"strangers?", "random partner images, cross-class", "A quadruplet of strangers."),
    Rule(r"known images?", "evaluation set", "Take the known images."),
    Rule(r"run[\s-]times?", "runtime; wall time", "Other run times open it."),
    Rule(r"hyper[\s-]parameters?", "hyperparameters", "The hyper parameters."),
    Rule(r"ow(e|es|ed)", "gradient, is due to", "What is owed to the columns."),
    Rule(
        r"drawn (face|photograph|photo|picture|image|weight|people|person|smile)s?|freshly drawn",
        "synthetic faces, random weights",
        "Train on drawn faces.",
    ),
    Rule(r"drawn (base|dcs|qcs)", "synthetic-", "drawn_base", NAMES),
    Rule(r"damag(e|es|ed|ing)", "corrupt, corruption", "A damaged file."),
    Rule(r"with its error", "confidence interval, standard error", "The mean with its error."),
    Rule(r"differs? in one thing", "ablation, baseline", "It differs in one thing."),
    Rule(r"^running$", "average meter, running mean", "running", NAMES),
)

OPS = tuple(
    Rule(words, instead, example, NAMES, ("qcs/ops", "qcs/functional.py"))
    for words, instead, example in (
        (r"of (rows?|columns?)", "importance", "of_rows"),
        (r"pull(s|ed)?", "grad_x", "pull_rows"),
        (r"(\w+ )?bar", "grad_x, upstream gradient", "u_bar"),
        (r"slopes?", "grad_x", "slope"),
        (r"shares?", "weights", "share"),
        (r"anchored|towards?", "the mathematics", "towards"),
    )
)

RULES = (*SPELLING, *WORDS, *OPS)


@dataclass(frozen=True)
class Exemption:
    """A hit that is meant.

    Args:
        path: The file, or a folder with a slash at its end.
        word: The word as found, lower case.
        reason: Why it stays.
    """

    path: str
    word: str
    reason: str


_RENAMED = "an old name in the table of renames"
EXEMPTIONS: tuple[Exemption, ...] = (
    *(
        Exemption("CHANGELOG.md", word, _RENAMED)
        for word in ("mirrored", "licence", "grey", "normalise", "neighbour", "company", "strangers")
    ),
    Exemption("tests/peer_golden.py", "mirrored", "the name of a golden tensor"),
)


def files() -> Iterator[Path]:
    """Yield every file of the project that people read."""
    for folder in FOLDERS:
        found = (ROOT / folder).glob("*") if folder == "." else (ROOT / folder).rglob("*")
        for path in sorted(found):
            name = path.relative_to(ROOT).as_posix()
            readable = path.suffix in PAGES or path.suffix == ".py" or path.name == "Makefile"
            if readable and path.is_file() and not name.startswith(NOT_OURS) and name not in ITSELF:
                yield path


def passages(path: str, source: str) -> Iterator[Passage]:
    """Yield the names, strings, docstrings and comments of a Python file, or the text of a page."""
    yield Passage("name", path, 1, _words(Path(path).stem))
    if not path.endswith(".py"):
        yield Passage("page", path, 1, source)
        return
    yield from _comments(path, source)
    tree = ast.parse(source)
    docstrings = set(_docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Passage("docstring" if node in docstrings else "text", path, node.lineno, node.value)
        for name in _defined(node):
            yield Passage("name", path, getattr(node, "lineno", 1), _words(name))


def hits(found: Iterable[Passage], rules: Iterable[Rule] = RULES) -> Iterator[Hit]:
    """Yield each place where a rule is broken."""
    rules = tuple(rules)
    for passage in found:
        for rule in rules:
            if passage.kind not in rule.kinds or (rule.under and not passage.path.startswith(rule.under)):
                continue
            for match in rule.found(passage.text):
                line = passage.line + passage.text[: match.start()].count("\n")
                yield Hit(passage.path, line, passage.kind, " ".join(match[0].lower().split()), rule)


def allowed(hit: Hit) -> bool:
    """Return whether an exemption covers a hit."""
    return any(covers(exemption, hit) for exemption in EXEMPTIONS)


def covers(exemption: Exemption, hit: Hit) -> bool:
    """Return whether a hit is the one that is meant."""
    inside = hit.path.startswith(exemption.path) if exemption.path.endswith("/") else hit.path == exemption.path
    return inside and hit.word == exemption.word


def project_hits() -> list[Hit]:
    """Return what is broken in the whole project, exempt ones included."""
    found: list[Hit] = []
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        found += hits(passages(name, path.read_text(encoding="utf-8")))
    return sorted(set(found), key=lambda hit: (hit.path, hit.line, hit.word))


def _words(name: str) -> str:
    """Split an identifier: `of_rows` and `OfRows` become "of rows"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").strip().lower()


def _comments(path: str, source: str) -> Iterator[Passage]:
    """Yield comments; those on lines that follow one another are one passage."""
    start, lines = 0, [""]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] != start + len(lines):
            yield Passage("comment", path, start, "\n".join(lines))
            start, lines = token.start[0], []
        lines.append(token.string.lstrip("#"))
    yield Passage("comment", path, start, "\n".join(lines))


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield docstrings, and the strings below fields and constants that describe them."""
    for node in ast.walk(tree):
        for statement in getattr(node, "body", ()) if not isinstance(node, (ast.Lambda, ast.IfExp)) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield statement.value


def _defined(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node defines; names that it only uses may be those of other libraries."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr
    elif isinstance(node, ast.alias) and node.asname:
        yield node.asname


def main() -> None:
    """Print the hits below the given paths, or all; exit with 1 if there are any."""
    wanted = tuple(sys.argv[1:])
    found = [hit for hit in project_hits() if not allowed(hit) and (not wanted or hit.path.startswith(wanted))]
    for hit in found:
        print(hit)
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
