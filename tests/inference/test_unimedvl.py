"""The user's object: every method, what its results carry, and what is refused."""

from __future__ import annotations

import inspect
import json
import pickle
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from unimedvl import UniMedVL
from unimedvl.checkpoint import CheckpointError, fingerprint, hashing, open_checkpoint, save_model
from unimedvl.imaging import ImagingError
from unimedvl.inference.image import Cancelled
from unimedvl.inference.results import ImageResult, TextResult
from unimedvl.inference.text import Sampling
from unimedvl.inference.thought import split_thought
from unimedvl.inference.unimedvl import Request
from unimedvl.model.flow import Guidance
from unimedvl.tasks import TASKS

SHORT = Sampling(max_tokens=4)
DRAW = dict(steps=3, sampling=SHORT)
TEXT_CALLS = {
    "ask": lambda m, x: m.ask(x, "Is there an effusion?", sampling=SHORT),
    "report": lambda m, x: m.report([x, x], sampling=SHORT),
}
IMAGE_CALLS = {
    "generate": lambda m, x: m.generate("an effusion", modality="cxr", **DRAW),
    "edit": lambda m, x: m.edit(x, "Make it brighter.", **DRAW),
    "stain": lambda m, x: m.stain(x, her2="2+", **DRAW),
    "upscale": lambda m, x: m.upscale(x, **DRAW),
    "translate": lambda m, x: m.translate(x, to="flair", **DRAW),
    "counterfactual": lambda m, x: m.counterfactual(x, "resolution of the effusion", **DRAW),
    "segment": lambda m, x: m.segment(x, "vessels", **DRAW),
    "reconstruct": lambda m, x: m.reconstruct(x, **DRAW),
}
REQUESTS = {
    "ask": "Is there an effusion?",
    "report": "Write a report.",
    "generate": "Chest X-ray with an effusion",
    "edit": "Make it brighter.",
    "stain": "Stain this H&E image for HER2 at level 2+.",
    "upscale": "Increase the resolution of this image 4x.",
    "translate": "Translate this T2 image to FLAIR.",
    "counterfactual": "Show this image with resolution of the effusion.",
    "segment": "Segment the vessels.",
    "reconstruct": "Reconstruct this image.",
}


def test_every_task_has_a_method_and_is_tested_here():
    assert TEXT_CALLS.keys() | IMAGE_CALLS.keys() == TASKS.keys() == REQUESTS.keys()


@pytest.mark.parametrize("task", [*TEXT_CALLS, *IMAGE_CALLS])
def test_a_task_gives_its_kind_of_result_with_where_it_came_from(tiny, picture, task):
    result = (TEXT_CALLS | IMAGE_CALLS)[task](tiny, picture)
    p = result.provenance
    assert (p["task"], p["request"], p["seed"]) == (task, REQUESTS[task], 0)
    assert p["model"] == {
        "name": "tiny",
        "weights_sha256": "0" * 64,
        "dtype": "float32",
        "device": "cpu",
        "trained_on": "nothing; its weights are random",
    }
    assert p["versions"].keys() >= {"unimedvl", "torch", "numpy", "python"}
    assert len(p["inputs"]) == {"generate": 0, "report": 2}.get(task, 1)
    assert all(len(x["sha256"]) == 64 for x in p["inputs"])
    assert json.loads(json.dumps(result.to_dict()))["notice"] == "Research software. Not for clinical use."
    if task in TEXT_CALLS:
        assert isinstance(result, TextResult) and p["settings"]["sampling"]["max_tokens"] == 4
        assert len(result.logprobs) == 4 and 0 < result.confidence < 1 and result.finish == "length"
        assert str(result) == result.text
    else:
        assert isinstance(result, ImageResult) and p["settings"]["drawing"]["steps"] == 3
        size = (32, 32) if task == "generate" else tuple(tiny.prepare.vae(48, 40))[::-1]
        assert result.array.shape == (*size, 3) and result.array.dtype == np.uint8
        assert result.image.size == size[::-1] and result.mask.shape == size
        assert bool(result.confidence) == (task != "generate")  # all edits say something, before or after
        assert result.to_dict()["synthetic"] is True


def test_the_same_call_gives_the_same_pixels_and_provenance_on_disk(tiny, picture, tmp_path):
    """The manifest alone differs, by its time and random identifiers."""
    files = [tiny.stain(picture, **DRAW, seed=3).save(tmp_path / f"{name}.png") for name in "ab"]
    one, other = (PillowImage.open(file) for file in files)
    assert one.tobytes() == other.tobytes() and one.text == other.text


def test_a_saved_image_carries_its_provenance_and_the_mark(tiny, tmp_path):
    result = tiny.generate("a lesion", seed=5, size=(16, 32), **DRAW)
    with PillowImage.open(result.save(tmp_path / "x.png")) as saved:
        text = saved.text
        assert np.array_equal(np.asarray(saved), result.array) and saved.size == (16, 32)
    assert json.loads(text["unimedvl:provenance"]) == json.loads(json.dumps(result.provenance))
    assert "SYNTHETIC" in text["Comment"]
    with pytest.raises(ImagingError, match="must end in one of .png"):
        result.save(tmp_path / "x.bmp")


def test_a_seed_is_an_image_and_an_image_is_of_its_input(tiny, picture):
    def pixels(image, **options):
        return tiny.reconstruct(image, **DRAW, **options).array.astype(int)

    base = pixels(picture, seed=1)
    assert np.array_equal(base, pixels(picture, seed=1))
    assert np.abs(base - pixels(picture, seed=2)).mean() > 1
    assert np.abs(base - pixels(255 - picture, seed=1)).mean() > 0.2


# Batches -----------------------------------------------------------------------------------------


def test_a_batch_gives_the_results_of_each_request_alone(tiny, picture):
    asks = [
        Request("ask", (picture,), "What is shown?"),
        Request("ask", (picture, 255 - picture), "Which of the two is older, and why?", seed=1),
        Request("ask", (), "What is an effusion?"),
    ]
    edits = [
        Request("stain", (picture,), wishes=(("her2", "0"),), seed=1),
        Request("stain", (255 - picture,), wishes=(("her2", "3+"),), seed=2, size=(16, 24)),
    ]
    for requests, options in ((asks, dict(sampling=SHORT)), (edits, DRAW)):
        together = tiny.run(requests, **options)
        for request, result in zip(requests, together, strict=True):
            (alone,) = tiny.run([request], **options)
            assert result.text == alone.text and result.provenance == alone.provenance
            if isinstance(result, ImageResult):
                assert np.abs(result.array.astype(int) - alone.array).max() <= 1


def test_a_batch_is_of_one_task(tiny, picture):
    with pytest.raises(ValueError, match="a batch is of one task, not of ask, report"):
        tiny.run([Request("ask", (), "x"), Request("report", (picture,))])
    with pytest.raises(ValueError, match="not of none"):
        tiny.run([])


def test_thinking_first_is_asked_for_and_kept_apart(tiny, picture):
    result = tiny.ask(picture, "Is it large?", think=True, sampling=SHORT)
    assert result.provenance["request"] == "Think first. Is it large?"
    planned = tiny.generate("a lesion", think=True, **DRAW)
    assert planned.confidence > 0 and planned.provenance["settings"]["think"] is True


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think> Dense base. </think> Yes.", ("Dense base.", "Yes.")),
        ("Yes.", ("", "Yes.")),
        ("<think> cut off", ("cut off", "")),
        ("</think> odd", ("", "</think> odd")),
    ],
)
def test_thoughts_are_split_from_the_answer(text, parts):
    assert split_thought(text) == parts


# Streams -----------------------------------------------------------------------------------------


def test_a_stream_gives_text_then_steps_then_the_result_of_the_call(tiny, picture):
    events = list(tiny.stream("stain", picture, wishes={"her2": "2+"}, **DRAW))
    kinds = ["text" if event.kind == "thought" else event.kind for event in events]
    assert kinds == sorted(kinds, key=["text", "step", "result"].index)
    assert [event.step.number for event in events if event.kind == "step"] == [1, 2]
    called = tiny.stain(picture, her2="2+", **DRAW)
    assert np.array_equal(events[-1].result.array, called.array)
    assert events[-1].result.provenance == called.provenance
    assert "".join(e.text for e in events if e.kind == "text") == called.text
    assert "".join(e.text for e in events if e.kind == "thought").strip() == called.thought


STREAMS = {
    "ask": dict(question="Is there an effusion?"),
    "report": {},
    "generate": dict(caption="an effusion", modality="cxr"),
    "edit": dict(instruction="darker"),
    "stain": dict(her2="2+"),
    "upscale": {},
    "translate": dict(to="flair"),
    "counterfactual": dict(change="a nodule"),
    "segment": dict(target="vessels"),
    "reconstruct": {},
}


@pytest.mark.parametrize("name", TASKS)
def test_a_stream_takes_what_the_method_takes(tiny, picture, name):
    images = () if name == "generate" else (picture,)
    options = dict(sampling=SHORT, seed=3) | ({"steps": 3} if TASKS[name].draws else {})
    *_, last = tiny.stream(name, images, **STREAMS[name], **options)
    called = getattr(tiny, name)(*images, **STREAMS[name], **options)
    assert last.result.to_dict() == called.to_dict()


def test_an_explanation_streams_after_the_drawing(tiny, picture):
    kinds = [e.kind for e in tiny.stream("counterfactual", picture, wishes={"change": "a nodule"}, **DRAW)]
    kinds = ["text" if kind == "thought" else kind for kind in kinds]
    assert kinds == sorted(kinds, key=["step", "text", "result"].index) and "text" in kinds


def test_closing_a_stream_ends_the_drawing(tiny, picture):
    before = threading.active_count()
    stream = tiny.stream("reconstruct", picture, steps=200, sampling=Sampling(max_tokens=1))
    while next(stream).kind != "step":
        pass
    stream.close()
    assert threading.active_count() == before


def test_an_error_while_drawing_reaches_the_one_who_listens(tiny, picture, monkeypatch):
    def broken(*args):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(tiny.model, "pixels", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(tiny.stream("reconstruct", picture, **DRAW))


def test_a_call_can_be_cancelled_between_steps(tiny, picture):
    steps: list[int] = []
    with pytest.raises(Cancelled):
        tiny.run(
            [Request("reconstruct", (picture,))],
            steps=20,
            sampling=SHORT,
            on_step=lambda step: steps.append(step.number),
            cancelled=lambda: len(steps) == 2,
        )
    assert steps == [1, 2]


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.report([]), "report needs 1 image, got 0"),
        (lambda m, x: m.ask(x, ""), "ask needs words"),
        (lambda m, x: m.stain(x, her2="4+"), r"her2 is '4\+'; it must be one of 0, 1\+, 2\+, 3\+"),
        (lambda m, x: m.generate("x", modality="xray"), "modality is 'xray'; it must be one of cfp, cxr"),
        (lambda m, x: m.generate("x", size=(30, 32)), "30 x 32 can't be drawn; sides must be multiples of 4"),
        (lambda m, x: m.stream("stain", x, her2="9+"), r"her2 is '9\+'; it must be one of 0, 1\+, 2\+, 3\+"),
        (lambda m, x: m.stream("stain", x, wishes={"her2": "9+"}), r"her2 is '9\+'; it must be one of 0"),
        (lambda m, x: m.run([Request("stain", (x,), wishes=(("her2", "9+"),))]), r"her2 is '9\+'; it must be"),
        (lambda m, x: m.stream("stain", x, wishes={"her3": "3+"}), "stain has no wish 'her3'; it has her2"),
        (lambda m, x: m.stream("upscale", x, wishes={"factor": "8"}), "factor is '8'; it must be one of 4"),
        (lambda m, x: m.stream("generate", text="x", modality="xray"), "modality is 'xray'; it must be one of"),
        (lambda m, x: next(m.stream("generate", x, "a chest")), "generate takes no image, got 1"),
        (lambda m, x: next(m.stream("segment", x)), "segment needs words, or the wish 'target'"),
        (lambda m, x: m.segment(x, " "), "target is ' '; it must be words"),
        (lambda m, x: m.stream("translate", x), "translate needs words, or what to translate to"),
        (lambda m, x: m.stream("ask", x, "What?", question="Where?"), "ask was given its question twice"),
        (lambda m, x: m.run([Request("draw", (x,))]), "no task called 'draw'; there are ask, report"),
    ],
)
def test_a_wrong_call_is_one_line_that_says_what_would_be_right(tiny, picture, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(tiny, picture)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_image_is_refused(tiny, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ImagingError):
        tiny.ask(tmp_path / "x.png", "What is this?")


# Loading -----------------------------------------------------------------------------------------


def test_a_saved_model_answers_and_draws_as_before(tiny, tiny_folder, picture):
    loaded = UniMedVL.load(tiny_folder)
    assert loaded.weights == fingerprint(open_checkpoint(tiny_folder))
    a, b = (m.ask(picture, "What is shown?", sampling=SHORT) for m in (tiny, loaded))
    assert a.logprobs == pytest.approx(b.logprobs) and a.text == b.text
    a, b = (m.stain(picture, **DRAW).array for m in (tiny, loaded))
    assert np.array_equal(a, b)


def test_the_weights_are_hashed_when_first_asked_for_and_once(tiny_folder, picture, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_folder, tmp_path / "tiny")
    read = []
    hash_file = hashing._digest
    monkeypatch.setattr(hashing, "_digest", lambda file, report: read.append(file) or hash_file(file, report))
    loaded = UniMedVL.load(folder, generation=False)
    answer, other = (loaded.ask(picture, q, sampling=SHORT) for q in ("What?", "Where?"))
    conversation = loaded.chat(SHORT)
    said = conversation.send("What?", picture)
    assert not read and answer.text == str(answer)
    whole = fingerprint(open_checkpoint(tiny_folder))
    for result in (answer, other, said):
        assert result.provenance["model"]["weights_sha256"] == whole  # though only a part was loaded
    assert loaded.weights == whole and len(read) == len(open_checkpoint(folder).files)


def test_a_result_is_pickled_with_its_provenance_and_without_the_model(tiny_folder, picture):
    result = UniMedVL.load(tiny_folder).ask(picture, "What?", sampling=SHORT)
    packed = pickle.dumps(result)
    assert len(packed) < 20_000 and pickle.loads(packed) == result
    assert pickle.loads(packed).provenance["model"]["weights_sha256"] == fingerprint(tiny_folder)


def test_packed_weights_answer_and_draw_alike_and_are_saved_as_they_were(tiny_folder, picture, tmp_path):
    plain, packed = (UniMedVL.load(tiny_folder, pack=pack) for pack in (False, True))
    a, b = (m.ask(picture, "What is shown?", sampling=SHORT) for m in (plain, packed))
    assert a.text == b.text and a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    a, b = (m.stain(picture, **DRAW).array.astype(int) for m in (plain, packed))
    assert abs(a - b).max() <= 1
    save_model(packed.model, tmp_path / "again", tokenizer=packed.tokenizer, card=packed.card)
    assert UniMedVL.load(tmp_path / "again").weights == plain.weights


def test_weights_that_would_fill_the_memory_stay_in_their_file(tiny_folder, monkeypatch):
    monkeypatch.setattr("unimedvl.inference.unimedvl._fits_in_memory", lambda *_: False)
    assert not UniMedVL.load(tiny_folder).model.connector.fc1.weight.isnan().any()


def test_a_model_loaded_for_understanding_answers_and_refuses_to_draw(tiny, tiny_folder, picture):
    part = UniMedVL.load(tiny_folder, generation=False)
    question = dict(sampling=SHORT)
    assert part.ask(picture, "What?", **question).text == tiny.ask(picture, "What?", **question).text
    for call in IMAGE_CALLS.values():
        with pytest.raises(CheckpointError, match="draws, and this model was loaded for understanding only"):
            call(part, picture)
    with pytest.raises(CheckpointError, match="reconstruct draws"):
        next(part.stream("reconstruct", picture))


def test_weights_in_bf16_run_every_kind_of_task(tiny_folder, picture):
    half = UniMedVL.load(tiny_folder, dtype=torch.bfloat16)
    assert half.ask(picture, "What?", sampling=SHORT).provenance["model"]["dtype"] == "bfloat16"
    assert half.counterfactual(picture, "no lesion", **DRAW).array.std() > 1


def test_no_such_model_is_one_clear_error(tmp_path):
    with pytest.raises(CheckpointError):
        UniMedVL.load(tmp_path / "nothing")


def test_the_card_decides_how_images_are_drawn_unless_the_caller_does(tiny, picture):
    own = {"stain": {"steps": 4, "guidance": {"text_scale": 2.0, "interval": [0.1, 0.9]}}}
    card = UniMedVL(tiny.model, tiny.tokenizer, tiny.card | {"drawing": own}, "")
    drawn = card.stain(picture, sampling=SHORT).provenance["settings"]["drawing"]
    assert drawn["steps"] == 4 and drawn["guidance"]["text_scale"] == 2.0
    assert drawn["guidance"]["interval"] == (0.1, 0.9) and drawn["shift"] == 3.0
    called = card.stain(picture, guidance=Guidance(1.0), **DRAW).provenance["settings"]["drawing"]
    assert called["steps"] == 3 and called["guidance"]["text_scale"] == 1.0


def test_run_takes_what_the_methods_pass_on(tiny):
    """`_one` hands unknown options to `run`, so a misspelt one is a TypeError and never ignored."""
    assert {"sampling", "steps", "guidance", "on_step", "cancelled"} <= inspect.signature(
        tiny.run
    ).parameters.keys()
    with pytest.raises(TypeError, match="step"):
        tiny.generate("x", step=3)
    with pytest.raises(TypeError, match="stain takes no target"):
        tiny.stream("stain", (), target="vessels")
    with pytest.raises(TypeError, match="stain takes no her2 beside its words"):
        tiny.stream("stain", (), "Stain it.", her2="3+")


def test_what_a_batch_cannot_do_is_said_in_one_line(tiny, picture):
    with pytest.raises(ValueError, match="needs words, or the wish 'her2'"):
        tiny.run([Request("stain", (picture,))])
    with pytest.raises(ValueError, match="either all are planned first or none"):
        tiny.run([Request("generate", (), "x", think=True), Request("generate", (), "x")])
    with pytest.raises(ValueError, match="a stop text is empty"):
        Sampling(stop=("",))
