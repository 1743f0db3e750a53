"""Lets PyPI's torchvision, which is built for CUDA, be imported beside a torch for the CPU.

Its compiled operators (such as non-maximum suppression) can't be loaded there, and stay missing; its Python, which
suites for evaluation import, only wants their names. Imported at the start of each process of test_harnesses.py's
environments.
"""

import torch

if torch.version.cuda is None:
    # kept, because names go with the library that declares them
    LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
