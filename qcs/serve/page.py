"""The page itself, in Gradio: a place to drop images, a switch, and the answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from qcs.serve.rendering import render, text
from qcs.serve.uploads import MEGABYTES, MOST_IMAGES

TITLE = "qcs: what the network compares"
WAITING = 8  # answers at most that may be waited for


def page(answer: Callable[[Any, bool], str], about: str) -> Any:
    """The page.

    Args:
        answer: What to show for the files and the switch, as HTML.
        about: Which network answers, in a line.

    Returns:
        Gradio's blocks, to be mounted in a server.
    """
    import gradio as gr

    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        html = partial(gr.HTML, apply_default_css=False)
        html(render("head.html", about=about))
        drop = html(
            [],
            html_template=text("drop.html"),
            js_on_load=text("drop.js"),
            most_images=MOST_IMAGES,
            megabytes=MEGABYTES,
        )
        cut_out = gr.Checkbox(
            label="Each image is a face already, cut out: take it as it is", container=False, elem_id="cut-out"
        )
        shown = html(elem_id="answer", min_height=120)
        html(render("foot.html"))
        gr.on(
            [drop.submit, cut_out.change],
            answer,
            [drop, cut_out],
            shown,
            trigger_mode="always_last",
            concurrency_limit=1,
            api_visibility="private",
        )
    blocks.queue(max_size=WAITING)
    blocks.state_session_capacity = 1  # Gradio keeps the last values of so many visitors in memory, here to no use
    return blocks
