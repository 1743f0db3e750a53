"""Answers are read as declared, and what can't be read is None."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.evaluation.answers import normalised, read, read_letter, read_words, read_yes_no, right, spoken
from unimedvl.evaluation.answers import token_recall as recall
from unimedvl.evaluation.item import Item

FOUR = ("pneumonia", "normal", "effusion", "fracture")


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        # What VLMEvalKit infers.
        ("A", "A"),
        ("(B)", "B"),
        ("B. normal", "B"),
        ("The answer is C", "C"),
        (r"\boxed{C}", "C"),
        ("normal", "B"),
        ("a chest x-ray shows a fracture", "D"),
        ("**D**", "D"),
        ("I think it must be [B]!", "B"),
        ("The image shows fractures.", "D"),
        # What it doesn't.
        ("b", "B"),
        ("(c).", "C"),
        ("<answer>B</answer>", "B"),
        ("Option D is right because of the broken rib that is seen in this view", "D"),
        ("The answer is B, not A.", "B"),
        ("Answer: (c)", "C"),
        ("B. normal, although A would fit the left lung and the other findings as well", "B"),
        ("答案是 D", "D"),
        ("<think>Is it A? No, B.</think> C", "C"),
        ("A fracture.", "D"),
        ("The answer is: a fracture", "D"),
        ("First I took the answer is A. On reflection, the answer is B because of the lung", "B"),
    ],
)
def test_a_letter_is_read_from(said, letter):
    assert read_letter(said, FOUR) == letter


@pytest.mark.parametrize(
    "said",
    [
        "",
        "   ",
        "E",
        "It may be pneumonia or effusion.",
        "A or B",
        "<think>It is C, since",
        "I'm sorry, but without the image provided I can't say. A",
        "Sorry, I can't help with images of people yet.",
        "Failed to obtain answer via API.",
        "Option A and option B are both right in such a case as this one is",
        "A. pneumonia B. normal C. effusion D. fracture",
        "unknown",
    ],
)
def test_no_letter_is_read_from(said):
    assert read_letter(said, FOUR) is None


def test_whole_words_of_options_come_before_parts_of_words():
    assert read_letter("It is abnormal.", ("normal", "abnormal")) == "B"
    assert read_letter("in the left upper lobe", ("left", "left upper lobe", "right")) == "B"
    assert read_letter("Vitamin D", ("Vitamin C", "Vitamin D", "Zinc", "Iron")) == "B"
    assert read_letter("Ab", ("ab", "AB", "Ab")) == "C"


def test_an_answer_far_longer_than_all_options_is_not_searched_for_them():
    assert read_letter("CT " + "and so on " * 20, ("CT", "MRI")) is None


@given(st.text(max_size=60), st.lists(st.text(max_size=8), min_size=2, max_size=10))
def test_whatever_is_read_is_a_letter_of_the_options(said, options):
    letter = read_letter(said, options)
    assert letter is None or "ABCDEFGHIJ".index(letter) < len(options)


@given(st.sampled_from("ABCDEFGHIJ"), st.integers(2, 10), st.sampled_from(["{}", "({})", "{}.", "The answer is {}."]))
def test_a_letter_said_plainly_is_read_for_any_number_of_options(letter, count, form):
    options = tuple(f"Simulated remedy {number}" for number in range(count))
    expected = letter if "ABCDEFGHIJ".index(letter) < count else None
    assert read_letter(form.format(letter), options) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Yes", "yes"),
        ("no.", "no"),
        ("Yes, there is no effusion.", "yes"),
        ("No, but yes in the past", "no"),
        ("The answer is: No", "no"),
        ("There is no nodule.", "no"),
        ("I would say yes", "yes"),
        ("<think>yes</think>No", "no"),
        ("It could be yes or no", None),
        ("Normal", None),
        ("", None),
        ("not seen", None),
    ],
)
def test_yes_and_no(said, expected):
    assert read_yes_no(said) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The left lobe.", "left lobe"),
        ("Two", "2"),
        ("T2-weighted", "t2 weighted"),
        ("Crohn's disease", "crohns disease"),
        ("3 cm", "3cm"),
        ("1,000", "1000"),
        ("左 肺。", "左肺"),
        ("\uff38-Ray", "x ray"),
        ("\taxial ", "Axial"),
    ],
)
def test_open_answers_that_are_the_same(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("2+", "2"), ("hepatitis A", "hepatitis"), ("2.5", "25")])
def test_open_answers_that_differ(one, other):
    assert normalised(one) != normalised(other)


def test_open_answers_without_what_leads_to_them():
    assert read_words("The final answer is: the spleen.") == "spleen"
    assert read_words("<think>hm</think>") is None


def test_thinking_that_never_ends_is_no_answer():
    assert spoken("<think>yes, it is") == ""
    assert spoken("<think>one</think>no<think>two</think> yes ") == "yes"


def test_any_of_several_answers_is_right_and_an_unread_one_is_wrong():
    item = Item("1", "ask", "open", question="Which organ?", answers=("spleen", "the Liver"))
    assert right(item, "Liver.") and right(item, "Spleen")
    assert not right(item, "") and not right(item, "the left kidney")
    assert right(Item("2", "ask", "closed", answers=("no",)), "No.")
    assert not right(Item("3", "ask", "choice", options=FOUR, answers=("A",)), "no idea")


def test_token_recall_is_the_share_of_the_right_answers_words():
    item = Item("1", "ask", "open", answers=("left frontal lobe", "brain"))
    assert recall(item, "In the left lobe of the lung") == pytest.approx(2 / 3)
    assert recall(item, "brain") == 1.0
    assert recall(item, "") == 0.0
    # A word counts as often as it is there.
    assert recall(Item("2", "ask", "open", answers=("no no",)), "no") == 0.5


def test_an_image_is_no_answer_in_words():
    with pytest.raises(ValueError, match="kind image"):
        read(Item("1", "generate", "image"), "A")
