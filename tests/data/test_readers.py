from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trees import grow

from qcs.data.dataset import LabeledImages
from qcs.data.labels import CLASSES
from qcs.data.readers import read
from qcs.data.splits import merge
from qcs.data.votes import RULES
from qcs.errors import InputError

PIXELS = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)  # image i has the value i
HAPPY, SAD, UNSURE = [0, 9, 0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 8, 2, 0, 0, 0, 0, 0], [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]


def archive(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "faces.npz", **arrays)
    return folder / "faces.npz"


def tree(root: Path, *images: str) -> Path:
    """Writes 4x4 images, each of the value of its place in the arguments."""
    for value, name in enumerate(images):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), value).save(path, format="PNG")
    return root


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def content(splits: Mapping[str, LabeledImages]) -> dict[str, list[tuple[str, str]]]:
    """Per split, the name and class name of each image."""
    return {
        split: [(name, data.classes[label]) for name, label in zip(data.names.tolist(), data.labels, strict=True)]
        for split, data in splits.items()
    }


def values(data: LabeledImages) -> list[int]:
    return [int(np.array(data.image(i))[0, 0]) for i in range(len(data))]


# archives


def test_votes_become_majority_labels_and_undecided_images_go(tmp_path: Path) -> None:
    path = archive(
        tmp_path,
        images=PIXELS,
        votes=[HAPPY, UNSURE, SAD, HAPPY, SAD, UNSURE],
        split=[2, 0, 0, 1, 0, 2],
        names=list("abcdef"),
    )
    splits = read(path)
    assert content(splits) == {
        "train": [("c", "sad"), ("e", "sad")],
        "validation": [("d", "happy")],
        "test": [("a", "happy")],
    }
    assert {split: values(data) for split, data in splits.items()} == {"train": [2, 4], "validation": [3], "test": [0]}
    assert {data.classes for data in splits.values()} == {CLASSES["ferplus"]}


def test_name_labels_become_canonical_in_canonical_order(tmp_path: Path) -> None:
    labels = ["Angry", "Happiness", "sad", "anger", "happy", "SADNESS"]
    data = read(archive(tmp_path, images=PIXELS, labels=labels))["all"]
    assert data.classes == ("happy", "sad", "anger")
    assert data.labels.tolist() == [2, 0, 1, 2, 0, 1]
    assert data.names.tolist() == list("012345")


def test_names_outside_the_table_are_ordered_alphabetically(tmp_path: Path) -> None:
    data = read(archive(tmp_path, images=PIXELS[:3], labels=["neutral", "Zeal", "boredom"]))["all"]
    assert data.classes == ("boredom", "neutral", "zeal")


def test_number_labels_are_named_by_themselves_the_archive_or_the_caller(tmp_path: Path) -> None:
    path = archive(tmp_path, images=PIXELS[:3], labels=[1, 0, 1])
    assert read(path)["all"].classes == ("0", "1")
    assert read(path, classes=["Sad", "Happiness", "fear"])["all"].classes == ("sad", "happy", "fear")
    path = archive(tmp_path, images=PIXELS[:3], labels=[2, 0, 2], classes=["fear", "anger", "disgust"])
    data = read(path)["all"]
    assert (data.classes, data.labels.tolist()) == (("fear", "anger", "disgust"), [2, 0, 2])


def test_given_classes_fix_the_order_of_name_labels(tmp_path: Path) -> None:
    path = archive(tmp_path, images=PIXELS[:2], labels=["happy", "fear"])
    data = read(path, classes=CLASSES["raf_db"])["all"]
    assert (data.classes, data.labels.tolist()) == (CLASSES["raf_db"], [3, 1])


def test_color_arrays_and_split_names_are_read(tmp_path: Path) -> None:
    path = archive(tmp_path, images=np.zeros((3, 4, 4, 3), np.uint8), labels=[0, 1, 0], split=["valid", "Train", "val"])
    splits = read(path)
    assert {split: len(data) for split, data in splits.items()} == {"train": 1, "validation": 2}
    assert splits["train"].image(0).mode == "RGB"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": PIXELS, "tags": [1]}, "holds images, tags; expected images and one of votes and labels"),
        ({"labels": [1]}, "holds labels; expected images"),
        ({"images": PIXELS, "labels": [0] * 6, "votes": [HAPPY] * 6}, "one of votes and labels"),
        ({"images": PIXELS, "labels": ["a", "b"] * 3, "names": ["\U0010ffff"] * 6, "split": [9] * 6}, "split '9'"),
        ({"images": PIXELS, "labels": [0, 1]}, "labels has 2 rows; expected 6, as many as images"),
        ({"images": PIXELS, "labels": [0] * 6, "names": "x"}, "names has 1 rows; expected 6"),
        ({"images": PIXELS, "votes": [[1] * 8] * 6}, r"faces.npz: votes are int64 of shape \(6, 8\)"),
        ({"images": PIXELS, "votes": [UNSURE] * 6}, "holds no labeled image"),
        ({"images": PIXELS, "labels": [0.5] * 6}, "labels is float64 of shape .* expected one integer"),
        ({"images": PIXELS, "labels": ["happy"] * 5 + [""]}, "none of them empty"),
        ({"images": PIXELS, "labels": [{}] * 6}, "cannot read .*faces.npz as an .npz archive"),
        ({"images": PIXELS * 0.5, "labels": [0] * 6}, "faces.npz: an image is float64"),
        ({"images": PIXELS, "labels": [1, 2, 3, 4, 5, 6]}, "numbers from 1 to 6 without 0; expected every number"),
        ({"images": PIXELS, "labels": [0, 1, 3, 0, 0, 0]}, "numbers from 0 to 3 without 2"),
        ({"images": PIXELS, "labels": [0, 1, -1, 0, 0, 0]}, "numbers from -1 to 1 without 2"),
        ({"images": PIXELS, "labels": [0, 1, 10**12, 0, 0, 0]}, "without 2"),
        ({"images": PIXELS, "labels": [0, 5, 0, 0, 0, 0], "classes": ["sad", "fear"]}, "faces.npz: label 5 of image 1"),
        ({"images": PIXELS, "labels": ["x"] * 6, "classes": ["sad"]}, "labels x are not among the classes sad"),
        ({"images": PIXELS, "labels": [0] * 6, "split": [0, 0, 3, 0, 0, 0]}, "split '3' of image 2 .row 2. is unknown"),
    ],
)
def test_archives_that_do_not_fit_are_refused_with_the_reason(tmp_path: Path, arrays: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(archive(tmp_path, **arrays))


def test_a_corrupt_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*faces.npz as an .npz archive"):
        read(written(tmp_path / "faces.npz", "not a zip file"))


def test_given_classes_choose_by_name_never_by_number_and_say_what_is_left_out(tmp_path: Path) -> None:
    path = archive(tmp_path, images=PIXELS, votes=[HAPPY, UNSURE, SAD, HAPPY, SAD, UNSURE])
    assert read(path, classes=CLASSES["raf_db"])["all"].class_counts()["happy"] == 2  # 1 in FERPlus, 3 in RAF-DB
    with pytest.warns(UserWarning, match="left out 2 of 4 images, whose classes are not among fear, happy: sad 2"):
        chosen = read(path, classes=["fear", "happiness"])["all"]
    assert (chosen.classes, chosen.labels.tolist(), values(chosen)) == (("fear", "happy"), [1, 1], [0, 3])


def test_splits_left_without_images_by_a_choice_of_classes_go(tmp_path: Path) -> None:
    path = archive(tmp_path, images=PIXELS[:3], labels=["sad", "happy", "sad"], split=[0, 0, 2])
    with pytest.warns(UserWarning, match="left out 2 of 3 images"):
        assert content(read(path, classes=["happy"])) == {"train": [("1", "happy")]}


def test_vote_rules_with_shares_give_soft_targets(tmp_path: Path) -> None:
    path = archive(tmp_path, images=PIXELS, votes=[HAPPY, UNSURE, SAD, HAPPY, SAD, UNSURE], split=[0, 0, 1, 1, 1, 1])
    train = read(path, votes="probability")["train"]
    assert train.soft is not None
    assert train.soft[:, :2].tolist() == [[0, 1], [0.5, 0.5]]
    assert read(path)["train"].soft is None
    with pytest.raises(InputError, match=r"votes must be one of majority, probability, multi_target"):
        read(path, votes="most")


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_vote_rule_on_data_without_votes_is_refused(tmp_path: Path, rule: str) -> None:
    archive(tmp_path, images=PIXELS, labels=[0, 1, 0, 1, 0, 1])
    with pytest.raises(InputError, match=rf"faces\.npz, read as npz, holds labels, not votes; .* vote rule {rule}$"):
        read(tmp_path / "faces.npz", votes=rule)


def test_a_vote_rule_on_lists_of_ferplus_is_refused_for_their_votes_are_counted_already(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="read as ferplus, holds labels, not votes; omit the vote rule argmax"):
        read(grow(tmp_path, "ferplus lists"), votes="argmax")


# folders


def test_folders_without_splits_give_all_in_sorted_order_without_hidden_files(tmp_path: Path) -> None:
    tree(tmp_path, "sad/b.PNG", "Happiness/z.jpg", "sad/a.jpeg", "sad/.hidden.png", ".cache/x.png")
    written(tmp_path / "sad" / "notes.txt", "no image")
    splits = read(tmp_path)
    assert content(splits) == {"all": [("Happiness/z.jpg", "happy"), ("sad/a.jpeg", "sad"), ("sad/b.PNG", "sad")]}
    assert values(splits["all"]) == [1, 2, 0]


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_split_folders_share_the_union_of_their_classes(tmp_path: Path, validation: str) -> None:
    tree(tmp_path, "train/anger/0.png", f"{validation}/happy/0.png", "test/anger/1.png")
    splits = read(tmp_path)
    assert {data.classes for data in splits.values()} == {("happy", "anger")}
    assert content(splits) == {
        "train": [("train/anger/0.png", "anger")],
        "validation": [(f"{validation}/happy/0.png", "happy")],
        "test": [("test/anger/1.png", "anger")],
    }


def test_folders_named_by_numbers_are_number_labels(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{label}/x.png" for label in range(11)))
    data = read(tmp_path)["all"]
    assert data.classes == tuple(map(str, range(11)))
    assert dict(zip(data.names, data.labels, strict=True))["10/x.png"] == 10
    assert read(tmp_path, classes=[f"c{i}" for i in range(11)])["all"].classes[10] == "c10"


@pytest.mark.parametrize(
    ("files", "folders", "message"),
    [
        ([], [], "holds no folders; expected FOLDER/<class>/<image>.jpg or FOLDER/{train"),
        (["a.png"], [], "holds no folders; expected FOLDER/<class>/<image>.jpg"),
        (["happy/a.png"], ["sad"], "class folder .*sad holds no images; expected FOLDER/<class>"),
        (["happy/more/a.png"], [], "class folder .*happy holds no images"),
        (["train/happy/a.png"], ["test"], "test holds no folders; expected FOLDER"),
        (["train/happy/a.png", "sad/b.png"], [], "holds the folder sad beside the splits; expected FOLDER"),
        (["1/a.png", "2/a.png"], [], "labels are numbers from 1 to 2 without 0"),
    ],
)
def test_folders_laid_out_otherwise_are_refused_in_one_line(
    tmp_path: Path, files: Sequence[str], folders: Sequence[str], message: str
) -> None:
    tree(tmp_path, *files)
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


# lists


def test_lines_may_end_as_on_any_system(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b.png", "c.png")
    for name, text in (("list.txt", b"a.png sad\rb.png sad\r\nc.png happy"), ("l.csv", b"path,label\ra.png,sad\r\n")):
        (tmp_path / name).write_bytes(text)
    assert read(tmp_path / "list.txt")["all"].class_counts() == {"happy": 1, "sad": 2}
    assert read(tmp_path / "l.csv")["all"].class_counts() == {"sad": 1}


@pytest.mark.parametrize("suffix", ["txt", "lst"])
def test_text_lists_split_the_label_off_the_right(tmp_path: Path, suffix: str) -> None:
    tree(tmp_path, "my faces/a 1.png", "b.png")
    path = written(tmp_path / f"list.{suffix}", "\ufeffmy faces/a 1.png  1\n\n  b.png\t0\r\n")
    data = read(path, classes=["sad", "happy"])["all"]
    assert content({"all": data}) == {"all": [("my faces/a 1.png", "happy"), ("b.png", "sad")]}
    assert values(data) == [0, 1]


def test_csv_columns_go_by_name_and_others_are_ignored(tmp_path: Path) -> None:
    tree(tmp_path, "a, b.png", "c.png", "d.png")
    text = 'label, split ,who,path\nHappiness,train,x, "a, b.png"\n\nfear,val,y,c.png\nfear,test,,d.png\n'
    splits = read(written(tmp_path / "list.csv", text))
    assert content(splits) == {
        "train": [("a, b.png", "happy")],
        "validation": [("c.png", "fear")],
        "test": [("d.png", "fear")],
    }


def test_paths_start_from_the_list_or_the_given_root(tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere", "a.png")
    path = written(tmp_path / "list.csv", "path,label\na.png,happy\n")
    assert values(read(path, image_root=tmp_path / "elsewhere")["all"]) == [0]
    with pytest.raises(InputError, match=r"1 of 1 images missing under .*, first: .*a.png; give the folder"):
        read(path)


def test_missing_images_are_counted_up_front(tmp_path: Path) -> None:
    tree(tmp_path, "0.png", "7.png")
    path = written(tmp_path / "list.txt", "".join(f"{i}.png {i % 2}\n" for i in range(1200)))
    with pytest.raises(InputError, match=r"1,198 of 1,200 images missing under .*, first: .*1\.png"):
        read(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.csv", "image,label\na.png,happy\n", "lacks the column path; its header is image,label; expected"),
        ("list.csv", "a.png,happy\n", "lacks the column path and label; its header is a.png,happy"),
        ("list.csv", "", "lacks the column path and label; its header is empty"),
        ("list.csv", "path,label\na.png,happy\na.png\n", "line 3 lacks its label"),
        ("list.csv", "path,label,split\na.png,happy,\n", "line 2 lacks its split"),
        ("list.csv", "path,label,split\na.png,happy,dev\n", "split 'dev' of image a.png .row 0. is unknown; expected"),
        ("list.csv", "path,label\n", "holds no labeled image"),
        (
            "list.csv",
            'path,label\n"b.png\na.png",happy\n',
            r"1 of 1 images missing under .*, first: .*b\.png a\.png; give",
        ),
        ("list.txt", "a.png happy\na.png\n", "line 2 is 'a.png'; expected a path, a space and a label"),
        ("list.txt", "a.png 1\n", "numbers from 1 to 1 without 0"),
    ],
)
def test_lists_that_do_not_fit_are_refused_with_the_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    tree(tmp_path, "a.png")
    with pytest.raises(InputError, match=message):
        read(written(tmp_path / name, text))


def test_a_list_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(InputError, match=r"cannot read .*list.csv as a list in UTF-8"):
        read(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("name", "problem"), [("absent.npz", "does not exist"), ("faces.json", "is of an unknown kind")]
)
def test_paths_of_no_accepted_kind_list_the_kinds(tmp_path: Path, name: str, problem: str) -> None:
    written(tmp_path / "faces.json", "{}")
    with pytest.raises(InputError, match=rf"{name} {problem}; expected an .npz archive, a folder .* list"):
        read(tmp_path / name)


# research data


def test_ferplus_archive_has_the_published_split_sizes(shared_data: Path) -> None:
    splits = read(shared_data / "ferplus.npz")
    assert {split: len(data) for split, data in splits.items()} == {"train": 25057, "validation": 3199, "test": 3152}
    test = splits["test"]
    assert (test.classes, test.names[0], test.image(0).size) == (CLASSES["ferplus"], "fer0032220.png", (48, 48))


def test_real_list_file_opens_and_converts_to_another_dataset(shared_data: Path) -> None:
    splits = read(shared_data / "muxspace" / "labels.csv")
    assert {split: len(data) for split, data in splits.items()} == {"train": 1977, "validation": 251}
    everything = merge(splits)
    assert everything.class_counts()["happy"] == 725
    assert everything.image(0).size == (112, 112)
    assert len(everything.with_classes(CLASSES["raf_db"])) == 2228 - 9  # RAF-DB has no contempt
