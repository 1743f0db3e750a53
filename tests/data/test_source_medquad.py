"""MedQuAD: the three kinds of files, and answers that were taken out."""

from __future__ import annotations


def test_all_roots_are_read_and_answers_stand_on_one_line(miniature, read):
    got = read("medquad", miniature("medquad"))
    assert not got.faults
    assert [(r.id, r.message[0].value, r.message[1].value) for r in got.records] == [
        ("1_CancerGov_QA/0000901_1-1", "What is (are) sample illness?",
         "Key Points - It is invented. - It harms < 1 person."),
        ("1_CancerGov_QA/0000901_1-2", "How is sample illness treated?", "By deleting it."),
        ("2_GARD_QA/0000904-1", "What are the signs of mock fever?", "None, as it is made up."),
        ("3_GHR_QA/0000903-1", "Is sample trait inherited?", "It is not known to be."),
        ("8_NHLBI_QA_XML/0000901_1-1", "What causes it?", "Nothing does."),
    ]  # fmt: skip
    assert {(r.modality, r.split, r.pictures) for r in got.records} == {("text", None, ())}
    assert got.records[0].attributes == {
        "source": "CancerGov", "url": "https://example.org/0000901_1", "focus": "Sample illness",
        "semantic_group": "Disorders", "question_type": "information", "question_id": "0000901_1-1",
    }  # fmt: skip
    assert got.records[3].attributes["source"] == "GHR" and got.records[3].attributes["focus"] == "Sample trait"


def test_folders_are_read_in_the_order_of_their_numbers(miniature, read):
    root = miniature("medquad")
    (root / "1_CancerGov_QA").rename(root / "10_CancerGov_QA")
    assert [r.id.split("_")[0] for r in read("medquad", root).records] == ["2", "3", "8", "10", "10"]


def test_empty_answers_and_files_without_pairs_are_faults(miniature, read):
    root = miniature("medquad")
    one, two, three = (root / f"{n}.xml" for n in ("1_CancerGov_QA/0000901_1", "2_GARD_QA/0000904", "3_GHR_QA/0000903"))
    one.write_text(one.read_text().replace("By   deleting\n it.", "  \n "))
    two.write_text(two.read_text()[:200])
    three.write_text("<doc><qaPairs/></doc>")
    (root / "8_NHLBI_QA_XML/0000901_1.xml").write_text(
        "<Document><QAPairs><QAPair><Question>Why?</Question><Answer/></QAPair><QAPair><Answer>So.</Answer></QAPair>"
        "</QAPairs></Document>"
    )
    got = read("medquad", root)
    assert [r.id for r in got.records] == ["1_CancerGov_QA/0000901_1-1"]
    assert [(f.where, f.reason) for f in got.faults if f.where != str(two)] == [
        (f"{one}: pair 2", "answer: empty"),
        (str(three), "expected <QAPair> or <pair> in <doc>, found none"),
        (f"{root}/8_NHLBI_QA_XML/0000901_1.xml: pair 1", "answer: empty"),
        (f"{root}/8_NHLBI_QA_XML/0000901_1.xml: pair 2", "question: empty"),
    ]
    assert next(f.reason for f in got.faults if f.where == str(two)).startswith("not XML: ")
