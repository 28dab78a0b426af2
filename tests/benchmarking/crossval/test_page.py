"""The section on four networks is that of the committed results, and the plan trains all for equally many views."""

from __future__ import annotations

import json

from benchmarks.crossval.page import HERE, PAGE, results, section
from qcs.crossval import Plan
from qcs.crossval.tables import summary


def test_the_committed_section_and_figures_are_those_of_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8").count(section(results())) == 1
    assert json.loads((HERE / "crossval.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(summary(results()))
    )


def test_networks_see_equally_many_images() -> None:
    plan = Plan.read(HERE / "plan.toml")
    for images, expected in ((1199, 864), (1597, 1248)):  # training images of the published and the honest protocol
        views = set()
        for name in plan.networks:
            config, branches = plan.config(name, "ferplus"), 4 if name.startswith("qcs") else 1
            anchors = config.anchors_per_step(branches)
            views.add(config.epochs * int(config.fraction * images / anchors) * anchors * branches)
        assert views == {expected}


def test_no_result_names_a_folder_of_a_machine() -> None:
    for result in results().results:
        assert result.record["settings"]["data"] == "ferplus.npz"
        assert "/" not in json.dumps(result.record["settings"])
