"""Read pickled weights without running what the files name: PyTorch's own, whole modules, and arrays of NumPy.

No name in a file is ever looked up: objects of classes that PyTorch does not consider safe come out as placeholders
that keep their state, and arrays are rebuilt from their bytes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcs.errors import InputError, brief

# Nothing that a checkpoint needs comes from here: a file that names it is an attack. Files that name what is missing
# from this list run no code either, as no name in a file is ever looked up; they only load without a message.
# (`commands` is what pickles of the protocol that PyTorch uses call `subprocess`.)
RUNS_CODE = re.compile(
    r"(os|posix|nt|sys|subprocess|commands|pty|importlib|runpy|code|codeop|ctypes|shutil|socket|timeit|torch\.hub)\."
    r"|_?io\.open$|(builtins|__builtin__)\.(eval|exec|compile|open|__import__|breakpoint|input)$"
)
OLD_PYTORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how files from before PyTorch 1.6 begin
OLD_PARTS = 4  # pickles in such a file, up to the content: magic number, protocol, system, content
DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1")
MOST_ENTRIES, MOST_DEPTH = 100_000, 64  # of a pickled module


def load_pickle(path: Path) -> object:
    """Read a PyTorch file, or a plain pickle of NumPy arrays by name.

    Returns:
        What the file holds. A pickled module, and a dict of arrays, come out as tensors by name. Modules that were
        written before PyTorch 1.6 cannot be read so.

    Raises:
        InputError: If the file names what runs programs or code.
        Exception: Of any kind, if it is corrupt or cannot be read without running what it names.
    """
    zipped = zipfile.is_zipfile(path)
    if not zipped and not _starts_with(path, OLD_PYTORCH):
        return _Arrays(path).load()
    unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipped else _names_in_old_file(path)
    _refuse_code(path, unknown)
    placeholders: list[Any] = [(type(name.rpartition(".")[2], (Placeholder,), {}), name) for name in unknown]
    with torch.serialization.safe_globals(placeholders):
        content = torch.load(path, map_location="cpu", weights_only=True)
    return dict(_module_entries(content)) if isinstance(content, Placeholder) else content


class Placeholder:
    """Takes the place of an object of an unknown class in a pickled file: takes anything, does nothing."""

    state: object = None

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state


def _module_entries(module: Placeholder) -> Iterator[tuple[str, Tensor]]:
    """Yield the entries of the state dict of a pickled module, from its state alone."""
    waiting, count = [("", module, 0)], 0
    while waiting:
        prefix, each, depth = waiting.pop()
        state = each.state if isinstance(each.state, dict) else {}
        transient = state.get("_non_persistent_buffers_set") or ()
        for kind in ("_parameters", "_buffers"):
            for name, value in _items(state.get(kind)):
                if isinstance(value, Tensor) and not (isinstance(transient, set | frozenset) and name in transient):
                    yield f"{prefix}{name}", value.detach()
        for name, child in _items(state.get("_modules")):
            count += 1
            if count > MOST_ENTRIES or depth > MOST_DEPTH:
                raise ValueError("its modules do not end")
            if isinstance(child, Placeholder):
                waiting.append((f"{prefix}{name}.", child, depth + 1))


def _items(value: object) -> list[tuple[object, object]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _names_in_old_file(path: Path) -> list[str]:
    """Return the classes and functions that a file from before PyTorch 1.6 names, but for those that PyTorch trusts.

    Raises:
        Exception: Of any kind, if the file is corrupt.
    """
    names: set[str] = set()
    with path.open("rb") as file:
        for _ in range(OLD_PARTS):
            for code, argument, _ in pickletools.genops(file):
                if code.name == "GLOBAL":
                    names.add(str(argument).replace(" ", "."))
                elif code.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
                    raise ValueError(f"it holds {code.name}, which PyTorch does not write")
    return sorted(name for name in names if not _is_trusted(name))


def _is_trusted(name: str) -> bool:
    return (
        name in _TRUSTED
        or name.startswith("torch._utils._rebuild")
        or re.match(r"torch\.\w+Storage$", name) is not None
    )


_TRUSTED = ("collections.OrderedDict", "torch.Size", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.device")


def _refuse_code(path: Path, names: list[str]) -> None:
    if runners := sorted(filter(RUNS_CODE.match, names)):
        raise InputError(
            f"{path} runs code when it is unpickled ({brief(', '.join(runners))}): refused, and nothing was run; "
            "such a file is not a checkpoint but an attack"
        )


class _Arrays(pickle._Unpickler):  # the one in C can be made to fill the memory
    """Reads a plain pickle of NumPy arrays by name, also one that Python 2 wrote."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.BytesIO(path.read_bytes()), encoding="latin1")
        self.path = path

    def load(self) -> dict[Any, Any]:
        """Return tensors by name.

        Raises:
            InputError: If the file names what runs programs or code.
            Exception: Of any kind, if it holds anything but arrays.
        """
        content = super().load()
        if not isinstance(content, Mapping):
            raise ValueError("it holds no arrays by name")
        return {name: value.tensor() if isinstance(value, _Array) else value for name, value in content.items()}

    def find_class(self, module: str, name: str) -> object:
        """Return what takes the place of a class or function that the file names."""
        if (module.replace("numpy._core", "numpy.core"), name) in _OF_ARRAYS:
            return _OF_ARRAYS[module.replace("numpy._core", "numpy.core"), name]
        _refuse_code(self.path, [f"{module}.{name}"])
        raise ValueError(f"it holds {brief(f'{module}.{name}')}, which is no array")


class _DType:
    """A data type as it is pickled: its code, and the order of its bytes."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code, self.order = str(code), "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"


class _Array:
    """An array as it is pickled: shape, data type and bytes."""

    parts: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.parts = state

    def tensor(self) -> Tensor:
        """Return a copy as a tensor."""
        _, shape, dtype, by_columns, content = self.parts
        if not isinstance(dtype, _DType) or dtype.code not in DTYPES:
            raise ValueError("it holds an array of another data type than numbers")
        data = content.encode("latin1") if isinstance(content, str) else content
        flat = np.frombuffer(data, np.dtype(dtype.order + dtype.code))
        array = flat.reshape(shape, order="F" if by_columns else "C")
        return torch.from_numpy(array.astype(dtype.code))


def _empty_array(*_: object) -> _Array:
    return _Array()


def _latin1(text: str, *_: object) -> bytes:
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_OF_ARRAYS: dict[tuple[str, str], Any] = {
    ("__builtin__", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("_codecs", "encode"): _latin1,
}
