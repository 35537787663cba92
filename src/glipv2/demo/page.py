"""The page, made of gradio's parts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glipv2.config import DemoConfig
from glipv2.demo.asking import MOST_BYTES, QUESTIONS, Shown, ask, examples, tasks_of
from glipv2.errors import UserError
from glipv2.inference import Predictor

INSTALL = 'pip install "glipv2[demo]"'
WAITING = 16  # requests; more are told to come again
KEPT = 300  # seconds after which files that the page was sent or sent itself are deleted


def gradio_library() -> Any:
    """The library, told to stay at home; UserError where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise UserError(f"gradio is not installed; {INSTALL}") from error
    return gradio


def serve(config: DemoConfig) -> None:
    """Shows the page until Ctrl-C."""
    gradio_library()
    model = Predictor.load(config.weights, config.device)
    with kept_folder() as folder:
        page = demo_page(model, folder, config.threshold)
        print(f"http://{config.host}:{config.port} (Ctrl-C ends it)", flush=True)
        try:
            launched(page, config)
        finally:
            page.close(verbose=False)


def launched(page: Any, config: DemoConfig, wait: bool = True) -> Any:
    """Opens the page's port; UserError where it can't be had."""
    try:
        return page.queue(max_size=WAITING, default_concurrency_limit=1).launch(
            server_name=config.host, server_port=config.port, inbrowser=config.open, prevent_thread_lock=not wait,
            max_file_size=MOST_BYTES, share=False, show_error=False, quiet=True, footer_links=[], ssr_mode=False,
            css=CSS, theme=_theme(),
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"port {config.port} can't be opened on {config.host} ({error}); try port=7861") from error


@contextmanager
def kept_folder() -> Iterator[Path]:
    """Where uploads and downloads lie while the page is open; nothing of it stays."""
    with tempfile.TemporaryDirectory(prefix="glipv2-demo-") as folder:
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


CSS = "mark { padding: 0 .25em; border-radius: .2em } table td, table th { padding: .1em .7em; text-align: left }"


def _theme() -> Any:
    gradio = gradio_library()
    return gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # none that is fetched


def demo_page(model: Predictor, folder: Path, threshold: float = 0.3) -> Any:
    """Everything on the page and what happens; files that it makes lie in `folder`."""
    gradio = gradio_library()
    tasks, pictures = tasks_of(model), examples(folder)
    with gradio.Blocks(title="glipv2", delete_cache=(KEPT, KEPT), analytics_enabled=False) as page:
        state = gradio.State(None, time_to_live=KEPT)
        gradio.Markdown("# glipv2\nA picture and words in, boxes, masks, answers and captions out. Nothing is kept.")
        with gradio.Row():
            with gradio.Column(min_width=300):
                upload = gradio.File(
                    label=f"Your picture (at most {MOST_BYTES // 2**20} MB)", type="binary", height=110
                )
                gallery = gradio.Gallery(
                    [str(path) for path, _ in pictures], label="or one of these", columns=4, height=150,
                    allow_preview=False, interactive=False, elem_id="examples", buttons=[],
                )  # fmt: skip
                task = gradio.Radio(
                    [(QUESTIONS[name].title, name) for name in tasks], value=tasks[0], label="Task", elem_id="task"
                )
                text = gradio.Textbox(**_field(tasks[0]), lines=1, submit_btn=False, elem_id="text")
                slider = gradio.Slider(0, 1, threshold, step=0.01, label="Confidence", elem_id="confidence")
                button = gradio.Button("Ask", variant="primary", elem_id="ask")
            with gradio.Column(min_width=300):
                drawn = gradio.Image(label="Found", interactive=False, format="png", elem_id="drawn", buttons=[])
                told = gradio.HTML(elem_id="told")
                with gradio.Row():
                    as_json = gradio.DownloadButton("JSON", interactive=False, elem_id="json")
                    as_png = gradio.DownloadButton("Picture", interactive=False, elem_id="picture")
        chosen = gradio.State(0)
        outputs = [drawn, told, as_json, as_png]

        def asked(content: bytes | None, number: int, name: str, words: str, limit: float) -> tuple[Any, ...]:
            try:
                shown = ask(model, pictures[number][0].read_bytes() if content is None else content, name, words)
            except UserError as error:
                raise gradio.Error(str(error), print_exception=False) from None
            return shown, *told_about(shown, limit)

        def told_about(shown: Shown | None, limit: float) -> tuple[Any, ...]:
            return (gradio.skip(),) * 4 if shown is None else _outputs(shown, limit, folder)

        def picked(name: str, event: Any) -> tuple[Any, ...]:
            return event.index, None, _text(name, pictures[event.index][1])

        picked.__annotations__["event"] = gradio.SelectData  # by which gradio knows what it is

        given = [upload, chosen, task, text, slider]
        gradio.on([button.click, text.submit], asked, given, [state, *outputs], concurrency_limit=1, api_name="ask")
        slider.release(told_about, [state, slider], outputs, show_progress="hidden", api_visibility="private")
        gallery.select(picked, [task], [chosen, upload, text], api_visibility="private")
        task.change(lambda name: gradio.update(**_field(name)), [task], [text], api_visibility="private")
    return page


def _field(task: str) -> dict[str, Any]:
    """How the field for text looks for a task."""
    question = QUESTIONS[task]
    return {"label": question.label or "Nothing to type", "value": question.example, "visible": bool(question.label)}


def _text(task: str, names: str) -> str:
    """What fits an example picture: its names, where names are asked for."""
    return names if task in ("detection", "instance_segmentation") else QUESTIONS[task].example


def _outputs(shown: Shown, threshold: float, folder: Path) -> tuple[Any, ...]:
    gradio = gradio_library()
    own = Path(tempfile.mkdtemp(dir=folder))
    (own / "glipv2.json").write_text(shown.document(threshold), "utf-8")
    drawn = shown.drawn(threshold)
    drawn.save(own / "glipv2.png")
    files = [gradio.update(value=str(own / f"glipv2.{kind}"), interactive=True) for kind in ("json", "png")]
    return drawn, shown.markup(threshold), *files
