"""The command `qcs-runtime`: predict the expression of each face in pictures."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qcs.errors import InputError
from qcs.escaping import printable
from qcs.faces.media import VIDEO_SUFFIXES, camera_number, pictures
from qcs.faces.result_file import ResultFile
from qcs.version import __version__
from qcs_runtime.classifier import PRECISIONS
from qcs_runtime.prediction import loaded_classifier, predict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a picture could not be read, 2 for other bad input.

    Args:
        arguments: Arguments after the name of the command; None are those of this process.
    """
    options = _parser().parse_args(arguments)
    warnings.showwarning = lambda message, *_: _say("warning", str(message))
    try:
        return _run(options)
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader of the output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        _say("error", str(error))
        return 2
    except KeyboardInterrupt:
        _say("error", "interrupted")
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("qcs-runtime", description="Predict the expression of each face in pictures.")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="image file, folder, video file or camera")
    parser.add_argument("--output", metavar="FILE", help="file to write: .json, .jsonl (JSON Lines) or .csv")
    parser.add_argument("--no-detect", action="store_true", help="take each picture as one cropped face")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the network; default fp32")
    parser.add_argument("--min-face", type=int, metavar="PIXELS", help="side of the smallest face, at least 12")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every n-th frame of a video or camera")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _run(options: argparse.Namespace) -> int:
    """Print the result of each picture as it comes; a picture that cannot be read costs no other its result."""
    _check_opencv(options.sources)
    unreadable: list[InputError] = []

    def report(error: InputError) -> None:
        unreadable.append(error)
        _say("error", str(error))

    with _results(options) as results:
        for picture in pictures(options.sources, options.every, report):
            faces = predict(
                picture, precision=options.precision, detect=not options.no_detect, min_face=options.min_face
            )
            print(faces, flush=True)
            if results is not None:
                results.write(faces)
            del picture, faces  # or its pixels stay while the next picture is read
    return 1 if unreadable else 0


@contextmanager
def _results(options: argparse.Namespace) -> Iterator[ResultFile | None]:
    if options.output is None:
        yield None
        return
    with ResultFile(options.output, loaded_classifier(options.precision).classes) as results:
        yield results
    _say("wrote", options.output)


def _check_opencv(sources: Sequence[str]) -> None:
    videos = [
        each for each in sources if Path(each).suffix.lower() in VIDEO_SUFFIXES or camera_number(each) is not None
    ]
    if videos and importlib.util.find_spec("cv2") is None:
        raise InputError(f"reading {videos[0]} needs OpenCV; run: pip install 'qcs-runtime[video]'")


def _say(kind: str, message: str) -> None:
    print(f"{kind}: {printable(message)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
