"""What happens when something on the page is pressed: from the values of its fields to what is shown then.

Handlers return a dict from parts of the page to their updates. Those that run something are generators.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi.concurrency import run_in_threadpool

from unimedvl.serving.asking import guidance, sampled
from unimedvl.serving.errors import as_api_error, wrong
from unimedvl.serving.logs import places
from unimedvl.serving.openai.forms import LARGEST_SEED
from unimedvl.serving.page import cards, conversation, examples
from unimedvl.serving.page.pieces import banner, problem, viewer
from unimedvl.serving.page.running import CANCELLED, PREVIEWS, Finished, Stopped, follow
from unimedvl.serving.page.session import Made, Session, Sessions
from unimedvl.serving.page.task_forms import in_words, request_of, takes_images
from unimedvl.serving.page.upload import (
    AS_SAVED,
    CUSTOM,
    context_of,
    controls,
    looked_at,
    options_for,
    read_item,
    thumbnail,
)  # fmt: skip
from unimedvl.serving.pictures import previews
from unimedvl.tasks import TASKS

if TYPE_CHECKING:
    from unimedvl.imaging import ReadOptions
    from unimedvl.inference.conversation import Conversation
    from unimedvl.inference.requests import Request
    from unimedvl.serving.page.blocks import Parts
    from unimedvl.serving.page.upload import Controls, Item
    from unimedvl.serving.service import Service

logger = logging.getLogger(__name__)

CHAT = "chat"
# The most that the fields take, as the API has it.
_STEPS, _SCALE = 200, 20


@dataclass(frozen=True)
class Settings:
    """The fields that all tasks share; what is empty or 0 is as the model has it."""

    seed: float | None = None
    temperature: float | None = None
    longest: float | None = None
    steps: float | None = None
    text_scale: float | None = None
    image_scale: float | None = None

    def number(self, name: str, most: float, least: float = 1) -> Any:
        """A field's number; None where it is empty or 0. Raises ApiError."""
        value = getattr(self, name)
        if not value:
            return None
        if not least <= value <= most:
            called = name.replace("_scale", " guidance").replace("longest", "longest answer")
            raise wrong(called, f"is {value:g}; it must be from {least:g} to {most:g}")
        return value


@dataclass(frozen=True)
class Visitor:
    """Who asks: the name of a key's owner, and what their allowance is counted by."""

    who: str | None
    counted: str

    @classmethod
    def of(cls, request: gr.Request) -> Visitor:
        trace, client = request.request.state.trace, request.request.client
        return cls(trace.who, trace.who or f"address {client.host if client else ''}")


class Handlers:
    """The handlers of one page. parts: what is on it."""

    def __init__(self, service: Service, sessions: Sessions, parts: Parts) -> None:
        self.service, self.sessions, self.parts = service, sessions, parts

    # The page --------------------------------------------------------------------------------

    def opened(self, token: str, request: gr.Request) -> dict[Any, Any]:
        """A tab was opened or loaded again: all that it had is there again."""
        try:
            session = self.sessions.open(token, Visitor.of(request).who)
        except ValueError as error:
            return {self.parts.problem: problem(str(error))}
        last = next((made for made in reversed(session.made) if made.task != CHAT), None)
        return {
            self.parts.secret: token, self.parts.stage: cards.card(last) if last is not None else "", **self.look(),
            **self._study(session), **self._chat(session), **self._history(session),
        }  # fmt: skip

    def look(self) -> dict[Any, Any]:
        """Whether the model is there."""
        ready = self.service.engine.ready
        return {self.parts.banner: banner(self.service), self.parts.timer: gr.Timer(active=not ready)}

    def chosen(self, task: str) -> dict[Any, Any]:
        """The form of another task."""
        chat, draws = task == CHAT, task != CHAT and TASKS[task].draws
        forms = {form: gr.update(visible=name == task) for name, form in self.parts.forms.items()}
        return forms | {
            self.parts.chatbot: gr.update(visible=chat), self.parts.stage: gr.update(visible=not chat),
            self.parts.new: gr.update(visible=chat), self.parts.run: gr.update(value="Send" if chat else "Run"),
            self.parts.drawing: gr.update(visible=draws or chat), self.parts.status: "",
        }  # fmt: skip

    # Images ----------------------------------------------------------------------------------

    def uploaded(self, token: str, request: gr.Request) -> dict[Any, Any]:
        """Files have come."""
        return self._with(token, request, lambda session: None)

    def example(self, token: str, request: gr.Request, event: gr.EventData) -> dict[Any, Any]:
        """An example study takes the place of the images, and its words are filled into the forms."""
        chosen = examples.EXAMPLES.get(str(getattr(event, "example", "")))
        if chosen is None:
            return {}

        def take(session: Session) -> None:
            from dataclasses import replace

            name, data = examples.file_of(chosen.key)
            session.items = [replace(read_item(self.service, data, name), simulated=True)]
            session.shown, session.together = 0, False

        words = {
            part: chosen.words[field] for (_, field), part in self.parts.fields.items() if field in chosen.words
        }
        return words | self._with(token, request, take)

    def remove(self, token: str, request: gr.Request) -> dict[Any, Any]:
        def take(session: Session) -> None:
            session.items = [item for k, item in enumerate(session.items) if k != session.shown]
            session.shown = max(0, min(session.shown, len(session.items) - 1))

        return self._with(token, request, take)

    def show(self, token: str, number: float, together: bool, request: gr.Request) -> dict[Any, Any]:
        """Another image, counted from 1."""

        def take(session: Session) -> None:
            session.shown = max(0, min(int(number) - 1, len(session.items) - 1))
            session.together = bool(together)

        return self._with(token, request, take)

    def place(self, token: str, plane: str | None, place: float, volume: float, request: gr.Request) -> dict[Any, Any]:
        """Another slice, frame, plane or volume; counted from 1."""

        def look(item: Item, can: Controls) -> ReadOptions:
            return options_for(item, _window_of(item), can.center, can.width, plane, int(place) - 1, int(volume) - 1)

        told = self._looked(token, request, look)
        has = {self.parts.place: place, self.parts.volume: volume, self.parts.plane: plane}
        return self._not_pulled_back(told, has)

    def window(self, token: str, window: str, request: gr.Request) -> dict[Any, Any]:
        """Another window; one of center and width begins as the last one was."""
        told = self._looked(
            token, request,
            lambda item, can: options_for(item, window, can.center, can.width, can.plane, can.slice, can.volume),
        )  # fmt: skip
        return self._not_pulled_back(told, {self.parts.window: window})

    def typed(self, token: str, center: float | None, width: float | None, request: gr.Request) -> dict[Any, Any]:
        """Another center and width."""
        told = self._looked(
            token, request,
            lambda item, can: options_for(item, CUSTOM, center, width, can.plane, can.slice, can.volume),
        )  # fmt: skip
        for part in (self.parts.center, self.parts.width):  # who types on is not interrupted
            told.get(part, {}).pop("value", None)
        return told

    def _not_pulled_back(self, told: dict[Any, Any], has: dict[Any, Any]) -> dict[Any, Any]:
        """The updates without values that their fields have: who moves one on meanwhile is not interrupted."""
        for part, value in has.items():
            if told.get(part, {}).get("value") == value:
                told[part].pop("value", None)
        return told

    def _looked(
        self, token: str, request: gr.Request, look: Callable[[Item, Controls], ReadOptions]
    ) -> dict[Any, Any]:
        def take(session: Session) -> None:
            item = session.item
            if item is not None:
                options = look(item, controls(item.image))
                session.items[session.shown] = looked_at(self.service, item, options)

        return self._with(token, request, take)

    def _with(
        self, token: str, request: gr.Request, change: Callable[[Session], None]
    ) -> dict[Any, Any]:
        """A change to the images, and what is shown then, or the sentence that says why not."""
        try:
            session = self.sessions.get(token, Visitor.of(request).who)
            with session.looking:
                change(session)
        except Exception as error:  # noqa: BLE001 - told to the user, as the API tells it
            return {self.parts.problem: problem(as_api_error(error).message)}
        self.sessions.make_room()
        return {self.parts.problem: "", **self._study(session)}

    def _study(self, session: Session) -> dict[Any, Any]:
        """The image that is shown, and the controls that fit it."""
        p, item = self.parts, session.item
        many = len(session.items) > 1
        told = {
            p.viewer: viewer(item, session), p.remove: gr.update(visible=item is not None),
            p.which: gr.update(visible=many, maximum=max(2, len(session.items)), value=session.shown + 1),
            p.together: gr.update(visible=many, value=session.together),
        }  # fmt: skip
        can = controls(item.image) if item else None
        many_slices, many_volumes = bool(can and can.slices > 1), bool(can and can.volumes > 1)
        chosen = _window_of(item) if item else AS_SAVED
        windows = list(can.windows) if can and can.windows else [AS_SAVED]
        custom = bool(can and can.windows) and chosen == CUSTOM
        return told | {
            p.place: gr.update(
                visible=many_slices, maximum=max(2, can.slices if can else 2), value=(can.slice if can else 0) + 1,
                label="Slice" if can and can.planes else "Frame",
            ),
            p.plane: gr.update(visible=bool(can and can.planes), value=can.plane if can else None),
            p.volume: gr.update(
                visible=many_volumes, maximum=max(2, can.volumes if can else 2), value=(can.volume if can else 0) + 1
            ),
            p.window: gr.update(
                visible=bool(can and can.windows), choices=windows, value=chosen
            ),
            p.center: gr.update(visible=custom, **_value(can and can.center)),
            p.width: gr.update(visible=custom, **_value(can and can.width)),
        }  # fmt: skip

    # Runs ------------------------------------------------------------------------------------

    async def run(
        self, token: str, task: str, settings: Settings, filled: dict[str, Any], request: gr.Request
    ) -> AsyncIterator[dict[Any, Any]]:
        """Run what the form of a task says, and show how far it is."""
        p, visitor = self.parts, Visitor.of(request)
        try:
            session = self.sessions.get(token, visitor.who)
            items = session.given if task == CHAT or takes_images(TASKS[task]) else []
            asked, how = await run_in_threadpool(self._asked, session, task, settings, filled, items)
        except Exception as error:  # noqa: BLE001 - told to the user, as the API tells it
            yield {p.status: problem(as_api_error(error).message)}
            return
        given = [item.image for item in items]
        words = asked.turns[-1].words if task == CHAT else in_words(asked)
        begun = datetime.now()
        yield {p.run: gr.update(interactive=False), p.cancel: gr.update(interactive=True), p.status: "Running …",
               p.message: gr.update(value="") if task == CHAT else gr.update()}  # fmt: skip
        made = None
        try:
            async for now in follow(self.service, session, visitor.counted, task, asked, how, given):
                if isinstance(now, Finished):
                    made = await run_in_threadpool(self._made, task, words, begun, now, items, filled)
                elif task == CHAT:
                    saying = conversation.saying(now.text, now.thought)
                    yield {p.chatbot: [*session.said, conversation.said(asked), saying]}
                else:
                    yield {p.stage: cards.progress(now, "previews" in how)}
        except Stopped as stopped:
            made = Made(task, words, begun, 0.0, problem=str(stopped))
        except Exception as error:  # noqa: BLE001 - the page stays usable, and the log says where
            logger.error("a run of the page failed: %s", places(error))
            made = Made(task, words, begun, 0.0, problem=as_api_error(error).message)
        finally:
            if made is None:  # the tab was left, or loaded again
                session.keep(Made(task, words, begun, 0.0, problem=CANCELLED))
        yield self._ended(session, task, asked, made)

    def cancel(self, token: str, request: gr.Request) -> dict[Any, Any]:
        """Stop what runs in this tab."""
        try:
            session = self.sessions.get(token, Visitor.of(request).who)
        except ValueError:
            return {}
        if session.run is None:
            return {}
        session.run.cancel()
        return {self.parts.status: "Cancelling …"}

    def new_conversation(self, token: str, request: gr.Request) -> dict[Any, Any]:
        try:
            session = self.sessions.get(token, Visitor.of(request).who)
        except ValueError as error:
            return {self.parts.status: problem(str(error))}
        session.forget_conversation()
        return self._chat(session) | {self.parts.status: ""}

    def clear(self, token: str, request: gr.Request) -> dict[Any, Any]:
        """Forget all of this tab: images, conversation and results."""
        try:
            session = self.sessions.get(token, Visitor.of(request).who)
        except ValueError as error:
            return {self.parts.status: problem(str(error))}
        session.end()
        session.shown = 0
        return {
            **self._study(session), **self._chat(session), **self._history(session), self.parts.stage: "",
            self.parts.status: "Everything of this tab was forgotten.", self.parts.problem: "",
        }  # fmt: skip

    def _asked(
        self, session: Session, task: str, settings: Settings, filled: dict[str, Any], items: Sequence[Item]
    ) -> tuple[Request | Conversation, dict[str, Any]]:
        """What the engine is asked, and how. Raises ValueError, ApiError, NotReady."""
        seed = int(settings.number("seed", LARGEST_SEED) or 0)
        longest, steps = settings.number("longest", self.service.limits.max_tokens), settings.number("steps", _STEPS)
        temperature = settings.number("temperature", 2, 0.01)
        sampling = sampled(self.service, seed, temperature=temperature, max_tokens=longest and int(longest))
        how: dict[str, Any] = {"sampling": sampling}
        self._check_length(session, task, filled)
        if task == CHAT:
            draw = bool(filled.get("draw"))
            asked = conversation.asked(
                session, filled.get("message") or "", draw=draw, think=bool(filled.get("think")), seed=seed
            )
            if draw:
                how |= {"steps": steps and int(steps), "previews": False}
            return asked, how
        images = tuple(item.image for item in items)
        asked = request_of(TASKS[task], images, filled, seed=seed)
        if TASKS[task].draws:
            text, image = (settings.number(name, _SCALE) for name in ("text_scale", "image_scale"))
            scales = guidance(self.service, task, text, image)
            how |= {"steps": steps and int(steps), "guidance": scales, "previews": previews(PREVIEWS)}
        return asked, how

    def _check_length(self, session: Session, task: str, filled: dict[str, Any]) -> None:
        from unimedvl.serving.asking import check_texts

        before = [turn.words for turn in session.turns] if task == CHAT else []
        check_texts([*before, *(v for v in filled.values() if isinstance(v, str))], self.service)

    def _made(
        self, task: str, words: str, begun: datetime, end: Finished, items: Sequence[Item], filled: dict[str, Any]
    ) -> Made:
        given = tuple(thumbnail(item.image) for item in items)
        target = filled.get("target") if task == "segment" else None
        return Made(task, words, begun, end.seconds, given, end.result, end.png, context_of(items), target)

    def _ended(self, session: Session, task: str, asked: Request | Conversation, made: Made) -> dict[Any, Any]:
        p = self.parts
        session.keep(made)
        self.sessions.make_room()
        told: dict[Any, Any] = {p.run: gr.update(interactive=True), p.cancel: gr.update(interactive=False)}
        done = made.result is not None
        if task == CHAT:
            if done:
                conversation.answered(session, asked, made.result, made)
            else:
                told[p.message] = asked.turns[-1].words  # it can be sent again
            told[p.chatbot] = session.said
        else:
            told[p.stage] = cards.card(made) if done else ""
        told[p.status] = f"Done in {made.seconds:.1f} s." if done else problem(made.problem)
        return told | self._history(session)

    def _chat(self, session: Session) -> dict[Any, Any]:
        return {self.parts.chatbot: session.said}

    def _history(self, session: Session) -> dict[Any, Any]:
        some = bool(session.made or session.items)
        return {
            self.parts.history: cards.history(session.made), self.parts.clear: gr.update(interactive=some)
        }  # fmt: skip


def _value(number: float | None) -> dict[str, float]:
    """The update of a field that has a number now."""
    return {} if number is None else {"value": round(number, 1)}


def _window_of(item: Item) -> str:
    window = item.options.window
    return CUSTOM if isinstance(window, tuple) else window or AS_SAVED
