"""Build the page with Gradio: a drop area for images, a checkbox and the answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qcs.serve.rendering import render, text
from qcs.serve.uploads import MEGABYTES, MOST_IMAGES

if TYPE_CHECKING:
    import gradio

TITLE = "qcs: what the network compares"
QUEUE = 8  # maximum number of waiting requests


def build_page(answer: Callable[[Any, bool], str], about: str) -> gradio.Blocks:
    """Build the page.

    Args:
        answer: Maps the dropped files and the checkbox to HTML.
        about: A line about the network.

    Returns:
        The page, to be mounted in a server.
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
        cropped = gr.Checkbox(
            label="Each image is a cropped face: skip face detection", container=False, elem_id="cropped"
        )
        shown = html(elem_id="answer", min_height=120)
        html(render("foot.html"))
        gr.on(
            [drop.submit, cropped.change],
            answer,
            [drop, cropped],
            shown,
            trigger_mode="always_last",
            concurrency_limit=1,
            api_visibility="private",
        )
    blocks.queue(max_size=QUEUE)
    blocks.state_session_capacity = 1  # number of visitors whose last values Gradio keeps in memory; unused here
    return blocks
