"""Make a video of faces that move over backgrounds, whose people, places and expressions are known.

A scene lasts 20 seconds and shows two people over a blurred part of a photograph. Each face drifts, grows and tilts
within its half; in every second scene both cross, and one hides the other. Every five seconds a face fades into
another picture of the same person, if there is one: the expression may change. Twice in a scene a bar hides one face
for 0.6 seconds. Noise and changes of light are added. Everything follows from the seed.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from qcs.faces import MTCNN

RATE, SIZE = 25, (640, 480)
SCENE, CHANGE, FADE, HIDDEN = 20.0, 5.0, 0.4, 0.6  # seconds
SIDE = 224  # pixels of an enlarged picture of a face

Pixels = npt.NDArray[np.uint8]

_NOISE = np.random.default_rng(0).normal(0, 4, (8, SIZE[1], SIZE[0], 1)).astype(np.float32)
"""Sensor noise; a frame takes one of these, rolled."""


@dataclass
class Person:
    """A person with pictures of the same size, whose face is at the same kind of place in each."""

    name: str
    pictures: list[Pixels]
    labels: list[str]
    boxes: list[tuple[float, float, float, float]]


def people(folder: Path, count: int, seed: int) -> list[Person]:
    """Return people with their pictures, those with several expressions first.

    A picture counts if the detector finds exactly one face in it, enlarged.
    """
    rows: dict[str, list[dict[str, str]]] = {}
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["source"] == "lfw":  # news photographs
                rows.setdefault(row["subject"], []).append(row)
    order = np.random.default_rng(seed).permutation(sorted(rows))
    names = sorted(order, key=lambda name: -min(4, len({row["label"] for row in rows[name]})))
    detector, found = MTCNN(60), []
    for name in names:
        person = Person(name, [], [], [])
        for row in rows[name]:
            image = Image.open(folder / row["path"]).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            faces = detector(image)
            if len(faces) == 1 and (box := faces[0].box) is not None and faces[0].area > (0.35 * SIDE) ** 2:
                person.pictures.append(np.asarray(image))
                person.labels.append(row["label"])
                person.boxes.append(box)
        if person.pictures:
            found.append(person)
        if len(found) == count:
            return found
    raise SystemExit(f"{folder} has pictures of {len(found)} people with one face each; expected {count}")


def scenes(photos: Path, everyone: list[Person], seconds: float, seed: int) -> Iterator[tuple[Pixels, dict[str, Any]]]:
    """Yield the frames (H, W, 3) and what is in each: seconds, and name, box, label and visibility of each face."""
    random = np.random.default_rng(seed)
    backgrounds = [Image.open(photos / name).convert("RGB") for name in ("group.jpg", "astronaut.png")]
    for number in range(round(seconds * RATE / (SCENE * RATE))):
        pair = everyone[2 * number : 2 * number + 2]
        ground = _background(backgrounds[number % 2], random)
        ways = [_Way(random, half, crossing=number % 2 == 1) for half in (0, 1)]
        for frame in range(round(SCENE * RATE)):
            now = frame / RATE
            yield _frame(ground, pair, ways, now, random, {"seconds": number * SCENE + now, "scene": number})


def write(folder: Path, photos: Path, muxspace: Path, seconds: float, seed: int = 0) -> tuple[Path, Path]:
    """Write clip.mp4 and truth.jsonl, a line per frame, and return both."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    clip, truth = folder / "clip.mp4", folder / "truth.jsonl"
    everyone = people(muxspace, 2 * round(seconds / SCENE), seed)
    video = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE)
    with truth.open("w") as file:
        for pixels, known in scenes(photos, everyone, seconds, seed):
            video.write(np.ascontiguousarray(pixels[..., ::-1]))
            file.write(json.dumps(known) + "\n")
    video.release()
    return clip, truth


class _Way:
    """Where a face is, how large and how tilted, as sums of slow oscillations."""

    def __init__(self, random: np.random.Generator, half: int, crossing: bool) -> None:
        self.half, self.crossing = half, crossing
        self.phase = random.uniform(0, 2 * np.pi, 4)
        self.rate = random.uniform(0.4, 0.9, 4)
        self.side = random.uniform(170, 220)

    def __call__(self, now: float) -> tuple[float, float, float, float]:
        """Return center (x, y) and side of the picture in pixels, and tilt in degrees."""
        x, y, grow, tilt = np.sin(self.phase + self.rate * now)
        middle = SIZE[0] * (0.27 + 0.46 * self.half)
        if self.crossing:  # from its side to the other and back
            middle += (SIZE[0] * 0.46) * (1 - 2 * self.half) * (1 - np.cos(2 * np.pi * now / SCENE)) / 2
        return middle + 45 * x, SIZE[1] / 2 + 60 * y, self.side * (1 + 0.2 * grow), 8 * tilt


def _background(photo: Image.Image, random: np.random.Generator) -> Pixels:
    """Return a random blurred part of a photograph, in which no face is left to find."""
    side = min(photo.size) // 2
    left, top = (int(random.integers(0, full - side)) for full in photo.size)
    part = photo.crop((left, top, left + side, top + side)).resize(SIZE, Image.Resampling.BICUBIC)
    return np.asarray(part.filter(ImageFilter.GaussianBlur(18)))


def _frame(
    ground: Pixels, pair: list[Person], ways: list[_Way], now: float, random: np.random.Generator, known: dict[str, Any]
) -> tuple[Pixels, dict[str, Any]]:
    pixels = ground.astype(np.float32)
    faces: list[dict[str, Any]] = []
    for person, way in zip(pair, ways, strict=True):
        x, y, side, tilt = way(now)
        picture, label, box = _shown(person, now)
        pixels = _pasted(pixels, picture, x, y, side, tilt)
        faces.append({"person": person.name, "label": label, "box": _placed(box, x, y, side), "visible": True})
    first, second = (np.array(face["box"]) for face in faces)
    if _covered(first, second) > 0.3:  # the second face is in front
        faces[0]["visible"] = False
    for begin, hidden in ((6.0, 0), (13.0, 1)):
        if begin <= now < begin + HIDDEN:
            left, top, right, bottom = (round(edge) for edge in faces[hidden]["box"])
            pixels[max(0, top - 20) : bottom + 20, max(0, left - 20) : right + 20] = 96
            faces[hidden]["visible"] = False
    pixels *= 1 + 0.1 * np.sin(now)
    pixels += np.roll(_NOISE[int(random.integers(len(_NOISE)))], int(random.integers(SIZE[1])), 0)
    return pixels.clip(0, 255).astype(np.uint8), {**known, "faces": faces}


def _shown(person: Person, now: float) -> tuple[Pixels, str, tuple[float, ...]]:
    """Return the picture of a person at a time, its label and the box of its face, fading between two."""
    at = int(now // CHANGE) % len(person.pictures)
    picture, since = person.pictures[at], now % CHANGE
    if now >= CHANGE and since < FADE and len(person.pictures) > 1:
        before = person.pictures[at - 1]
        share = since / FADE
        picture = (share * picture + (1 - share) * before).astype(np.uint8)
    return picture, person.labels[at], person.boxes[at]


def _pasted(
    pixels: npt.NDArray[np.float32], picture: Pixels, x: float, y: float, side: float, tilt: float
) -> npt.NDArray[np.float32]:
    """Paste a picture with soft edges around a center."""
    import cv2

    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), tilt, side / SIDE)
    matrix[:, 2] += np.array([x, y]) - (SIDE - 1) / 2
    edge = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1]) / 12
    mask = np.minimum(edge[:, None], edge[None]).clip(0, 1).astype(np.float32)
    turned = cv2.warpAffine(picture.astype(np.float32), matrix, SIZE, flags=cv2.INTER_AREA)
    share = cv2.warpAffine(mask, matrix, SIZE)[..., None]
    return np.asarray(share * turned + (1 - share) * pixels, np.float32)


def _placed(box: tuple[float, ...], x: float, y: float, side: float) -> list[float]:
    """Return where the box of a face is in the frame; the tilt is small and not counted."""
    scale, middle = side / SIDE, (SIDE - 1) / 2
    places = [scale * (edge - middle) + center for edge, center in zip(box, (x, y, x, y), strict=True)]
    return [round(place, 1) for place in places]


def _covered(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the share of a box that another covers."""
    common = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
    return float(common.prod() / max((a[2:] - a[:2]).prod(), 1e-9))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder for clip.mp4 and truth.jsonl")
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/ and muxspace/")
    parser.add_argument("--minutes", type=float, default=10.0, help="length; a whole number of scenes of 20 s")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        *write(options.folder, options.data / "photos", options.data / "muxspace", 60 * options.minutes, options.seed)
    )
