"""All that may name weights is resolved in one place, and what names none is refused with one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import timm

import qcs
from qcs.errors import InputError
from qcs.files import sha256
from qcs.models import find_weights, save_model, weights

SHIPPED = "qcs_small.ferplus"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A weights file in a folder of its own."""
    return save_model(qcs.create_model("base_nano"), tmp_path / "elsewhere" / "weights.safetensors")


def repository(folder: Path, file: Path) -> Path:
    """A folder as `qcs push` writes it, as far as weights are concerned."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(file.read_bytes())
    config = {"architecture": "base_nano", "qcs": {"sha256": {"model.safetensors": sha256(file)}}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


@pytest.mark.parametrize("name", [SHIPPED, "qcs_small"])
def test_shipped_weights_are_found_with_and_without_their_tag(name: str) -> None:
    assert find_weights(name) == weights.EMBEDDED / f"{SHIPPED}.safetensors"


def test_a_file_is_itself_and_a_run_folder_its_best_weights(tmp_path: Path, file: Path) -> None:
    best = tmp_path / "best.safetensors"
    best.touch()
    assert find_weights(tmp_path) == find_weights(str(tmp_path)) == best
    assert find_weights(str(file)) == file


def test_a_path_that_exists_goes_before_a_name(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file.rename("qcs_small")
    assert find_weights("qcs_small") == Path("qcs_small")


def test_the_folder_of_a_repository_is_checked(tmp_path: Path, file: Path) -> None:
    found = repository(tmp_path / "repository", file)
    assert find_weights(f"local-dir:{tmp_path / 'repository'}") == found
    found.write_bytes(found.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"is not the file that config\.json describes"):
        find_weights(f"local-dir:{tmp_path / 'repository'}")


def test_a_repository_is_fetched_into_the_cache_asked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, object]] = []

    def fetch(hub_id: str, *, cache_dir: object) -> Path:
        asked.append((hub_id, cache_dir))
        return file

    monkeypatch.setattr(weights, "fetch_weights", fetch)
    assert find_weights("hf-hub:me/faces@v1", cache_dir="cache") == file
    assert asked == [("me/faces@v1", "cache")]


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("qcs_smal", r" \(did you mean qcs_small( or qcs_small\.ferplus)?\?\)"),
        ("qcs_small.raf_db", r" \(did you mean .*qcs_small\.ferplus.*\?\)"),
        ("runs/first", ""),
        ("gone.safetensors", ""),
    ],
)
def test_what_names_no_weights_is_refused_with_one_line_that_says_what_is_accepted(source: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        find_weights(source)
    line = (
        rf"no weights found for '{re.escape(source)}': there is no such file or folder, and no weights of that name "
        rf"are shipped{hint}; give a weights file, a run folder, the name of shipped weights \(qcs_small\.ferplus\), "
        r"hf-hub:ORG/NAME\[@REVISION\] or local-dir:FOLDER"
    )
    assert re.fullmatch(line, str(caught.value))


@pytest.mark.parametrize(("source", "name"), [("qcs_ir50", "qcs_ir50.raf_db"), ("base_nano", "base_nano.untrained")])
def test_networks_without_weights_say_what_to_run(source: str, name: str) -> None:
    with pytest.raises(
        InputError, match=rf"^no weights for {re.escape(name)}: the package has no .*'qcs (convert|train) "
    ):
        find_weights(source)


def test_folders_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{tmp_path} is not a run folder with weights: it has no best\.safetensors"):
        find_weights(tmp_path)
    with pytest.raises(InputError, match=rf"{tmp_path} is not the folder of a repository: it has no config\.json"):
        find_weights(f"local-dir:{tmp_path}")


def test_a_name_that_climbs_out_of_the_package_names_nothing() -> None:
    assert weights.embedded_weights("../weights/qcs_small.ferplus") is None
    assert weights.embedded_weights("") is None


def test_exactly_what_is_shipped_is_listed_as_pretrained() -> None:
    shipped = sorted(path.stem for path in weights.EMBEDDED.glob("*.safetensors"))
    assert SHIPPED in shipped
    assert qcs.list_models(pretrained=True) == weights.list_embedded() == shipped
    assert qcs.list_models("qcs_small", pretrained=True) == [SHIPPED] and qcs.list_models("ir*", pretrained=True) == []
    ours = {name.partition(".")[0] for name in qcs.list_models()}
    listed = timm.list_models(pretrained=True)
    assert [name for name in listed if name.partition(".")[0] in ours] == shipped
    assert timm.list_models("qcs*", pretrained=True) == shipped
    assert timm.is_model_pretrained("qcs_small") and not timm.is_model_pretrained("qcs_ir50.raf_db")


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_network_with_shipped_weights_names_no_file_of_this_machine(pretrained: bool) -> None:
    assert "file" not in timm.create_model("qcs_small", pretrained=pretrained).pretrained_cfg
