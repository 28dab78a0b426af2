"""Build the wheel of qcs-runtime: `pip wheel --no-deps ./runtime`.

A build backend (PEP 517) that assembles a folder and hands it to setuptools. The folder has three parts:

* the package `qcs_runtime` of this folder,
* every module of `qcs` that it imports, directly or through others, as `qcs_runtime._qcs`, so that detection and
  alignment have one source; a module that needs PyTorch or another package at import ends the build,
* the shipped network as ONNX in fp32 and int8, exported and compared with PyTorch by `qcs.export`. int8 is calibrated
  on synthetic faces, so the build needs no data and gives the same files every time on one machine.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setuptools import build_meta

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = Path(__file__).resolve().parent
ROOT = SOURCE.parent
WEIGHTS = "qcs_small"
FACES = 300  # synthetic, to calibrate int8

OWN, COPIED = "qcs", "qcs_runtime._qcs"
PACKAGES = frozenset({"PIL", "numpy", "onnxruntime"})
"""What modules of the wheel may import besides the standard library and each other."""


def get_requires_for_build_wheel(config_settings: Mapping[str, Any] | None = None) -> list[str]:
    """Return what exports the network: the requirements of qcs-fer and of its extras `export` and `faces`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: list[str] = [line for extra in ("export", "faces") for line in project["optional-dependencies"][extra]]
    return ["setuptools>=77", *project["dependencies"], *extras]


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Write the wheel into a folder and return its name."""
    place = os.path.abspath(wheel_directory)
    with tempfile.TemporaryDirectory() as folder:
        assemble(Path(folder))
        with _inside(folder):
            return build_meta.build_wheel(place, config_settings)


def build_sdist(sdist_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    """Refuse: the wheel runs on every platform, and a source distribution would lack the modules of qcs."""
    raise SystemExit("qcs-runtime is built as a wheel, from a checkout; run: pip wheel --no-deps ./runtime")


def assemble(folder: Path) -> Path:
    """Write everything that setuptools needs into an empty folder; return the folder of the package."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(SOURCE / name, folder)
    shutil.copy(ROOT / "LICENSE", folder)
    package = folder / "qcs_runtime"
    modules = {f"qcs_runtime.{path.stem}": path for path in sorted((SOURCE / "qcs_runtime").glob("*.py"))}
    for name, path in {**modules, **needed(modules.values())}.items():
        _copy(name, path, folder)
    (package / "py.typed").touch()
    export(package / "weights")
    return package


def needed(sources: Iterable[Path]) -> dict[str, Path]:
    """Return the modules of qcs that sources import, also through each other: place in the wheel and file."""
    found: dict[str, Path] = {}
    waiting = list(sources)
    while waiting:
        for _, module in imports(waiting.pop()):
            if module.partition(".")[0] == OWN and module not in found:
                found[module] = _file(module)
                waiting.append(found[module])
    return {f"{COPIED}{module.removeprefix(OWN)}": path for module, path in sorted(found.items())}


def export(folder: Path, precisions: Sequence[str] = ("fp32", "int8")) -> None:
    """Write the shipped network as a file per precision, `fp32.onnx` and `int8.onnx`."""
    sys.path.insert(0, str(ROOT))
    import torch
    from timm.data import resolve_model_data_config

    from qcs.data import eval_transform, synthetic_faces
    from qcs.engine.face_crop import crop_to_predict
    from qcs.export import export_model
    from qcs.models import find_weights, load_model

    file = find_weights(WEIGHTS)
    model, crop = load_model(file), crop_to_predict(file, None)
    transform = eval_transform(resolve_model_data_config(model))
    calibration = torch.stack([transform(face) for face in synthetic_faces(FACES).images])
    for precision in precisions:
        images = calibration if precision == "int8" else None
        export_model(model, folder / f"{precision}.onnx", precision=precision, calibration=images, face_crop=crop)


def _copy(name: str, path: Path, folder: Path) -> None:
    """Copy a module; its imports of qcs become imports of the copies."""
    parts = name.split(".")
    place = folder.joinpath(*parts[:-1])
    for depth in range(1, len(parts)):
        package = folder.joinpath(*parts[:depth])
        package.mkdir(exist_ok=True)
        if depth > 1:
            (package / "__init__.py").touch()
    lines = path.read_text(encoding="utf-8").split("\n")
    for line, module in imports(path):
        if module.partition(".")[0] == OWN:
            lines[line - 1] = lines[line - 1].replace(f" {module}", f" {COPIED}{module.removeprefix(OWN)}", 1)
    (place / f"{parts[-1]}.py").write_text("\n".join(lines), encoding="utf-8")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module of each import, except those for types alone.

    Raises:
        SystemExit: If one needs a package that the wheel does not require.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    at_import = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if id(node) in for_types or not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
        for module in names:
            top = module.partition(".")[0]
            known = top in (OWN, "qcs_runtime", *PACKAGES) or top in sys.stdlib_module_names
            if not known and id(node) in at_import:
                raise SystemExit(f"{path}, line {node.lineno}: imports {module}, which qcs-runtime does not install")
            yield node.lineno, module


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        raise SystemExit(f"qcs-runtime imports {module}, a package; import from the module that defines the name")
    return path


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
