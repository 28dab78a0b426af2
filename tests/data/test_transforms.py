from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from qcs.data.readers import read
from qcs.data.transforms import Augmentation, _Placement, eval_transform, train_transform
from qcs.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOR: dict[str, Any] = {
    "input_size": (3, 24, 24),
    "mean": MEAN,
    "std": STD,
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "crop_mode": "center",
}
GRAYSCALE = COLOR | {"input_size": (1, 24, 24), "mean": (0.5,), "std": (0.25,)}
NOTHING = Augmentation(flip=0, color_jitter=(0, 0, 0, 0), erasing=None)


def picture(mode: str, width: int = 24, height: int = 24) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("config", [COLOR, GRAYSCALE])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1"])
@pytest.mark.parametrize("size", [(24, 24), (31, 50)])
def test_any_image_becomes_float32_of_the_models_input_size(
    config: dict[str, Any], mode: str, size: tuple[int, int]
) -> None:
    for transform in (eval_transform(config), train_transform(config, Augmentation(resize=28, rotation=10))):
        pixels = transform(picture(mode, *size))
        assert (pixels.dtype, tuple(pixels.shape)) == (torch.float32, config["input_size"])
        assert pixels.is_contiguous()
        assert pixels.isfinite().all()


def test_color_is_scaled_to_one_then_normalized_per_channel() -> None:
    image = picture("RGB")
    scaled = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    expected = (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(eval_transform(COLOR)(image), expected)


def test_gray_models_see_the_luminance_of_color_images() -> None:
    image = picture("RGB")
    expected = (torch.from_numpy(np.array(image.convert("L")))[None] / 255 - 0.5) / 0.25
    torch.testing.assert_close(eval_transform(GRAYSCALE)(image), expected)


@pytest.mark.parametrize("augmentation", [NOTHING, Augmentation(), Augmentation(resize=30, rotation=20)])
def test_a_gray_image_is_treated_as_the_equal_color_image(augmentation: Augmentation) -> None:
    transform = train_transform(COLOR, augmentation)
    for seed in range(10):
        torch.manual_seed(seed)
        gray = transform(picture("L"))
        torch.manual_seed(seed)
        color = transform(picture("L").convert("RGB"))
        # hue and saturation of equal channels round to within a gray level or two
        torch.testing.assert_close(gray, color, atol=2.5 / 255 / min(STD), rtol=0)


@pytest.mark.parametrize("config", [COLOR, GRAYSCALE])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_no_augmentation_is_the_evaluation_transform(config: dict[str, Any], mode: str) -> None:
    image = picture(mode, 40, 33)
    assert torch.equal(train_transform(config, NOTHING)(image), eval_transform(config)(image))


def test_the_whole_image_is_squeezed_whatever_its_proportions() -> None:
    image = Image.new("L", (80, 40))
    image.paste(255, (40, 0, 80, 40))
    pixels = eval_transform(GRAYSCALE)(image)[0]
    assert (pixels[:, :11] == -2).all()
    assert (pixels[:, 13:] == 2).all()


@pytest.mark.parametrize(("crop_pct", "resize"), [(24 / 30, None), (1.0, 30)])
def test_evaluation_crops_the_center_after_resizing(crop_pct: float, resize: int | None) -> None:
    pixels = eval_transform(COLOR | {"crop_pct": crop_pct}, resize)(picture("RGB", 30, 30))
    assert torch.equal(pixels, eval_transform(COLOR)(picture("RGB", 30, 30).crop((3, 3, 27, 27))))


def test_training_crops_at_random_after_resizing() -> None:
    coordinates = Image.fromarray((np.arange(26)[:, None] * 8 + np.arange(26)).astype(np.uint8))
    transform = train_transform(GRAYSCALE, replace(NOTHING, resize=26))
    levels = [transform(coordinates) * (255 * 0.25) + 255 * 0.5 for _ in range(60)]
    corners = {round(float(level[0, 0, 0])) for level in levels}
    assert corners == {8 * top + left for top in range(3) for left in range(3)}


def test_inputs_that_are_not_square_keep_their_proportions() -> None:
    config = COLOR | {"input_size": (3, 24, 36)}
    pixels = eval_transform(config, resize=28)(picture("RGB", 42, 28))
    assert torch.equal(pixels, eval_transform(config)(picture("RGB", 42, 28).crop((3, 2, 39, 26))))


def test_the_models_interpolation_is_used() -> None:
    image = picture("RGB", 60, 60)
    for name, filter_ in [("bicubic", Image.Resampling.BICUBIC), ("nearest", Image.Resampling.NEAREST)]:
        pixels = eval_transform(COLOR | {"interpolation": name})(image)
        assert torch.equal(pixels, eval_transform(COLOR)(image.resize((24, 24), filter_)))


def test_the_global_generator_decides_everything() -> None:
    transform = train_transform(COLOR, Augmentation(resize=28, rotation=10))
    image = picture("RGB")
    torch.manual_seed(5)
    first = [transform(image) for _ in range(5)]
    torch.manual_seed(5)
    again = [transform(image) for _ in range(5)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(first[0], other) for other in first[1:])


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_rotation_crop_and_flip_in_one_pass_are_torchvisions_one_after_another(mode: str, flip: float) -> None:
    image, levels = picture(mode, 33, 29), 255 * torch.tensor(STD).view(3, 1, 1)
    config = COLOR | {"input_size": (3, 24, 28)}
    place = _Placement([24, 28], replace(NOTHING, rotation=20.0, resize=29, flip=flip))
    for seed in range(20):
        torch.manual_seed(seed)
        placed = place(image)
        torch.manual_seed(seed)
        angle, top, left, *_ = torch.rand(5).tolist()
        expected = TF.rotate(image, (2 * angle - 1) * 20, InterpolationMode.BILINEAR)
        expected = TF.crop(expected, int(6 * top), int(6 * left), 24, 28)
        expected = TF.horizontal_flip(expected) if flip else expected
        apart = (eval_transform(config)(placed) - eval_transform(config)(expected)).abs() * levels
        assert apart.max() < 1.01 and (apart > 0.5).float().mean() < 0.01  # Pillow rounds, and so may differ by a level


def test_flip_mirrors_the_image() -> None:
    transform = train_transform(COLOR, replace(NOTHING, flip=1.0))
    flipped = eval_transform(COLOR)(picture("RGB")).flip(-1)
    assert all(torch.equal(transform(picture("RGB")), flipped) for _ in range(10))


def test_rotation_stays_within_its_angle() -> None:
    bar = Image.new("L", (101, 101))
    bar.paste(255, (50, 0, 51, 101))
    config = GRAYSCALE | {"input_size": (1, 101, 101)}
    transform = train_transform(config, replace(NOTHING, rotation=12.0))
    offsets = [int(transform(bar)[0, 5].argmax()) - 50 for _ in range(40)]
    furthest = 45 * np.tan(np.radians(12))
    assert 0.6 * furthest < max(offsets) <= furthest + 1
    assert 0.6 * furthest < -min(offsets) <= furthest + 1


def test_scaling_stays_within_its_share() -> None:
    square = Image.new("L", (100, 100))
    square.paste(255, (30, 30, 70, 70))
    transform = train_transform(GRAYSCALE | {"input_size": (1, 100, 100)}, replace(NOTHING, scale=0.2))
    sides = [float((transform(square)[0, 50] > 0).sum()) for _ in range(60)]
    assert 40 * 0.8 - 1 <= min(sides) < 40 * 0.85
    assert 40 * 1.15 < max(sides) <= 40 * 1.2 + 1


def test_stretching_changes_the_width_alone() -> None:
    square = Image.new("L", (100, 100))
    square.paste(255, (30, 30, 70, 70))
    transform = train_transform(GRAYSCALE | {"input_size": (1, 100, 100)}, replace(NOTHING, flip=0.5, stretch=0.2))
    seen = [transform(square)[0] > 0 for _ in range(60)]
    widths, heights = ([float(image.sum(side).max()) for image in seen] for side in (1, 0))
    assert 40 * 0.8 - 1 <= min(widths) < 40 * 0.85 and 40 * 1.15 < max(widths) <= 40 * 1.2 + 1
    assert min(heights) >= 39 and max(heights) <= 41


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_degradation_darkens_a_quarter_of_the_images(mode: str) -> None:
    config = GRAYSCALE if mode == "L" else COLOR
    transform = train_transform(config, replace(NOTHING, low_light=0.9))
    torch.manual_seed(0)
    levels = np.array([float(transform(picture(mode)).mean()) for _ in range(200)])
    assert 0.15 < (levels < levels.max()).mean() < 0.35


def test_jitter_changes_brightness_within_its_share() -> None:
    transform = train_transform(GRAYSCALE, replace(NOTHING, color_jitter=(0.2, 0.0, 0.0, 0.0)))
    levels = [float(transform(Image.new("L", (24, 24), 100)).mean()) * 255 * 0.25 + 127.5 for _ in range(100)]
    assert 79 <= min(levels) < 85
    assert 115 < max(levels) <= 121


@pytest.mark.parametrize("area", [(0.02, 0.1), (0.3, 0.3)])
def test_erasing_blanks_its_share_with_the_mean_color_on_every_second_image(area: tuple[float, float]) -> None:
    config = COLOR | {"input_size": (3, 100, 100)}
    transform = train_transform(config, replace(NOTHING, erasing=area))
    white = Image.new("L", (100, 100), 255)
    shares = np.array([float((transform(white) == 0).all(dim=0).float().mean()) for _ in range(200)])
    erased = shares[shares > 0]
    assert 70 < len(erased) < 130
    assert area[0] - 0.01 <= erased.min() <= erased.max() <= area[1] + 0.01  # sides are whole pixels


@pytest.mark.parametrize("make", [eval_transform, lambda config: train_transform(config, Augmentation(resize=30))])
def test_worker_processes_can_receive_it(make: Any) -> None:
    transform = make(COLOR)
    copy = pickle.loads(pickle.dumps(transform))
    torch.manual_seed(1)
    expected = transform(picture("L"))
    torch.manual_seed(1)
    assert torch.equal(copy(picture("L")), expected)


def test_it_takes_what_timm_resolves_for_a_model() -> None:
    config = timm.data.resolve_model_data_config(timm.create_model("test_resnet", pretrained=False))
    assert tuple(eval_transform(config)(picture("L")).shape) == config["input_size"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip": 1.5}, "flip is 1.5; expected a probability"),
        ({"rotation": -1.0}, "rotation is -1.0; expected degrees"),
        ({"scale": 1.0}, "scale is 1.0; expected a relative change"),
        ({"stretch": -0.1}, "stretch is -0.1; expected a relative change"),
        ({"low_light": 1.0}, "low_light is 1.0; expected a relative change"),
        ({"blur": -1.0}, "blur is -1.0; expected a standard deviation in pixels"),
        ({"noise": -1.0}, "noise is -1.0; expected a standard deviation in levels of 255"),
        ({"color_jitter": (0.2, 0.2, 0.2, 0.6)}, "hue at most 0.5"),
        ({"color_jitter": (0.2, -0.2, 0.2, 0.1)}, "none negative"),
        ({"color_jitter": (0.2, 0.2)}, "expected brightness, contrast, saturation and hue"),
        ({"erasing": (0.0, 0.1)}, "expected the minimum and maximum fraction of the area"),
        ({"erasing": (0.2, 0.1)}, "expected the minimum and maximum fraction of the area"),
    ],
)
def test_augmentations_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Augmentation(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": (4, 24, 24)}, "the model takes 4 channels"),
        ({"input_size": (1, 24, 24)}, "takes 1 channels, with 3 means and 3 standard deviations"),
        ({"interpolation": "random"}, "'random' is not a valid .* expected one of nearest, .*bilinear"),
    ],
)
def test_data_configs_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        eval_transform(COLOR | change)


@pytest.mark.parametrize("key", ["input_size", "mean", "std", "interpolation", "crop_pct"])
def test_a_missing_entry_of_the_data_config_is_named(key: str) -> None:
    with pytest.raises(InputError, match=f"lacks {key}; pass the result of timm.data.resolve_model_data_config"):
        eval_transform({name: value for name, value in COLOR.items() if name != key})


def test_resizing_below_the_input_size_is_refused() -> None:
    message = "resize is 20; expected at least 24, the input size of the model"
    with pytest.raises(InputError, match=message):
        eval_transform(COLOR, 20)
    with pytest.raises(InputError, match=message):
        train_transform(COLOR, Augmentation(resize=20))


def test_real_photographs_pass_through(shared_data: Path) -> None:
    faces = read(shared_data / "muxspace" / "labels.csv")["validation"].subset(range(20))
    transform = train_transform(COLOR, Augmentation(resize=26, rotation=10))
    changed = faces.with_transform(transform)
    batch = torch.stack([changed[i][0] for i in range(len(changed))])
    assert batch.shape == (20, 3, 24, 24)
    assert batch.std() > 0.3
