"""The words for abdominal ultrasound."""

from __future__ import annotations

from unimedvl.phantoms.terms import AMOUNT, EXTENT, Modality, Term, View

WORDS = Modality(
    code="us",
    module="ultrasound",
    said="ultrasound",
    aliases=("sonography", "ultrasound scan", "sonogram"),
    an="an ultrasound",
    organ="abdomen",
    scene="the liver, gallbladder and right kidney",
    views=(View("b-mode", "abdominal ultrasound", "{plane} ultrasound of the {organ}"),),
    terms=(
        Term("liver cyst", said=("hepatic cyst",), short="cyst", grades=EXTENT, measured=True,
             heard=("simple cyst of the liver", "simple hepatic cyst")),
        Term("liver mass", said=("solid liver mass",), short="mass", grades=EXTENT, measured=True,
             heard=("hepatic mass", "liver tumour", "hepatic haemangioma", "liver metastasis",
                    "focal liver lesion")),
        Term("gallstones", number="many", grades=AMOUNT, counted=True,
             heard=("gallstone", "cholelithiasis", "gallbladder stones", "gallbladder stone")),
        Term("hepatic steatosis", said=("fatty liver",), short="steatosis", number="mass",
             heard=("steatosis", "fatty infiltration of the liver", "fatty liver disease")),
        Term("ascites", said=("free abdominal fluid",), number="mass",
             heard=("free fluid", "intraperitoneal fluid", "peritoneal fluid")),
        Term("hydronephrosis", number="mass",
             heard=("dilated renal pelvis", "pelvicalyceal dilatation", "dilated collecting system")),
    ),
    structures=("liver", "gallbladder", "kidney"),
    attributes=(("plane", ("longitudinal",)),),
)
