"""Predict the images of several requests together: those that wait while a batch is computed make up the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from qcs.engine.prediction import classify, predict_faces
from qcs.errors import InputError
from qcs.faces import FaceDetector, Faces, Picture
from qcs.faces.alignment import DEFAULT
from qcs.models import CrossSimilarityNetwork
from qcs.serve.clients import Client, ClientLeftError, check_clients, run_for
from qcs.serve.uploads import read_image

MOST_TOGETHER = 16  # images of a batch, unless a single request has more


@dataclass(eq=False)
class Job:
    """The images of one request.

    Attributes:
        images: Name and content of each.
        detect: Whether to detect faces; otherwise each image is one cropped face.
        client: Who waits for it.
        results: The faces of each image, in order; with `error` for one that cannot be read.
        failure: Why there are no results; None if there are.
        done: Whether it is computed.
    """

    images: Sequence[tuple[str, bytes]]
    detect: bool
    client: Client
    results: list[Faces] = field(default_factory=list)
    failure: Exception | None = None
    done: bool = False


@dataclass(frozen=True)
class Predictor:
    """Predict the images of jobs, skipping those whose client has left.

    Args:
        model: The network.
        detector: The face detector.
        crop: Crop of the faces, see `qcs.faces.template`.
        device: Device to compute on.
    """

    model: CrossSimilarityNetwork
    detector: FaceDetector
    crop: str = DEFAULT
    device: torch.device | str = "cpu"

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Set the results of each job whose client is still there."""
        for detect in (True, False):
            self._predict([job for job in jobs if job.detect is detect], detect)

    def _predict(self, jobs: Sequence[Job], detect: bool) -> None:
        places: list[tuple[Job, int]] = []
        pictures = _pictures(jobs, places)
        if detect:
            found = predict_faces(
                self.model, pictures, self.device, detector=self.detector, crop=self.crop, together=MOST_TOGETHER
            )
        else:
            found = _one_each(self.model, list(pictures), self.device)
        for number, faces in enumerate(found):
            job, at = places[number]
            job.results[at] = faces.without_pixels()


def _pictures(jobs: Sequence[Job], places: list[tuple[Job, int]]) -> Iterator[Picture]:
    """Decode the images of jobs one after another, and note in `places` where their results belong."""
    for job in jobs:
        job.results = [Faces()] * len(job.images)
        for at, (name, content) in enumerate(job.images):
            check_clients()
            if job.client.left:
                break
            try:
                picture = Picture(name, read_image(name, content), Path(name))
            except InputError as error:
                job.results[at] = Faces(picture=Picture(name, None, Path(name)), error=str(error))
                continue
            places.append((job, at))
            yield picture


def _one_each(
    model: CrossSimilarityNetwork, pictures: Sequence[Picture], device: torch.device | str
) -> Iterator[Faces]:
    each = classify(model, [picture.image for picture in pictures], device)
    return (each[[at]] for at in range(len(pictures)))


class Batches:
    """Compute jobs in the order of their arrival, one batch at a time.

    Whoever gets the turn computes a batch for all who wait, itself included, so there is no task in the background.

    Args:
        predict: Sets the results of jobs; called in a thread.
        turn: The lock that lets one analysis run at a time.

    Attributes:
        count: Number of batches so far.
        images: Number of images in them.
    """

    def __init__(self, predict: Predictor, turn: asyncio.Lock) -> None:
        self._predict = predict
        self._turn = turn
        self._waiting: list[Job] = []
        self.count = 0
        self.images = 0

    async def run(self, job: Job) -> list[Faces]:
        """Compute a job; return its results.

        Raises:
            ClientLeftError: If the client has left.
            InputError: If the weights give no finite answer.
        """
        self._waiting.append(job)
        try:
            async with self._turn:
                if not job.done:
                    await self._next()
        finally:
            with suppress(ValueError):
                self._waiting.remove(job)
        if job.client.left:
            raise ClientLeftError
        if job.failure is not None:
            raise job.failure
        return job.results

    async def _next(self) -> None:
        """Compute the batch of those that have waited longest."""
        jobs = await self._take()
        if not jobs:
            return
        try:
            await run_for([job.client for job in jobs], partial(self._predict, jobs))
        except Exception as error:
            for job in jobs:
                job.failure = error
        for job in jobs:
            job.done = True
        self.count += 1
        self.images += sum(len(job.images) for job in jobs)

    async def _take(self) -> list[Job]:
        """Take the jobs of a batch from the queue; those whose client has left are dropped."""
        jobs: list[Job] = []
        while self._waiting:
            job = self._waiting[0]
            together = sum(len(each.images) for each in jobs) + len(job.images)
            if jobs and together > MOST_TOGETHER:
                break
            gone = await job.client.has_left()
            with suppress(ValueError):  # it may have been removed meanwhile
                self._waiting.remove(job)
            if gone:
                job.done = True
            else:
                jobs.append(job)
        return jobs
