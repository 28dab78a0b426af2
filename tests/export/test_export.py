"""Exporting: every format in every precision computes what the network computes, and nothing wrong is ever written."""

from __future__ import annotations

import builtins
import dataclasses
import errno
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import qcs
from qcs.engine import classify
from qcs.errors import InputError
from qcs.export import FORMATS, Latency, export_model, load_export, measure_latency
from qcs.export.loaded import Pixels
from qcs.export.tolerance import TOLERANCE, compare, require_close
from qcs.faces.alignment import template
from qcs.models import CrossSimilarityNetwork

QUICK = ("torch-export", "fp32")  # the others take seconds each to write
CASES = [
    pytest.param(format, precision, marks=[] if (format, precision) == QUICK else [pytest.mark.slow])
    for format, writer in FORMATS.items()
    for precision in writer.PRECISIONS
]


def settled(model: Any, side: int = 48) -> Any:
    """The network with running statistics of images, in evaluation mode."""
    model.name_classes([f"class {index}" for index in range(model.num_classes)])
    base = model.inference_model().train()
    with torch.no_grad():
        for _ in range(3):
            base(torch.randn(4, model.model_args["in_chans"], side, side))
    model.load_state_dict(base.state_dict(), strict=False)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> CrossSimilarityNetwork:
    torch.manual_seed(0)
    return settled(qcs.create_model("qcs_nano", num_classes=4))


@pytest.fixture(scope="module")
def exported(model: CrossSimilarityNetwork, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    """Exports once per format and precision."""
    made: dict[tuple[str, str], Any] = {}

    def export(format: str, precision: str) -> Any:
        needs(format, precision)
        if (format, precision) not in made:
            path = tmp_path_factory.mktemp("exported") / f"nano{FORMATS[format].SUFFIX}"
            calibration = torch.randn(16, 3, 48, 48) if precision == "int8" else None
            made[format, precision] = export_model(
                model, path, format=format, precision=precision, calibration=calibration
            )
        return made[format, precision]

    return export


def needs(format: str, precision: str) -> None:
    for package in (*FORMATS[format].PACKAGES, *(FORMATS[format].INT8_PACKAGES if precision == "int8" else ())):
        pytest.importorskip(package)


@pytest.mark.parametrize(("format", "precision"), CASES)
def test_logits_are_those_of_the_network_for_batches_of_any_size(
    model: CrossSimilarityNetwork, exported: Any, format: str, precision: str
) -> None:
    run = load_export(exported(format, precision).path).run
    for batch in (1, 2, 7):
        found = compare(model, run, [torch.randn(batch, 3, 48, 48)])
        assert found.largest <= TOLERANCE[precision] * found.scale


@pytest.mark.parametrize(("format", "precision"), CASES)
def test_the_file_says_what_its_classes_are_and_how_to_prepare_images(
    exported: Any, format: str, precision: str
) -> None:
    about = load_export(exported(format, precision).path).metadata
    assert about["class_names"] == ["class 0", "class 1", "class 2", "class 3"]
    assert (about["architecture"], about["precision"], about["input_size"]) == ("qcs_nano", precision, [3, 48, 48])
    assert len(about["mean"]) == len(about["std"]) == 3
    assert about["interpolation"] == "bilinear"


@pytest.mark.parametrize(("format", "precision"), CASES)
def test_what_is_reported_is_what_was_written(exported: Any, format: str, precision: str) -> None:
    done = exported(format, precision)
    files = list(done.path.parent.iterdir())
    assert {file.suffix for file in files} == ({".xml", ".bin"} if format == "openvino" else {done.path.suffix})
    assert done.size == sum(file.stat().st_size for file in files)
    assert done.folded == 6
    assert 0 < done.difference.largest <= TOLERANCE[precision] * done.difference.scale


@pytest.mark.parametrize(("format", "precision"), [case for case in CASES if case.values[1] != "fp32"])
def test_fewer_bits_make_a_smaller_file_that_rounds_more(exported: Any, format: str, precision: str) -> None:
    full, narrow = exported(format, "fp32"), exported(format, precision)
    assert narrow.size < 0.65 * full.size
    assert narrow.difference.largest > 10 * full.difference.largest


@pytest.mark.slow
def test_other_programs_find_input_and_output_by_name(exported: Any) -> None:
    onnx, openvino = pytest.importorskip("onnx"), pytest.importorskip("openvino")
    graph = onnx.load(exported("onnx", "fp32").path).graph
    assert ([value.name for value in graph.input], [value.name for value in graph.output]) == (["images"], ["logits"])
    read = openvino.Core().read_model(exported("openvino", "fp32").path)
    assert (read.input("images").partial_shape.to_string(), read.output("logits").partial_shape.to_string()) == (
        "[?,3,48,48]",
        "[?,4]",
    )


@pytest.mark.slow
def test_a_bfloat16_file_of_openvino_is_compiled_for_bfloat16(exported: Any, model: CrossSimilarityNetwork) -> None:
    needs("openvino", "bf16")
    images = torch.randn(4, 3, 48, 48)
    full, narrow = (load_export(exported("openvino", p).path).run(images.numpy()) for p in ("fp32", "bf16"))
    assert np.abs(full - narrow).max() > 1e-4


def test_the_network_is_left_as_it_was(model: CrossSimilarityNetwork, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_model(model.train(), tmp_path / "a.pt2", format="torch-export", precision="bf16")
    assert model.training
    model.eval()
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_timm_backbone_is_exported_too(tmp_path: Path, format: str) -> None:
    needs(format, "fp32")
    network = settled(qcs.create_model("base_any", backbone="resnet18", img_size=96, embed_dim=32, num_classes=3), 96)
    done = export_model(network, tmp_path / f"resnet18{FORMATS[format].SUFFIX}", format=format)
    assert done.folded == 20
    assert load_export(done.path).run(np.zeros((3, 3, 96, 96), np.float32)).shape == (3, 3)


def test_a_grayscale_network_without_class_names_is_exported_too(tmp_path: Path) -> None:
    network = qcs.create_model("base_nano", in_chans=1, num_classes=3).eval()
    done = export_model(network, tmp_path / "gray.pt2", format="torch-export")
    about = load_export(done.path).metadata
    assert (about["class_names"], about["input_size"]) == (["0", "1", "2"], [1, 48, 48])


def test_the_file_says_how_to_make_its_input_from_a_photograph(tmp_path: Path) -> None:
    network = qcs.create_model("qcs_small", pretrained=True).eval()
    done = export_model(network, tmp_path / "a.pt2", format="torch-export", face_crop="loose")
    about = load_export(done.path).metadata
    assert (about["mode"], about["resize"], about["input_size"]) == ("L", [54, 54], [1, 48, 48])
    assert about["face_crop"] == "loose"
    assert np.array_equal(about["landmarks"], template("loose", 54))
    unknown = load_export(export_model(network, tmp_path / "b.pt2", format="torch-export").path).metadata
    assert (unknown["face_crop"], unknown["landmarks"]) == (None, None)


def test_the_program_of_the_documentation_classifies_as_pytorch_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("onnx", "fp32")
    network = qcs.create_model("qcs_small", pretrained=True).eval()
    export_model(network, tmp_path / "faces.onnx")
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (program,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Image.open" in code)
    assert len([line for line in program.splitlines() if line]) <= 20
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    for size in ((61, 83), (300, 211)):
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        image.save("face.png")
        names: dict[str, Any] = {}
        exec(compile(program, "docs/export.md", "exec"), names)
        expected = classify(network, image).probabilities
        assert expected is not None
        assert np.abs(names["probabilities"] - expected).max() < 1e-5


# Refused

REFUSED: list[tuple[dict[str, Any], str]] = [
    (dict(format="tflite"), "format must be one of onnx, openvino, torch-export; got 'tflite'"),
    (dict(precision="fp16"), "precision must be one of fp32, bf16, int8; got 'fp16'"),
    (dict(format="onnx", precision="bf16"), "onnx is not exported in bf16; formats that are: openvino, torch-export"),
    (
        dict(format="torch-export", precision="int8"),
        "torch-export is not exported in int8; formats that are: onnx, openvino",
    ),
    (dict(format="openvino", precision="int8"), "int8 needs calibration images, a few hundred .*"),
    (dict(format="openvino", calibration=torch.zeros(1)), "calibration is for int8 only, got precision fp32"),
    (dict(format="torch-export"), r"a file of format torch-export ends in \.pt2, got .*model\.onnx"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_options_that_do_not_fit_are_refused(
    model: CrossSimilarityNetwork, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        export_model(model, tmp_path / "new" / "model.onnx", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(0, 3, 48, 48), (3, 48, 48), (2, 3, 32, 32), (2, 1, 48, 48)])
def test_calibration_images_that_do_not_fit_are_refused(
    model: CrossSimilarityNetwork, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    needs("openvino", "int8")
    with pytest.raises(InputError, match=r"^expected calibration images \(N, 3, 48, 48\), got shape"):
        export_model(model, tmp_path / "a.xml", format="openvino", precision="int8", calibration=torch.zeros(shape))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("format", "precision", "package"),
    [("onnx", "fp32", "onnxscript"), ("openvino", "fp32", "openvino"), ("openvino", "int8", "nncf")],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, precision: str, package: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else object())
    model = qcs.create_model("base_nano")
    calibration = torch.zeros(1, 3, 48, 48) if precision == "int8" else None
    message = rf"^{format} needs {package}; run: pip install 'qcs-fer\[export\]'$"
    with pytest.raises(InputError, match=message):
        export_model(model, tmp_path / "a", format=format, precision=precision, calibration=calibration)


def test_exporting_to_torch_formats_needs_no_other_package(
    model: CrossSimilarityNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def guarded(name: str, *args: Any, **kwargs: Any) -> Any:
        importer = ((args and args[0]) or {}).get("__name__", "").partition(".")[0]
        if importer in ("qcs", "torch"):  # packages that earlier tests loaded import their own parts
            assert name.partition(".")[0] not in ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)
    export_model(model, tmp_path / "a.pt2", format="torch-export")


@pytest.mark.parametrize("name", ["gone.onnx", "model.safetensors"])
def test_reading_what_is_no_export_is_refused(tmp_path: Path, name: str) -> None:
    message = "no exported file at" if name == "gone.onnx" else "is not an exported file; expected one of .onnx, .xml"
    with pytest.raises(InputError, match=re.escape(message)):
        load_export(tmp_path / name)


def wrong(run: Callable[[Pixels], Pixels], change: Callable[[Pixels], Pixels]) -> Callable[[Pixels], Pixels]:
    return lambda images: change(run(images))


@pytest.mark.parametrize("change", [lambda x: x + 0.1, lambda x: x * np.nan], ids=["shifted", "not a number"])
def test_a_file_that_computes_something_else_never_appears(
    model: CrossSimilarityNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    (tmp_path / "a.pt2").write_text("older")
    read = FORMATS["torch-export"].load

    def load(path: Path) -> Any:
        loaded = read(path)
        return dataclasses.replace(loaded, run=wrong(loaded.run, change))

    monkeypatch.setattr(FORMATS["torch-export"], "load", load)
    with pytest.raises(
        InputError, match=r"^the torch-export file in fp32 differs from the network by .*Nothing was wri"
    ):
        export_model(model, tmp_path / "a.pt2", format="torch-export")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_a_full_disk_leaves_nothing(
    model: CrossSimilarityNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        export_model(model, tmp_path / "a.pt2", format="torch-export")
    assert not list(tmp_path.iterdir())


# Comparing and timing


class Sum(nn.Module):
    """Logits that are the sums of the channels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.sum((2, 3))


def test_a_comparison_measures_the_largest_difference_and_the_classes() -> None:
    images = torch.zeros(4, 2, 3, 3)
    images[:, 0, 0, 0] = torch.tensor([2.0, -1.0, 1.0, 4.0])
    changed = np.array([[-1, 0], [-1, 0.5], [1, 0], [4, 0]], np.float32)
    batches = iter((changed[:3], changed[3:]))
    found = compare(Sum(), lambda _: next(batches), [images[:3], images[3:]])
    assert (found.largest, found.scale, found.same_class) == (3.0, 4.0, 0.75)
    with pytest.raises(
        InputError, match=r"int8 differs from the network by 3 on logits up to 4; at most 1\.3 is .* calib"
    ):
        require_close(found, "int8", "it")


def test_latency_is_the_ratio_of_medians() -> None:
    took = measure_latency(Sum(), lambda images: images.sum((2, 3)), torch.zeros(3, 2, 4, 4), seconds=0.01)
    assert took.batch == 3
    assert took.eager > 0 < took.exported
    assert Latency(1, eager=3.0, exported=2.0).ratio == 1.5


def test_metadata_is_plain_json(exported: Any) -> None:
    with zipfile.ZipFile(exported("torch-export", "fp32").path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/qcs"))  # the folder depends on the version
        assert json.loads(archive.read(name))["class_names"][3] == "class 3"
