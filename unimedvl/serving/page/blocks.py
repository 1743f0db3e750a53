"""The layout of the page: its parts, and what they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from unimedvl.serving.page.events import CHAT, Handlers, Settings
from unimedvl.serving.page.examples import EXAMPLES
from unimedvl.serving.page.pieces import banner
from unimedvl.serving.page.session import Sessions
from unimedvl.serving.page.task_forms import TITLES, Field, fields, takes_images
from unimedvl.serving.page.upload import AS_SAVED
from unimedvl.tasks import TASKS, Task

if TYPE_CHECKING:
    from unimedvl.serving.service import Service

_TITLE = "<h1>UniMedVL</h1><p>One model that reads medical images and makes them.</p>"
# Files come by a route of the server's own (`mount.py`), which keeps them in memory; Gradio would write them to a disk.
_UPLOADER = """
<div class="drop" data-most-bytes="{bytes}" data-most-files="{images}">
 <label class="button" for="files">Choose images</label>
 <input id="files" type="file" multiple aria-describedby="kinds">
 <p id="kinds">or drop them here: DICOM, NIfTI, PNG, JPEG, TIFF, BMP, WebP</p>
 <progress max="1" value="0" hidden aria-label="Upload"></progress>
 <div id="refused" role="alert"></div>
</div>"""
_EXAMPLE = """<button type="button" data-example="{key}"><img src="page/examples/{key}.png" alt="" loading="lazy">
<span>{title}</span></button>"""
_ON_EXAMPLE = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-example]');
  if (button) trigger('click', {example: button.dataset.example});
});"""
_ON_UPLOAD = "element.addEventListener('uploaded', () => trigger('change'));"
_TOKEN = "() => window.unimedvl.secret()"


@dataclass
class Parts:
    """What is on the page. forms: by task; fields: by task and field."""

    forms: dict[str, gr.Column] = field(default_factory=dict)
    fields: dict[tuple[str, str], Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:  # the others are set one by one, below
        raise AttributeError(name)

    def all(self) -> list[Any]:
        """Whatever may change."""
        still = ("forms", "fields", "settings", "uploader", "gallery", "message")  # the message is among the fields
        single = [v for k, v in vars(self).items() if k not in still]
        return [*single, *self.forms.values(), *self.fields.values()]


def build(service: Service, sessions: Sessions, documented: bool) -> gr.Blocks:
    """The page over a server. documented: it also shows a page of its API, at ``docs``."""
    with gr.Blocks(analytics_enabled=False, title="UniMedVL", fill_width=True) as page:
        parts = Parts()
        parts.secret = gr.Textbox(visible="hidden", elem_id="secret", label="Tab")
        with gr.Row(elem_id="top"):
            gr.HTML(_TITLE, elem_id="title")
            parts.banner = gr.HTML(banner(service), elem_id="banner")
        parts.timer = gr.Timer(2, active=True)
        with gr.Row(elem_id="both"):
            with gr.Column(scale=4, min_width=300, elem_id="study"):
                _study(parts, service)
            with gr.Column(scale=6, min_width=300, elem_id="work"):
                _work(parts, service)
        with gr.Accordion("History of this tab", open=False, elem_id="past"):
            parts.history = gr.HTML(elem_id="history")
            parts.clear = gr.Button("Forget everything of this tab", size="sm", interactive=False, elem_id="clear")
        api = '<a href="docs">API</a>' if documented else '<a href="openapi.json">API</a>'
        gr.HTML(
            f"<p>The same tasks for programs: {api}. Images and results are kept in memory alone, until this tab is"
            " closed.</p>", elem_id="foot",
        )  # fmt: skip
        _wire(page, parts, Handlers(service, sessions, parts))
    return page.queue(default_concurrency_limit=None, max_size=256, api_open=False)


def _study(parts: Parts, service: Service) -> None:
    limits = service.limits
    gr.HTML("<h2>Images</h2>")
    parts.uploader = gr.HTML(
        _UPLOADER.format(bytes=limits.body_bytes, images=limits.images), elem_id="uploader", js_on_load=_ON_UPLOAD
    )
    parts.problem = gr.HTML(elem_id="problem")
    parts.viewer = gr.HTML(elem_id="viewer")
    with gr.Column(elem_id="controls"):
        parts.which = gr.Slider(1, 2, 1, step=1, label="Image", visible=False, elem_id="which")
        parts.together = gr.Checkbox(label="Give the model all images together", visible=False, elem_id="together")
        parts.place = gr.Slider(1, 2, 1, step=1, label="Slice", visible=False, elem_id="place")
        parts.volume = gr.Slider(1, 2, 1, step=1, label="Volume", visible=False, elem_id="volume")
        parts.plane = gr.Radio(["axial", "coronal", "sagittal"], label="Plane", visible=False, elem_id="plane")
        parts.window = gr.Dropdown([AS_SAVED], value=AS_SAVED, label="Window", visible=False, elem_id="window")
        with gr.Row():
            parts.center = gr.Number(label="Center", visible=False, min_width=100, elem_id="center")
            parts.width = gr.Number(label="Width", visible=False, min_width=100, elem_id="width")
    parts.remove = gr.Button("Remove this image", size="sm", visible=False, elem_id="remove")
    with gr.Accordion("Example studies, simulated", open=True, elem_id="samples"):
        buttons = "".join(_EXAMPLE.format(key=e.key, title=escape(e.title)) for e in EXAMPLES.values())
        parts.gallery = gr.HTML(f'<div class="gallery">{buttons}</div>', elem_id="examples", js_on_load=_ON_EXAMPLE)


def _work(parts: Parts, service: Service) -> None:
    tasks = [t for t in TASKS.values() if service.settings.generation or not t.draws]
    choices = [(TITLES[CHAT], CHAT), *((TITLES[t.name], t.name) for t in tasks)]
    gr.HTML("<h2>Task</h2>")
    parts.task = gr.Radio(choices, value="ask", label="Task", show_label=False, container=False, elem_id="task")
    parts.chatbot = gr.Chatbot(
        visible=False, label="Conversation", height=420, elem_id="chat", latex_delimiters=[], buttons=["copy"],
        placeholder="Ask about the image that is shown; it goes with your next message.", feedback_options=None,
    )  # fmt: skip
    _chat_form(parts, service)
    for task in tasks:
        _form(parts, task)
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        _settings(parts)
    with gr.Row(elem_id="go"):
        parts.run = gr.Button("Run", variant="primary", elem_id="run", min_width=100)
        parts.cancel = gr.Button("Cancel", interactive=False, elem_id="cancel", min_width=100)
        parts.new = gr.Button("New conversation", visible=False, elem_id="new", min_width=100)
    parts.status = gr.HTML(elem_id="status")
    parts.stage = gr.HTML(elem_id="stage")


def _chat_form(parts: Parts, service: Service) -> None:
    with gr.Column(visible=False, elem_id="form-chat") as form:
        parts.message = gr.Textbox(
            label="Message", placeholder="What does this image show?", lines=1, max_lines=6, elem_id="chat-message"
        )
        with gr.Row():
            think = gr.Checkbox(label="Think first", elem_id="chat-think", container=False)
            draw = gr.Checkbox(
                label="Answer with an image", elem_id="chat-draw", container=False, visible=service.settings.generation
            )
    parts.forms[CHAT] = form
    parts.fields |= {(CHAT, "message"): parts.message, (CHAT, "think"): think, (CHAT, "draw"): draw}


def _form(parts: Parts, task: Task) -> None:
    """The form of a task, from what it takes."""
    needs = "" if takes_images(task) else " It takes no image."
    if task.inputs:
        needs = " It takes the image that is shown."
    with gr.Column(visible=task.name == "ask", elem_id=f"form-{task.name}") as form:
        summary = task.summary[:1].upper() + task.summary[1:]
        gr.HTML(f'<p class="quiet">{escape(summary)}.{needs}</p>')
        for one in fields(task):
            parts.fields[task.name, one.name] = _part(one, f"{task.name}-{one.name}")
    parts.forms[task.name] = form


def _part(one: Field, name: str) -> Any:
    if one.kind == "tick":
        return gr.Checkbox(one.value, label=one.label, elem_id=name, container=False)
    if one.kind == "choice" and len(one.choices) <= 4:
        return gr.Radio(list(one.choices), value=one.value, label=one.label, elem_id=name)
    if one.kind == "choice":
        return gr.Dropdown(list(one.choices), value=one.value or "", label=one.label, elem_id=name)
    return gr.Textbox(
        one.value, label=one.label, placeholder=f"for instance: {one.example}" if one.example else "", lines=1,
        max_lines=6, elem_id=name,
    )  # fmt: skip


def _settings(parts: Parts) -> None:
    with gr.Row():
        seed = gr.Number(0, label="Seed", info="The same gives the same.", precision=0, elem_id="seed")
        temperature = gr.Number(
            0, label="Temperature", info="Of words; 0 takes the likeliest.", elem_id="temperature"
        )
        longest = gr.Number(256, label="Longest answer", info="In tokens.", precision=0, elem_id="longest")
    with gr.Row(visible=False) as parts.drawing:
        steps = gr.Number(0, label="Steps", info="Of a drawing; 0 for the usual.", precision=0, elem_id="steps")
        text = gr.Number(
            0, label="Text guidance", info="How far it follows the words; 0 for the usual.", elem_id="text-scale"
        )
        image = gr.Number(
            0, label="Image guidance", info="How far it follows the image; 0 for the usual.", elem_id="image-scale"
        )
    parts.settings = {
        "seed": seed, "temperature": temperature, "longest": longest, "steps": steps, "text_scale": text,
        "image_scale": image,
    }  # fmt: skip


def _wire(page: gr.Blocks, parts: Parts, handlers: Handlers) -> None:
    everything, secret = parts.all(), [parts.secret]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    quick = quiet | {"queue": False}
    images = [p for p in everything if p not in parts.forms.values()]
    page.load(handlers.opened, secret, everything, js=_TOKEN, **quick)
    parts.timer.tick(handlers.look, None, [parts.banner, parts.timer], **quick)
    parts.task.input(handlers.chosen, parts.task, everything, **quick)
    parts.uploader.change(handlers.uploaded, secret, images, **quiet)
    parts.gallery.click(handlers.example, secret, images, **quiet)
    parts.remove.click(handlers.remove, secret, images, **quiet)
    for part in (parts.which, parts.together):
        part.input(handlers.show, [*secret, parts.which, parts.together], images, trigger_mode="always_last", **quiet)
    moved = [part.input for part in (parts.place, parts.volume, parts.plane)]
    place = [*secret, parts.plane, parts.place, parts.volume]
    gr.on(moved, handlers.place, place, images, trigger_mode="always_last", **quiet)
    parts.window.input(handlers.window, [*secret, parts.window], images, trigger_mode="always_last", **quiet)
    typed = [when for part in (parts.center, parts.width) for when in (part.submit, part.blur)]
    gr.on(typed, handlers.typed, [*secret, parts.center, parts.width], images, trigger_mode="multiple", **quiet)
    inputs = [*secret, parts.task, *parts.settings.values(), *parts.fields.values()]
    words = [part for part in parts.fields.values() if isinstance(part, gr.Textbox)]
    begin: list[Callable] = [parts.run.click, *(part.submit for part in words)]
    gr.on(begin, _from_values(handlers, parts), inputs, everything, **quiet)
    parts.cancel.click(handlers.cancel, secret, [parts.status], **quick)
    again = [parts.new.click, parts.chatbot.clear]
    gr.on(again, handlers.new_conversation, secret, [parts.chatbot, parts.status], **quick)
    parts.clear.click(handlers.clear, secret, everything, **quick)


def _from_values(handlers: Handlers, parts: Parts) -> Callable:
    """The handler of a run, given the values of all fields in their order."""
    names, keys = list(parts.settings), list(parts.fields)

    async def run(request: gr.Request, token: str, task: str, *values: Any):
        settings = Settings(**dict(zip(names, values[: len(names)], strict=True)))
        given = zip(keys, values[len(names) :], strict=True)
        filled = {name: value for (of, name), value in given if of == task}
        async for told in handlers.run(token, task, settings, filled, request):
            yield told

    return run


