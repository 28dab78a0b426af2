"""Write the model card of a published network from the files of its run; what is unknown is called unknown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from huggingface_hub import EvalResult, ModelCardData

from qcs.engine.evaluation import Evaluation, wilson
from qcs.engine.training.settings import setting_text
from qcs.escaping import printable
from qcs.imports import DISTRIBUTION, install_command
from qcs.models import Classifier, CrossSimilarityNetwork
from qcs.models.zoo import REPORTED_ACCURACY
from qcs.publish.record import Record
from qcs.version import __version__

METHODS = {
    1: "the base network of QCS, trained without its cross part",
    2: "Dual Cross Similarity (DCS): trained on pairs of faces of one expression",
    4: "Quadruplet Cross Similarity (QCS): trained on two faces of one expression and two of another",
}

USES = """\
## Intended use

Classifying the facial expression that one cropped face shows into the classes above: for research on facial expression
recognition, for comparisons of methods, for fine-tuning and for demonstrations.

Not for decisions about people, as in hiring, teaching, policing, insurance or health, and not for monitoring people
without their consent. In the European Union, emotion recognition at work and in education is largely prohibited
(Regulation (EU) 2024/1689, Article 5); check the law that applies to you.

## Limits of expression recognition

- An expression is not an emotion: people show what they do not feel and feel what they do not show. The network
  predicts which label annotators would give an image, nothing more.
- Expressions are mixed and gradual, and annotators disagree about them. The network names one class, and its
  probabilities are not calibrated unless somebody has checked that.
- The image must show one face that fills it, cropped as in the training data. Any other image gets a class too: the
  network does not detect that there is no face.
- Occlusion, low resolution, strong poses and unusual light reduce accuracy; by how much on your images only a test on
  your images tells.
"""

CITATION = """\
## How to cite

```bibtex
@inproceedings{wang2025qcs,
  title     = {QCS: Feature Refining from Quadruplet Cross Similarity for Facial Expression Recognition},
  author    = {Wang, Chengpeng and Chen, Li and Wang, Lili and Li, Zhaofan and Lv, Xuebin},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year      = {2025}
}
```
"""


def model_card(repository: str, model: Classifier, record: Record, license: str | None) -> str:
    """Return the card: Markdown below a YAML header.

    Args:
        repository: `ORG/NAME`.
        model: The network.
        record: Its weights and what is known about them.
        license: The license that its owner gives it; None if it is not stated.
    """
    header = ModelCardData(
        library_name="qcs",
        license=license,
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", "image-classification", "timm", "qcs"],
        metrics=["accuracy"] if record.scores else None,
        model_name=repository,
        eval_results=_eval_results(record) or None,
    )
    parts = [
        f"---\n{header.to_yaml()}\n---\n\n# {repository.partition('/')[2]}\n",
        _what(model),
        _usage(repository, model),
        _data(record),
        _results(model, record),
        USES,
        _bias(record),
        _license(license),
        *([CITATION] if isinstance(model, CrossSimilarityNetwork) else []),
        f"Written by `qcs push`, version {__version__}.\n",
    ]
    return "\n".join(parts)


def _eval_results(record: Record) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Facial expression recognition",
            dataset_type=record.data or "unknown",
            dataset_name=record.data or "unknown",
            dataset_split=split,
            metric_type=metric,
            metric_name=f"{split} {metric.replace('_', ' ')}",
            metric_value=round(value, 4),
        )
        for split, score in record.scores.items()
        for metric, value in (("accuracy", score.accuracy), ("balanced_accuracy", score.balanced_accuracy))
    ]


def _what(model: Classifier) -> str:
    cfg, args = model.pretrained_cfg, model.model_args
    base = sum(p.numel() for p in model.inference_model().parameters())
    everything = sum(p.numel() for p in model.parameters())
    channels, height, width = cfg["input_size"]
    backbone = f" on the backbone `{args['backbone']}`" if "backbone" in args else ""
    rows = {
        "Method": METHODS[model.branches] if isinstance(model, CrossSimilarityNetwork) else _other_method(model),
        "Architecture": f"`{cfg['architecture']}`{backbone}",
        "Classes, in order": ", ".join(map(_name, model.class_names)),
        "Input": f"{height} x {width} pixels, {channels} channels, mean {_numbers(cfg['mean'])}, "
        f"standard deviation {_numbers(cfg['std'])}, {cfg['interpolation']} interpolation, crop {cfg['crop_pct']:.4g}",
        "Parameters": f"{everything:,}, of which {base:,} are used at inference",
    }
    if isinstance(model, CrossSimilarityNetwork):
        rows["Residual stream, dropout"] = (
            f"{args['residual']}; {args['base_drop_rate']:g} in the base classifier, {args['cross_drop_rate']:g} in "
            "the cross classifier"
        )
        rows["Paper"] = "[arXiv 2411.01988](https://arxiv.org/abs/2411.01988)"
    return _table(("", ""), [(f"**{name}**", value) for name, value in rows.items()])


def _other_method(model: Classifier) -> str:
    """Return the paper and the official implementation of a network of another method."""
    cfg = model.pretrained_cfg
    if "paper_name" not in cfg:
        return "a classifier of timm, trained as a baseline"
    paper = ", ".join(str(cfg[key]) for key in ("paper_name", "paper_ids") if cfg.get(key))
    return f"{paper}; written anew, official implementation: {cfg.get('origin_url')}"


def _usage(repository: str, model: Classifier) -> str:
    channels, height, width = model.pretrained_cfg["input_size"]
    logits = "model(images)" if model.calibration is None else "model.calibration.label(model(images))"
    return f"""\
## How to use

Detect and classify the faces in a photograph:

```bash
{install_command("faces")}
qcs predict photo.jpg --weights hf-hub:{repository}
```

In Python, `pip install {DISTRIBUTION}` suffices for cropped faces:

```python
import qcs
from PIL import Image
from qcs.data import eval_transform
from timm.data import resolve_model_data_config

model = qcs.load_model("hf-hub:{repository}")
prepare = eval_transform(resolve_model_data_config(model))
face = Image.new("RGB", ({width}, {height}))  # instead: Image.open("face.jpg"), one cropped face
images = prepare(face)[None]  # (1, {channels}, {height}, {width})
print(dict(zip(model.class_names, {logits}.softmax(-1)[0].tolist())))
```

After `import qcs`, `timm.create_model("hf-hub:{repository}", pretrained=True)` gives the same network. With another
`num_classes` its heads start fresh, for fine-tuning.
"""


def _data(record: Record) -> str:
    if not record.run:
        return "## Training\n\nUnknown: these weights came without the files of the run that made them.\n"
    sets = record.run.get("images", {})
    classes = list(next(iter(sets.values()), {}))
    rows = [(_name(name), *(f"{sets[split].get(name, 0):,}" for split in sets)) for name in classes]
    table = _table(("images of class", *sets), rows) if rows else "Images per class are unknown.\n"
    settings = ", ".join(f"{name} {setting_text(value)}" for name, value in record.settings.items())
    chosen = record.run.get("model_chosen_on", "unknown")
    return f"""\
## Training

Trained with `qcs train` on the data `{record.data}`; the weights are those of the epoch that was best on {chosen}.

{table}
Settings: {settings}.
"""


def _results(model: Classifier, record: Record) -> str:
    parts = [_result(split, score, record) for split, score in record.scores.items()]
    if not parts:
        parts = ["Unknown: no evaluation of these weights lies beside them.\n"]
    cfg = model.pretrained_cfg
    name = f"{cfg['architecture']}.{cfg.get('tag')}"
    if name in REPORTED_ACCURACY:
        parts.append(
            f"The paper reports {REPORTED_ACCURACY[name]:.2%} for its own weights of `{name}`; that figure was not "
            "measured on these.\n"
        )
    return "\n".join(["## Results\n", *parts])


def _result(split: str, score: Evaluation, record: Record) -> str:
    recall = [
        (_name(name), f"{total:,}", _share(right, total)) for name, (right, total) in score.per_class_counts.items()
    ]
    confusion = [
        (f"**{_name(name)}**", *map(str, row)) for name, row in zip(score.classes, score.confusion, strict=True)
    ]
    note = " The weights were chosen on these images, so this figure is optimistic." if split == "validation" else ""
    return f"""\
### {split.capitalize()} images of {record.data}

Accuracy {_share(score.correct, score.images)}, the mean over classes {score.balanced_accuracy:.2%}, on {score.images:,}
images.{note} Intervals are 95% confidence intervals (Wilson).

{_table(("class", "images", "accuracy"), recall)}
Confusion matrix, rows the true class and columns the predicted one:

{_table(("", *map(_name, score.classes)), confusion)}"""


def _bias(record: Record) -> str:
    text = """\
## Bias

Age, gender, skin color and culture of the people in the training data are unknown to this card, and so is how
accuracy differs between them; assume that it does. The labels reflect the views of the annotators.
"""
    score = record.scores.get("test") or record.scores.get("validation")
    if score is None:
        return text
    shares = score.per_class
    best, worst = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
    return (
        f"{text}\nClasses differ too: the accuracy is {shares[best]:.0%} on {_name(best)} and "
        f"{shares[worst]:.0%} on {_name(worst)}.\n"
    )


def _license(license: str | None) -> str:
    stated = (
        f"`{license}`, as its owner states." if license else "Not stated; ask the owner before you use the weights."
    )
    return f"## License\n\n{stated} The data that a network was trained on may restrict its use further.\n"


def _share(right: int, total: int) -> str:
    low, high = wilson(right, total)
    return f"{right / total:.2%} ({low:.1%} to {high:.1%})"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _name(name: str) -> str:
    r"""Escape the name of a class for Markdown.

    Example:
        >>> print(_name("a|b <i>_"), _name("sad"))
        a\|b \<i\>\_ sad
    """
    return re.sub(r"([\\`*_\[\]<>|$#~&!])", r"\\\1", printable(name))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
