"""Classify face crops with `fer`, in its environment: `python fer_worker.py IMAGES.npz ANSWERS.npz`.

Detection is skipped, and with it the margin that the library adds to what its detector finds: each image is one face.
"""

import sys
import time

import cv2
import numpy as np
from fer.fer import FER  # type: ignore[import-not-found] # only in its own environment


def main(source: str, target: str) -> None:
    with np.load(source) as archive:
        images = archive["images"]
    detector = FER(mtcnn=False, offsets=(0, 0))
    rows, seconds = [], []
    for gray in images:
        color = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
        start = time.perf_counter()
        (found,) = detector.detect_emotions(color, face_rectangles=[(0, 0, gray.shape[1], gray.shape[0])])
        seconds.append(time.perf_counter() - start)
        rows.append(found["emotions"])
    classes = list(rows[0])
    probabilities = np.array([[row[name] for name in classes] for row in rows], np.float32)
    np.savez(target, probabilities=probabilities, classes=np.array(classes), seconds=np.array(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
