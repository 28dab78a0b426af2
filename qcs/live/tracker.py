"""Give detected faces the numbers of the people that they were before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.errors import InputError
from qcs.faces import Faces
from qcs.faces.face import LANDMARKS

Floats = npt.NDArray[np.floating[Any]]
Motions = Callable[[Floats, Floats], tuple[Floats, Floats, npt.NDArray[np.bool_]]]

SIDE = 16  # pixels of the appearance of a face
NEWER = 0.2  # share of the new appearance in that of a track
OVERLAP = 0.2  # least intersection over union with a face that is seen
LENIENT = 0.3  # less similarity is asked of a face that overlaps its track
SPEED = 2.0  # sides of its box that a hidden face may move in a second


@dataclass
class Track:
    """One person in a video.

    Attributes:
        number: Number of the track.
        box: Last box (4,) in pixels.
        landmarks: Last landmarks (5, 2) in pixels.
        score: The detector's last confidence.
        seconds: Time at which the face was last seen.
        appearance: Mean appearance (SIDE²,), see `appearance`; None if it is not known.
        misses: Detections in a row that did not find the face.
        hidden: Whether the face is not seen now.
    """

    number: int
    box: Floats
    landmarks: Floats
    score: float
    seconds: float
    appearance: Floats | None = None
    misses: int = 0
    hidden: bool = False


class Tracker:
    """Follow faces by overlap, appearance and motion; a number survives a short occlusion.

    A detected face continues a track that it overlaps and resembles, or a track that was lost less than `keep` seconds
    ago, nearby, and that it resembles closely. Only faces that the detector is sure of begin a track. Between
    detections, `move` follows the faces; one that no longer looks like its track is hidden.

    Args:
        keep: Seconds for which the number of a hidden face is kept.
        sure: Least score of a face that begins a track, 0 to 1.
        alike: Least similarity of the appearance to that of a hidden track, -1 to 1.
        patience: Detections in a row that may miss a face that can be followed.

    Attributes:
        tracks: The tracks, hidden ones included.

    Raises:
        InputError: If `keep` is negative.
    """

    def __init__(self, keep: float = 2.0, sure: float = 0.9, alike: float = 0.8, patience: int = 2) -> None:
        if not keep >= 0:
            raise InputError(f"keep is {keep}; expected seconds, at least 0")
        self.keep, self.sure, self.alike, self.patience = keep, sure, alike, patience
        self.tracks: list[Track] = []
        self._next = 1

    @property
    def seen(self) -> Faces:
        """The faces that are seen now, the largest first, with their tracks."""
        return _faces([track for track in self.tracks if not track.hidden]).largest_first()

    def move(self, motion: Motions, seconds: float) -> bool:
        """Move the faces that are seen to the next frame; return whether all could be followed.

        Args:
            motion: Maps boxes and landmarks to those in the next frame, see `qcs.live.Motion`.
            seconds: Time of the next frame.
        """
        seen = [track for track in self.tracks if not track.hidden]
        if not seen:
            return True
        boxes, landmarks, followed = motion(
            np.stack([track.box for track in seen]), np.stack([track.landmarks for track in seen])
        )
        for at, track in enumerate(seen):
            track.box, track.landmarks, track.hidden = boxes[at], landmarks[at], not followed[at]
            track.seconds = seconds if followed[at] else track.seconds
        return bool(followed.all())

    def update(self, found: Faces, appearances: Sequence[Floats], seconds: float) -> None:
        """Match detected faces with the tracks, which `move` has brought to this frame.

        Args:
            found: The detected faces.
            appearances: The appearance of each.
            seconds: Time of the frame.
        """
        if found.boxes is None or found.landmarks is None or found.scores is None:
            raise InputError("detected faces lack boxes, landmarks or scores; expected all three")
        self.tracks = [track for track in self.tracks if not track.hidden or seconds - track.seconds <= self.keep]
        pairs = self._matched(found.boxes, appearances, seconds)
        for track in self.tracks:
            if track.number not in {pair.number for pair in pairs.values()}:
                track.misses += 1
                track.hidden = track.hidden or track.misses > self.patience
        for at in range(len(found)):
            own = pairs.get(at) or self._begun(found.boxes[at], float(found.scores[at]))
            if own is not None:
                own.box, own.landmarks, own.score = found.boxes[at], found.landmarks[at], float(found.scores[at])
                own.seconds, own.misses, own.hidden = seconds, 0, False
                self._learn(own, appearances[at])

    def confirm(self, number: int, appearance: Floats) -> bool:
        """Return whether a face that was followed still looks like its track; hide it otherwise."""
        (track,) = (track for track in self.tracks if track.number == number)
        if track.appearance is not None and float(track.appearance @ appearance) < self.alike - LENIENT:
            track.hidden = True
            return False
        self._learn(track, appearance)
        return True

    def start(self, faces: Faces, appearances: Sequence[Floats], seconds: float, *, hidden: bool = False) -> None:
        """Take tracks from recorded faces, to go on after them; hidden ones were not seen any more."""
        for face, seen in zip(faces, appearances, strict=True):
            if face.track is not None and face.box is not None and face.landmarks is not None:
                place = np.array(face.box), np.array(face.landmarks)
                self.tracks.append(Track(face.track, *place, face.score or 0.0, seconds, seen, 0, hidden))
                self.skip(face.track)

    def skip(self, number: int) -> None:
        """Give no new track this number or a smaller one."""
        self._next = max(self._next, number + 1)

    def _begun(self, box: Floats, score: float) -> Track | None:
        """Return a new track; None if the detector is not sure, or another face is there."""
        seen = [track.box for track in self.tracks if not track.hidden]
        if score < self.sure or (seen and overlaps(np.stack(seen), box[None]).max() > OVERLAP):
            return None
        track = Track(self._next, box, np.zeros((len(LANDMARKS), 2)), score, 0.0)
        self._next += 1
        self.tracks.append(track)
        return track

    def _matched(self, boxes: Floats, appearances: Sequence[Floats], seconds: float) -> dict[int, Track]:
        """Return the track of each detected face that has one, the best pairs first."""
        if not self.tracks or not len(boxes):
            return {}
        shared = overlaps(np.stack([track.box for track in self.tracks]), boxes)
        alike = np.array([[_likeness(track, seen) for seen in appearances] for track in self.tracks])
        near = np.array([[self._is_near(track, box, seconds) for box in boxes] for track in self.tracks])
        hidden = np.array([track.hidden for track in self.tracks])[:, None]
        fits = np.where(hidden, near & (alike >= self.alike), (shared >= OVERLAP) & (alike >= self.alike - LENIENT))
        pairs: dict[int, Track] = {}
        taken: set[int] = set()
        for at in np.argsort(-(shared + alike), axis=None, kind="stable"):
            track, face = divmod(int(at), len(boxes))
            if fits[track, face] and track not in taken and face not in pairs:
                pairs[face] = self.tracks[track]
                taken.add(track)
        return pairs

    def _is_near(self, track: Track, box: Floats, seconds: float) -> bool:
        """Return whether a hidden face may have come so far."""
        way = (box[:2] + box[2:] - track.box[:2] - track.box[2:]) / 2
        side = max(float((track.box[2:] - track.box[:2]).max()), 1.0)
        return float(np.hypot(*way)) <= side * (1 + SPEED * (seconds - track.seconds))

    def _learn(self, track: Track, seen: Floats) -> None:
        mean = seen if track.appearance is None else (1 - NEWER) * track.appearance + NEWER * seen
        track.appearance = mean / max(float(np.linalg.norm(mean)), 1e-12)


def appearance(crop: Image.Image) -> Floats:
    """Return how an aligned face looks (SIDE²,): its reduced gray values without their mean, of length 1.

    The product of two is their similarity, -1 to 1; light and contrast do not matter.
    """
    small = np.asarray(crop.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
    centered = (small - small.mean()).ravel()
    length = float(np.linalg.norm(centered))
    seen: Floats = centered / length if length else centered
    return seen


def overlaps(a: Floats, b: Floats) -> Floats:
    """Return the intersection over union of boxes (n, 4) and boxes (m, 4): (n, m), 0 to 1.

    Example:
        >>> overlaps(np.array([[0.0, 0, 2, 1]]), np.array([[1.0, 0, 3, 1], [5, 5, 6, 6]])).round(2).tolist()
        [[0.33, 0.0]]
    """
    common = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    shared = common.clip(0).prod(-1)
    whole = (a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1) - shared
    ratio: Floats = shared / np.maximum(whole, 1e-12)
    return ratio


def _likeness(track: Track, seen: Floats) -> float:
    return 1.0 if track.appearance is None else float(track.appearance @ seen)


def _faces(tracks: Sequence[Track]) -> Faces:
    found = Faces.of([])
    if tracks:
        found = Faces(
            np.stack([track.box for track in tracks]),
            np.stack([track.landmarks for track in tracks]),
            np.array([track.score for track in tracks]),
        )
    return replace(found, tracks=np.array([track.number for track in tracks], np.int64))
