"""What the page shows for one to four images, by networks that compare four, two or none; and for what is wrong."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fixed_faces import FixedFaces
from PIL import Image

import qcs
from qcs.serve import answer as module
from qcs.serve.answer import Answer
from qcs.serve.images import chart_url, matrix_image, overlay


def sent(width: int, name: str | None = None) -> tuple[str, bytes]:
    """Return an image file in which FixedFaces finds a face per 100 pixels of width."""
    file = io.BytesIO()
    Image.effect_noise((width, 120), 60).save(file, "PNG")
    return name or f"{width}.png", file.getvalue()


FOUR = [sent(width) for width in (110, 120, 330, 140)]
SINGLE = [FOUR[0], FOUR[1], FOUR[3]]  # photos of one face each


def answer(name: str, **changes: Any) -> Answer:
    model: Any = qcs.create_model(name, num_classes=3, **changes)
    return Answer(model.eval(), FixedFaces())


def shown(html: str) -> str:
    """The text of a page, without marks and with single spaces."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.fixture(scope="module")
def quadruplet() -> Answer:
    return answer("qcs_nano")


def test_four_faces_show_the_networks_attention_and_every_pair(quadruplet: Answer) -> None:
    html = quadruplet(FOUR, False)
    text = shown(html)
    assert "Attention: comparing all four faces" in text
    assert "A1 anchor B1 same expression C1 another expression D1 same as the third" in text
    assert text.count("Attention over face") == 0  # alternative text is not visible
    assert html.count('alt="Attention over face') == 3 * 4  # levels, faces
    assert html.count("<details") == 6 and html.count('<details class="qcs-pair" open') == 1
    assert html.count('class="qcs-matrix"') == 6 * 3
    assert html.count("<rect") == 1 + 1 + 3 + 1
    assert not re.search(r'(src|href)="(?!data:image/)', html)  # nothing is fetched


@pytest.mark.parametrize(("count", "more"), [(2, 2), (3, 1)])
def test_fewer_faces_are_compared_two_by_two_and_the_page_says_why(quadruplet: Answer, count: int, more: int) -> None:
    html = quadruplet(SINGLE[:count], False)
    text = shown(html)
    assert f"Add {more} more to see it; until then, each two faces are compared by similarity alone." in text
    assert "Attention:" not in text
    assert html.count("<details") == count * (count - 1) // 2


def test_one_face_is_read_and_the_page_asks_for_more(quadruplet: Answer) -> None:
    text = shown(quadruplet(FOUR[:1], False))
    assert "predicted:" in text and "Add one to three more faces to compare them." in text
    assert "Pairs: cross similarity" not in text


def test_no_images_show_nothing(quadruplet: Answer) -> None:
    assert shown(quadruplet([], False)) == ""


def test_a_set_that_is_no_quadruplet_is_said_to_be_none(quadruplet: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze = module.analyze
    for labels, fits in (("aabb", True), ("abab", False), ("aaaa", False), ("aabc", False)):

        def relabeled(*args: Any, labels: str = labels, **options: Any) -> Any:
            seen = analyze(*args, **options)
            return [
                replace(
                    photo,
                    faces=replace(photo.faces, probabilities=np.ones((len(photo.faces), 1)), classes=(label,)),
                )
                for photo, label in zip(seen, labels, strict=True)
            ]

        monkeypatch.setattr(module, "analyze", relabeled)
        text = shown(quadruplet(FOUR, False))
        assert ("It predicts " + ", ".join(labels) + " for these faces" in text) is not fits


@pytest.mark.parametrize("name", ["dcs_nano", "qcs_nano"])
def test_a_comparison_that_overflows_is_said_and_the_predictions_stay(name: str) -> None:
    huge = answer(name)
    with torch.no_grad():
        for weights in huge.model.cross_modules.parameters():
            weights.fill_(1e30)
    html = huge(FOUR, False)
    assert shown(html).count("predicted:") == 4
    assert html.count('class="qcs-problem"') == 1 and "compares images by values that are not finite" in html
    assert "nan" not in shown(html).replace("nano", "") and "<details" not in html


def test_answers_that_overflow_are_one_line() -> None:
    huge = answer("qcs_nano")
    with torch.no_grad():
        huge.model.get_classifier().weight.fill_(1e38)
    html = huge(FOUR, False)
    assert html.startswith('<p class="qcs-problem"') and "probabilities that are not finite" in html


@pytest.mark.parametrize("attention", ["csa", "sdpa"])
def test_a_network_of_pairs_shows_its_attention_in_each_pair(attention: str) -> None:
    html = answer("dcs_nano", attention=attention)(SINGLE, False)
    text = shown(html)
    assert "the attention of the network when it compares these two" in text
    assert html.count("<details") == 3 and "Add 1 more" not in text


def test_a_base_network_reads_faces_and_says_that_it_compares_none() -> None:
    text = shown(answer("base_nano")(FOUR, False))
    assert "it classifies each face separately and compares none" in text
    assert text.count("predicted:") == 4
    assert "Pairs: cross similarity" not in text


def test_faces_cut_out_already_are_not_searched(quadruplet: Answer) -> None:
    html = quadruplet([sent(50), sent(60)], True)
    assert "<svg" not in html and "Pairs: cross similarity" in html


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (FOUR[:1] * 5, "got 5 images; expected at most 4: remove some"),
        ([sent(50, "x.png")], "no face found in x.png; choose a photo with an upright, fully visible face"),
        ([("<script>.png", b"")], "&lt;script&gt;.png is not a readable image"),
    ],
)
def test_what_is_wrong_is_said_in_one_escaped_line_and_nothing_else(
    quadruplet: Answer, files: Any, message: str
) -> None:
    html = quadruplet(files, False)
    assert html.startswith('<p class="qcs-problem" role="alert">') and html.count("<") == 2
    assert message in html and "Traceback" not in html


def test_each_box_has_the_name_of_its_answer_and_chosen_faces_are_compared(quadruplet: Answer) -> None:
    html = quadruplet([sent(330), sent(120)], False)
    assert re.findall(r'class="qcs-tag" style="[^"]*">(\w+)<', html) == ["A1", "A2", "A3", "B1"]
    assert re.findall(r'value="(\w+)" checked', html) == ["A1", "A2", "A3", "B1"]
    assert "Attention: comparing all four faces" in shown(html)  # two photos hold four faces
    html = quadruplet([sent(330), sent(120)], False, ["B1", "A3", "C1"])
    assert re.findall(r'value="(\w+)" checked', html) == ["A3", "B1"]
    assert "Faces A3" in shown(html) and html.count("<details") == 1
    assert re.findall(r'Face <b class="qcs-name">(\w+)<', html) == ["A3", "B1"]


def test_by_default_the_largest_face_of_each_photo_comes_first(quadruplet: Answer) -> None:
    html = quadruplet([sent(330), sent(120), sent(230)], False)
    assert re.findall(r'value="(\w+)" checked', html) == ["A1", "A2", "B1", "C1"]


def test_more_chosen_faces_than_can_be_compared_are_refused(quadruplet: Answer) -> None:
    html = quadruplet([sent(530)], False, ["A1", "A2", "A3", "A4", "A5"])
    assert "5 faces are chosen; choose at most 4" in html


def test_names_of_files_are_text(quadruplet: Answer) -> None:
    html = quadruplet([sent(50, '"><img src=x onerror=alert(1)>')], True)
    assert "<img src=x" not in html


def test_a_place_that_counts_nothing_has_a_place_on_the_scale() -> None:
    maps = np.ones((2, 6, 6))
    maps[0, 0, 0] = 0
    seen: Any = [SimpleNamespace(face=Image.new("RGB", (60, 60), "gray"))] * 2
    row = module._map_row(maps, seen)
    assert (row["low"], row["high"], len(row["faces"])) == ("2⁻²⁰ or less", "1", 2)
    maps[0, 0, 0] = 0.5
    assert module._map_row(maps, seen)["low"] == "0.5"


def test_maps_are_brightest_where_they_are_highest() -> None:
    values = np.zeros((6, 6))
    values[1, 4] = 1
    drawn = np.asarray(overlay(Image.new("RGB", (60, 60), "gray"), values, 0, 1)).sum(-1)
    assert np.unravel_index(drawn.argmax(), drawn.shape) in {(y, x) for y in range(10, 20) for x in range(40, 50)}
    grown = np.asarray(matrix_image(values, 0, 1)).astype(int).sum(-1)
    assert grown.shape == (6, 6) and grown.argmax() == 10
    assert len(set(map(tuple, np.asarray(matrix_image(np.ones((2, 2)), 1, 1)).reshape(-1, 3).tolist()))) == 1
    assert chart_url(matrix_image(values, 0, 1)).startswith("data:image/png;base64,")
