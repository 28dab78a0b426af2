"""Classify face crops with this library, one at a time: `python qcs_worker.py IMAGES.npz ANSWERS.npz`."""

import sys
import time

import numpy as np
import torch
from timm.data import resolve_model_data_config

import qcs
from qcs.data import LabeledImages, eval_transform


def main(source: str, target: str) -> None:
    torch.set_num_threads(1)
    with np.load(source) as archive:
        images = archive["images"]
    model = qcs.load_model("qcs_small").inference_model().eval()
    names = qcs.load_model("qcs_small").class_names
    prepare = eval_transform(resolve_model_data_config(qcs.load_model("qcs_small")))
    faces = LabeledImages(images, np.zeros(len(images), int), ["face"])
    rows, seconds = [], []
    with torch.inference_mode():
        for row in range(len(images)):
            start = time.perf_counter()
            rows.append(model(prepare(faces.image(row))[None]).softmax(-1)[0].numpy())
            seconds.append(time.perf_counter() - start)
    np.savez(target, probabilities=np.stack(rows), classes=np.array(names), seconds=np.array(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
