"""The project keeps to the words of its field: no hit of `tests/language.py`, which finds every word it lists."""

from __future__ import annotations

import re

import pytest
from language import EXEMPTIONS, RULES, SPELLING, Rule, allowed, covers, hits, passages, project_hits

rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.example)


def where(rule: Rule) -> str:
    """A path below which the rule applies."""
    return f"{rule.under[0]}/module" if rule.under else "qcs/module"


@rules
def test_a_page_with_the_word_fails(rule: Rule) -> None:
    found = list(hits(passages(f"{where(rule)}.md", f"# Title\n\n{rule.example}\n"), [rule]))
    assert {hit.line for hit in found} == ({3} if "page" in rule.kinds else set())


@rules
def test_a_module_with_the_word_fails(rule: Rule) -> None:
    name = re.sub(r"\W+", "_", rule.example).strip("_")
    source = (
        f'"""Title.\n\n{rule.example}\n"""\n# {rule.example}\nfail("{rule.example}")\n\ndef {name}() -> None: ...\n'
    )
    found = {(hit.kind, hit.line) for hit in hits(passages(f"{where(rule)}.py", source), [rule])}
    assert found == {
        (kind, line)
        for kind, line in (("docstring", 3), ("comment", 5), ("text", 6), ("name", 8))
        if kind in rule.kinds
    }


def test_words_are_found_across_lines_and_in_every_kind_of_name() -> None:
    page = "Faces that nobody photographed: drawn\nfaces."
    assert [(hit.line, hit.word) for hit in hits(passages("docs/page.md", page))] == [(1, "drawn faces")]
    source = "def f(greyLevel, *, a): ...\nfor colours in x:\n    self.licence = 1\nimport torch as labelled_torch\n"
    assert sorted(hit.line for hit in hits(passages("qcs/page.py", source))) == [1, 2, 3, 4]
    assert [hit.kind for hit in hits(passages("tests/greys.py", ""))] == ["name"]


def test_standard_words_pass() -> None:
    words = """
        The color of four grayscale images, normalized, recognized, labeled and modeled within an hour of your time.
        Precise exercises raise noise; otherwise supervised runs comprise surprise. Centers of contours, neighbors,
        behavior, licenses, artifacts, programs, programmers, parameters, diameters, emphasis, an analysis and analyses,
        cancellation, installed, controlled, called. Runtime and hyperparameters; look up a name; the stand-in.
    """
    assert [hit.word for hit in hits(passages("docs/page.md", words))] == []
    assert list(hits(passages("qcs/ops/m.py", "def attention_weights(grad_rows, lookup): ..."))) == []


def test_names_of_other_libraries_pass_where_they_are_used() -> None:
    assert list(hits(passages("qcs/page.py", "draw(colour=other.centre)\n"))) == []


def test_spelling_is_checked_everywhere() -> None:
    assert all(rule.kinds == {"name", "text", "docstring", "comment", "page"} and not rule.under for rule in SPELLING)


@pytest.mark.slow
def test_no_forbidden_word_and_no_exemption_without_need() -> None:
    found = project_hits()
    assert [str(hit) for hit in found if not allowed(hit)] == []
    assert [f"{one.path}: {one.word}" for one in EXEMPTIONS if not any(covers(one, hit) for hit in found)] == []
