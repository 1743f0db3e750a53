"""MedQuAD in miniature: the roots that its files have, answers over several lines, and a number in two folders."""

from __future__ import annotations

from pathlib import Path

_DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="{id}" source="{source}" url="https://example.org/{id}">
<Focus>{focus}</Focus>
{annotations}<QAPairs>
{pairs}</QAPairs>
</Document>
"""
_PAIR = """<QAPair pid="{n}">
<Question qid="{id}-{n}" qtype="{kind}">{asked}</Question>
<Answer>{said}</Answer>
</QAPair>
"""
_ANNOTATIONS = """<FocusAnnotations><Category>Disease</Category><UMLS><CUIs><CUI>C0000901</CUI></CUIs>
<SemanticTypes><SemanticType>T047</SemanticType></SemanticTypes><SemanticGroup>Disorders</SemanticGroup></UMLS>
<Synonyms><Synonym>invented illness</Synonym></Synonyms></FocusAnnotations>
"""
_OTHER = """<?xml version="1.0" encoding="UTF-8"?>
<doc corpus="GHR" docid="0000903" url="https://example.org/0000903"><focus>Sample trait</focus>
<qaPairs><pair><question qtype="inheritance">Is sample trait inherited?</question>
<answer>It is not known to be.</answer></pair></qaPairs></doc>
"""
_DISEASE = """<?xml version="1.0" encoding="UTF-8"?>
<DiseaseFile fid="0000904"><Focus>Mock fever</Focus><QAPairs><QAPair pid="1">
<Question qid="0000904-1" qtype="symptoms">What are the signs of mock fever?</Question>
<Answer>None, as it is made up.</Answer></QAPair></QAPairs></DiseaseFile>
"""


def write(root: Path) -> None:
    first = [
        ("information", "What is (are) sample illness?",
         "Key Points\n       - It is invented.\n\n   - It harms &lt; 1 person."),
        ("treatment", "How is sample illness treated?", "By   deleting\n it."),
    ]  # fmt: skip
    _write(root, "1_CancerGov_QA/0000901_1", "Sample illness", "CancerGov", first, _ANNOTATIONS)
    _write(root, "8_NHLBI_QA_XML/0000901_1", "Sample vessel", "NHLBI", [("causes", "What causes it?", "Nothing does.")])
    _save(root / "3_GHR_QA/0000903.xml", _OTHER)
    _save(root / "2_GARD_QA/0000904.xml", _DISEASE)


def _write(root: Path, name: str, focus: str, source: str, pairs: list[tuple], annotations: str = "") -> None:
    key = name.rpartition("/")[2]
    texts = (_PAIR.format(n=n, id=key, kind=k, asked=a, said=s) for n, (k, a, s) in enumerate(pairs, 1))
    values = {"id": key, "source": source, "focus": focus, "annotations": annotations, "pairs": "".join(texts)}
    _save(root / f"{name}.xml", _DOCUMENT.format(**values))


def _save(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
