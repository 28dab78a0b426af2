"""The page: what it shows, what it keeps to itself, and how it looks in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import toy
from browser import DESKTOP, PHONE, opened

from qcs.errors import InputError
from qcs.report import DataLocation, write_report
from qcs.report.page import render
from qcs.report.sections import _hashes

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = '<script>alert("x")</script>&$x$'


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of both runs."""
    output = tmp_path_factory.mktemp("report") / "report.html"
    runs = write_report([trained / "base", trained / "quadruplet"], output)
    assert [run.missing for run in runs] == [[], []]
    return output


def headings(text: str) -> list[str]:
    return re.findall(r"<h[23]>(.*?)</h[23]>", text)


def test_the_report_has_every_part_that_the_runs_have(page: Path) -> None:
    run = ["Curves", "Classes", "Confusion", "Calibration", "Abstention", "Groups"]
    found = headings(page.read_text())
    assert found[:4] == ["Comparison", "On the same test images", "Curves", "base"]
    assert found[4:10] == run
    assert found.count("Attention") == 1  # a base network compares nothing
    assert found[-1] == "How to read this"


def test_it_says_what_the_run_s_own_files_say(page: Path, trained: Path) -> None:
    text = page.read_text()
    for name in ("base", "quadruplet"):
        result = json.loads((trained / name / "test.json").read_text())
        assert f'<dd class="value">{100 * result["accuracy"]:.1f}\N{NO-BREAK SPACE}%</dd>' in text
        assert f'<dd class="value">{100 * result["balanced_accuracy"]:.1f}\N{NO-BREAK SPACE}%</dd>' in text
    assert "<div><dt>lr</dt><dd>0.002</dd></div>" in text
    assert len(re.findall(r'<img src="data:image/png', text)) == text.count('alt="Face labeled')


def test_every_anchor_leads_somewhere_and_no_two_places_share_a_name(page: Path) -> None:
    text = page.read_text()
    places = re.findall(r'\bid="([^"]*)"', text)
    assert set(re.findall(r'<a href="#([^"]*)"', text)) <= set(places)
    own = [place for place in places if re.match(r"run-|comparison|reading", place)]
    assert len(own) == len(set(own))


def test_nothing_is_asked_of_any_server(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r'\b(?:src|href)="(\w*:|#|[^"]*)', text)) <= {"data:", "#"}
    assert "<script" not in text
    assert re.findall(r"url\((?!#)", text) == []


def test_what_users_named_is_shown_as_text(runs: Path) -> None:
    folder = runs / "base"
    for name in ("config.json", "test.json", "validation.json"):
        record = (folder / name).read_text().replace('"happy"', json.dumps(HOSTILE))
        (folder / name).write_text(record.replace("base_nano", "</style><b>"))
    (folder / "test_predictions.npz").unlink()
    (folder / "metrics.json").write_text("<img src=x onerror=alert(1)>")
    named = folder.rename(runs / "<i>run$a$")
    write_report([named], runs / "page.html")
    text = (runs / "page.html").read_text()
    for raw in ("<script", "</style><b>", "<img src=x", "<i>run"):
        assert raw not in text
    assert "&lt;script&gt;alert(" in text
    assert "&lt;i&gt;run$a$" in text


def test_the_same_runs_give_the_same_page(trained: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first.html", "second.html"))
    for output in (first, second):
        write_report([trained / "base"], output)
    assert first.read_bytes() == second.read_bytes()


def test_data_that_changed_has_other_hashes(tmp_path: Path) -> None:
    data = toy.lines(tmp_path / "faces.csv", ["path,label"])
    before = _hashes(data)
    toy.lines(data, ["path,label", "a.png,sad"])
    after = _hashes(data)
    assert before.keys() == after.keys() == {"faces.csv"} and before != after


def test_what_is_not_known_is_said(runs: Path) -> None:
    for name in ("metrics.json", "test.json", "validation.json"):
        (runs / "base" / name).unlink()
    write_report([runs / "base"], runs / "page.html")
    text = (runs / "page.html").read_text()
    assert f"<li>there is no {runs / 'base' / 'test.json'}: the run has not reached that point</li>" in text
    assert headings(text) == ["base", "Data", "How to read this"]


def test_the_output_must_be_a_page_and_a_run_s_files_are_not_written_over(runs: Path) -> None:
    with pytest.raises(InputError, match=r"must end in .html, got .*config.json"):
        write_report([runs / "base"], runs / "base" / "config.json")
    before = {path: path.stat().st_mtime_ns for path in (runs / "base").rglob("*")}
    write_report([runs / "base"], runs / "page.html")
    assert {path: path.stat().st_mtime_ns for path in (runs / "base").rglob("*")} == before


def test_seeds_of_one_configuration_are_averaged(made: object) -> None:
    runs = [made("a", [0, 1, 2, 0, 1, 2], seed=1), made("b", [0, 1, 1, 0, 0, 2], seed=2)]  # type: ignore[operator]
    text = render(runs)
    assert "mean ± standard deviation over seeds" in text
    assert "83.3 ± 23.6\N{NO-BREAK SPACE}%" in text  # of 100 % and 66.7 %
    assert "On the same test images" not in text


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(
    page: Path, browser: Browser, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    with opened(browser, page, size, scheme) as seen:
        assert seen.errors == []
        assert seen.requests == [page.as_uri()]
        assert not seen.scrolls_sideways
        assert (max(seen.background) < 60) == (scheme == "dark")
        assert seen.page.title() == "Report of 2 runs"
        broken = "[...document.images].filter(image => !image.naturalWidth).length"
        assert seen.page.evaluate(broken) == 0
        outside = """[...document.querySelectorAll('main *')].filter(part =>
            !part.closest('.scroll') && part.getBoundingClientRect().right > innerWidth + 1).length"""
        assert seen.page.evaluate(outside) == 0


def test_a_wide_list_of_groups_is_asked_for_by_column(trained: Path, tmp_path: Path) -> None:
    write_report([trained / "base"], tmp_path / "page.html", DataLocation(groups=("group", "label")))
    assert "Test images by label" in (tmp_path / "page.html").read_text()
