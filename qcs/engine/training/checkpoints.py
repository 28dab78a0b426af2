"""Write and read the checkpoints of a training run: complete files, verified when read, the newest few kept.

A checkpoint is a tree of dictionaries and lists whose leaves are tensors or plain values. The tensors are stored in a
safetensors file, the rest in its metadata. The name of the file ends in the first digits of its hash, so that one
rename makes it visible and verifiable. Its metadata names the version of the format.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qcs.errors import InputError
from qcs.files import sha256, sweep
from qcs.version import __version__

_NAME = re.compile(r"step-(\d{10})-([0-9a-f]{16})\.safetensors")
_UNFINISHED = ".being-written"  # one name, so that a killed process leaves at most one such file
_TREE = "tree"
_FORMAT, FORMAT = "format", "1"  # raised whenever a run would not go on right from an older state
_TENSOR = "\0tensor"  # key in the tree for a tensor, by number


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Their folder.
        keep: Number of newest checkpoints to keep.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(folder)
        ...     _ = checkpoints.save(12, {"weights": torch.ones(2), "epoch": 3})
        ...     state = checkpoints.load_newest()
        >>> state["epoch"], state["weights"].tolist()
        (3, [1.0, 1.0])
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def save(self, step: int, state: Any) -> Path:
        """Write the state after `step` optimizer steps, complete or not at all; delete the oldest.

        Raises:
            OSError: If it cannot be written; earlier checkpoints are kept.
        """
        self.folder.mkdir(exist_ok=True)  # without its parents: where the run folder is gone, nothing can be resumed
        temporary = self.folder / _UNFINISHED
        tensors, tree = _pack(state)
        try:
            metadata = {_TREE: json.dumps(tree), _FORMAT: FORMAT, "qcs": __version__}
            save_file(tensors, temporary, metadata=metadata)
            _to_disk(temporary)
            path = self.folder / f"step-{step:010d}-{_digest(temporary)}.safetensors"
            os.replace(temporary, path)
            _to_disk(self.folder)
        except SafetensorError as error:  # raised when the disk is full
            raise OSError(f"cannot write a checkpoint to {self.folder}: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)
        for old in self._files()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def load_newest(self, on_corrupt: Callable[[str], None] = lambda line: None) -> Any:
        """Return the state of the newest checkpoint that is not corrupt.

        Args:
            on_corrupt: Called with a line about each newer checkpoint that is corrupt.

        Raises:
            InputError: If there is no checkpoint, or another version of qcs wrote it in another format.
        """
        for path in self._newest_first():
            try:
                return _read(path)
            except InputError:
                raise
            except Exception as error:  # a corrupt file raises errors of any kind
                on_corrupt(f"checkpoint {path.name} is corrupt ({error}); using the one before it")
        raise InputError(
            f"no checkpoint to resume from in {self.folder}: a run writes its first after a few minutes or one epoch; "
            "start it again, in another folder or after removing this one"
        )

    def discard(self) -> None:
        """Delete all checkpoints, and the folder if it is then empty."""
        for path in self._newest_first():
            with contextlib.suppress(OSError):  # a folder, say
                path.unlink()
        self.sweep()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def sweep(self) -> None:
        """Remove the files that a process was writing when it was killed."""
        (self.folder / _UNFINISHED).unlink(missing_ok=True)
        sweep(self.folder)

    def __bool__(self) -> bool:
        return bool(self._files())

    def _files(self) -> list[Path]:
        return [path for path in self._newest_first() if path.is_file()]

    def _newest_first(self) -> list[Path]:
        """All that is named like a checkpoint, broken links too; what another process removes meanwhile is left out."""
        found: list[tuple[str, int, Path]] = []
        with contextlib.suppress(FileNotFoundError):  # of the folder
            for path in self.folder.glob("step-*.safetensors"):
                if match := _NAME.fullmatch(path.name):
                    with contextlib.suppress(FileNotFoundError):
                        found.append((match[1], path.lstat().st_mtime_ns, path))
        return [path for *_, path in sorted(found, reverse=True)]


def _read(path: Path) -> Any:
    match = _NAME.fullmatch(path.name)
    if not path.is_file():
        raise ValueError("it is no file, or a link to none")
    if match is None or _digest(path) != match[2]:
        raise ValueError("its content does not match the hash in its name")
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if (found := metadata.get(_FORMAT)) != FORMAT:
            raise InputError(
                f"checkpoint {path} has the format {_start_of(found)}, this version of qcs ({__version__}) resumes "
                f"from format {FORMAT}: go on with the version that wrote it ({_start_of(metadata.get('qcs'))}), "
                "or start a new run from the weights of the run folder with --init"
            )
        tree = json.loads(metadata[_TREE])
        return _unpack(tree, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 (not a dict)


def _start_of(text: str | None) -> str:
    """Return the start of a text from a file, for a message of one line."""
    return "unknown" if text is None else " ".join(text[:20].split())


def _pack(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Tensors by number, and the tree with these numbers in place of the tensors."""
    tensors: dict[str, Tensor] = {}

    def place(node: Any) -> Any:
        if isinstance(node, Tensor):
            key = str(len(tensors))
            tensors[key] = node.detach().cpu().contiguous()
            return {_TENSOR: key}
        if isinstance(node, dict):
            return {"items": [[key, place(value)] for key, value in node.items()]}  # keys need not be strings
        if isinstance(node, list | tuple):
            return [place(value) for value in node]
        if node is None or isinstance(node, bool | int | float | str):
            return node
        raise TypeError(f"a checkpoint holds tensors and plain values, not {type(node).__name__}")

    return tensors, place(state)


def _unpack(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_unpack(value, tensors) for value in node]
    if isinstance(node, dict):
        if _TENSOR in node:
            return tensors[node[_TENSOR]]
        return {key: _unpack(value, tensors) for key, value in node["items"]}
    return node


def _digest(path: Path) -> str:
    return sha256(path)[:16]


def _to_disk(path: Path) -> None:
    """Wait until the content of a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
