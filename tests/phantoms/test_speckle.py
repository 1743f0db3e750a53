from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
from scipy.ndimage import gaussian_filter

from unimedvl.phantoms import speckle


def test_the_intensity_of_one_look_is_exponential_and_of_many_looks_narrower():
    even = np.full((300, 300), 4.0, np.float32)
    one = speckle.intensity(np.random.default_rng(0), even, (1.0, 1.5))
    four = speckle.intensity(np.random.default_rng(0), even, (1.0, 1.5), looks=4)
    assert abs(one.mean() / 4 - 1) < 0.05 and abs(four.mean() / 4 - 1) < 0.05
    assert abs(one.std() / one.mean() - 1) < 0.06  # a contrast of 1 is what tells Rayleigh amplitude
    assert abs(four.std() / four.mean() - 0.5) < 0.05
    assert abs(np.mean(one > 4 * np.log(2)) - 0.5) < 0.03


def test_the_point_spread_correlates_neighbours():
    even = np.ones((200, 200), np.float32)
    field = speckle.intensity(np.random.default_rng(1), even, (0.5, 2.5))
    down = np.corrcoef(field[:-2].ravel(), field[2:].ravel())[0, 1]
    across = np.corrcoef(field[:, :-2].ravel(), field[:, 2:].ravel())[0, 1]
    assert across > 0.6 and abs(down) < 0.15


def test_blurring_is_the_gaussian_filter_of_scipy():
    image = np.random.default_rng(4).random((40, 60), dtype=np.float32)
    for spread in ((0.6, 0.6), (1.05, 2.5)):
        right = gaussian_filter(image.astype(float), spread, mode="nearest", truncate=3.0)
        assert np.allclose(speckle.blurred(image, spread), right, atol=1e-5)


def test_a_steady_echo_adds_to_the_amplitude():
    line = np.zeros((64, 64), np.float32)
    line[32] = 10.0
    lit = speckle.intensity(np.random.default_rng(2), np.zeros((64, 64), np.float32), (1.0, 1.0), line)
    assert lit[32].min() > 10 and lit[20].max() == 0


def test_resizing_keeps_the_mean_and_a_flat_image_flat():
    image = np.random.default_rng(3).random((256, 256), dtype=np.float32)
    for size in (64, 100, 200, 256, 512):
        small = speckle.resized(image, size)
        assert small.shape == (size, size) and abs(small.mean() - image.mean()) < 0.003
        assert np.allclose(speckle.resized(np.ones((256, 256), np.float32), size), 1, atol=1e-5)
    blocks = image.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.allclose(speckle.resized(image, 64), blocks, atol=1e-5)


def test_every_modality_renders_the_same_bytes_with_any_number_of_threads():
    """Two processes, for the number of threads is set when numpy is loaded; seeds at which OCT once differed."""
    script = (
        "import hashlib\n"
        "from unimedvl.phantoms import SIMULATORS, simulate\n"
        "images = [i for m in SIMULATORS for s in (1000752, 1000842) for i in simulate(m, s).images.values()]\n"
        "print(hashlib.sha256(b''.join(i.tobytes() for i in images)).hexdigest())\n"
    )
    found = set()
    for threads in ("1", "2"):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        found.add(subprocess.check_output([sys.executable, "-c", script], env=environment))
    assert len(found) == 1
