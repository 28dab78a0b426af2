"""Reading pickled weights files without running the code that they may name."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from qcs.errors import InputError

# Nothing that a checkpoint needs comes from here: a file that names it was made to attack. Files that name what is
# missing from this list run no code either, as no name in a file is ever looked up; they only load without a word.
# (`commands` is what pickles of the protocol that PyTorch uses call `subprocess`.)
RUNS_CODE = re.compile(
    r"(os|posix|nt|sys|subprocess|commands|pty|importlib|runpy|code|codeop|ctypes|shutil|socket|timeit|torch\.hub)\."
    r"|_?io\.open$|builtins\.(eval|exec|compile|open|__import__|breakpoint|input)$"
)


class _Inert:
    """Stands in for an object of an unknown class in a pickled file: takes anything, does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def load_pickle(path: Path) -> Any:
    """Content of a PyTorch file; objects of classes that PyTorch does not itself consider safe come out inert.

    Raises:
        InputError: If the file names what runs programs or code.
        Exception: Of any kind, if it is damaged or cannot be read without running what it names.
    """
    zipped = zipfile.is_zipfile(path)  # files from before PyTorch 1.6 are not, and cannot be searched
    unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipped else []
    if runners := sorted(filter(RUNS_CODE.match, unknown)):
        raise InputError(
            f"{path} wants to run code when it is unpickled ({', '.join(runners)}): refused, and nothing was run; "
            "such a file is no checkpoint but an attack"
        )
    stand_ins: list[Any] = [(type(name.rpartition(".")[2], (_Inert,), {}), name) for name in unknown]
    with torch.serialization.safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True)
