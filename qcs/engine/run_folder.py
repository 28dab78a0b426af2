"""The folder of a training run: what lies where, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qcs.errors import InputError
from qcs.files import replacing
from qcs.models._hub import local_file
from qcs.models.pretrained import embedded_weights

OWN = ("config.json", "metrics.json", "tensorboard", "checkpoints", "best.safetensors", "last.safetensors")


class RunFolder:
    """Paths and atomic writes of one run.

    `config.json` (every setting), `metrics.json` (a record per epoch), `tensorboard/`, `checkpoints/` (until the run is
    finished), `best.safetensors` (highest validation accuracy), `last.safetensors`, `validation.json` and `test.json`
    (per class, confusion matrix), `test_predictions.npz` (probabilities of each test image), pictures.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / "best.safetensors"
        self.last = self.path / "last.safetensors"

    def create(self) -> None:
        """Make the folder, checking that it can be written and holds no other run.

        Raises:
            InputError: If a run lies there already.
            OSError: If the folder cannot be made or written.
        """
        if any((self.path / name).exists() for name in OWN):
            raise InputError(
                f"{self.path} already holds a run; choose another output folder, or go on with it: "
                f"qcs train --resume {self.path}"
            )
        probe = self.path / ".write-test"
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()

    def discard(self) -> None:
        """Take back what a run that came to no weights has written; other files in the folder stay."""
        for name in OWN:  # none of them was there when the run began
            if (self.path / name).is_dir():
                shutil.rmtree(self.path / name, ignore_errors=True)
            else:
                (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or never made
            self.path.rmdir()

    def read_config(self) -> dict[str, Any]:
        """What the run was started with: its settings under "config", its images per class under "images".

        Raises:
            InputError: If no run lies here.
        """
        path = self.path / "config.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            counts = [count for images in record["images"].values() for count in images.values()]
            if isinstance(record["config"], dict) and "train" in record["images"] and all(map(_is_count, counts)):
                return dict(record)
        except FileNotFoundError as error:
            raise InputError(f"{self.path} is no run folder: it has no {path.name}") from error
        except (AttributeError, ValueError, KeyError, TypeError):
            pass
        raise InputError(f"{path} does not hold the settings of a run")

    def write_json(self, name: str, content: Any) -> Path:
        """Write `name` as JSON, whole or not at all."""
        return write_text(self.path / name, json.dumps(content, indent=2) + "\n")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def weights_file(source: str | Path) -> Path:
    """The weights a user means.

    Args:
        source: A weights file, a run folder (its best ones), `hf-hub:ORG/NAME`, or the name of a network with weights
            in the package.

    Raises:
        InputError: If there are none.
        OSError: If they cannot be fetched from the Hub.
    """
    path = local_file(source)
    if path.is_dir():
        best = RunFolder(path).best
        if not best.exists():
            raise InputError(
                f"{path} is no run with weights: it has no {best.name}; give a run folder or a weights file"
            )
        return best
    if path.exists():
        return path
    if embedded := embedded_weights(str(source)):
        return embedded
    raise InputError(f"no run folder or weights file at {path}, and no network of that name has weights in the package")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Names what is being written in an error that does not, as that of a full disk."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> Path:
    """Write a text file, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return path
