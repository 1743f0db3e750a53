"""The inside of a colon as a wide-angle camera meets it: a bent tube with folds, rays, and its wall's textures.

Lengths are millimetres. The camera is at the origin and looks along +z; +x is the image's right and +y its lower
edge. The lens is equidistant: the angle from the axis grows evenly with the distance from the image's middle, as it
nearly does in colonoscopes. The field is 133 degrees from side to side and more in the corners; colonoscopes' are
140 to 170 degrees.

The colon's figures are those of an insufflated adult colon: 40 to 50 mm wide, semilunar folds every 15 to 30 mm that
reach 5 to 10 mm inward, rounded towards a triangle by the three taeniae.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from unimedvl.phantoms.shapes import grid, strokes

HALF_FIELD = 1.16         # radians at the image's side, one image unit from its middle
NEAR, FAR = 3.0, 230.0    # where rays begin and where they are given up
STEP = 0.2                # of the table along the tube
PERIOD = 150.0            # of the wall's textures, along and around
TEXELS = 384              # of a texture's side
MARCHES = 44


@lru_cache(maxsize=4)
def rays(size: int) -> np.ndarray:
    """Directions of the pixels' rays, three [H * W] float32 rows of unit vectors, as [3, H * W]."""
    x, y = grid(size)
    r = np.maximum(np.hypot(x, y), 1e-6)
    angle = HALF_FIELD * r
    d = np.stack([np.sin(angle) * x / r, np.sin(angle) * y / r, np.cos(angle)]).reshape(3, -1).astype(np.float32)
    d.flags.writeable = False
    return d


def ray_to(x: float, y: float) -> np.ndarray:
    """Direction of the ray through one image point, [3, 1]."""
    r = max(float(np.hypot(x, y)), 1e-6)
    s, c = np.sin(HALF_FIELD * r), np.cos(HALF_FIELD * r)
    return np.array([[s * x / r], [s * y / r], [c]], np.float32)


@dataclass(frozen=True)
class Tube:
    """A colon tabulated along z every STEP mm from z = 0.

    cx, cy: the centreline. radius: between folds. height: of the fold there. fold_x, fold_y: the direction in which
    the fold is highest. taenia: cosine and sine of three times the direction of a taenia, times their depth.
    """

    cx: np.ndarray
    cy: np.ndarray
    radius: np.ndarray
    height: np.ndarray
    fold_x: np.ndarray
    fold_y: np.ndarray
    taenia: tuple[float, float]

    def gap(self, p: np.ndarray, smooth: bool = False) -> np.ndarray:
        """How far points [3, N] are from the wall, positive inside the lumen; a measure, not a distance.

        smooth: read between the table's entries.
        """
        at = np.clip(p[2] * np.float32(1 / STEP), 0, len(self.cx) - 2)
        i = at.astype(np.int32)
        f = at - i

        def read(column: np.ndarray) -> np.ndarray:
            low = column[i]
            return low + f * (column[i + 1] - low) if smooth else low

        qx, qy = p[0] - read(self.cx), p[1] - read(self.cy)
        rho = np.sqrt(qx * qx + qy * qy) + np.float32(1e-3)
        c, s = qx / rho, qy / rho
        toward = c * read(self.fold_x) + s * read(self.fold_y)
        semilunar = np.clip((toward + 0.45) * np.float32(1 / 1.45), 0, 1)
        three = self.taenia[0] * (c * (4 * c * c - 3)) + self.taenia[1] * (s * (3 - 4 * s * s))
        return read(self.radius) * (1 - three) - read(self.height) * np.sqrt(semilunar) - rho

    def hits(self, d: np.ndarray) -> np.ndarray:
        """How far along the rays [3, N] the wall is, at most FAR, [N]; by relaxed sphere tracing (Hart, 1996)."""
        t = np.full(d.shape[1], NEAR, np.float32)
        active = np.arange(d.shape[1])
        da, ta = d, t.copy()
        for k in range(MARCHES):
            step = self.gap(da * ta)
            ta = np.minimum(ta + np.float32(0.55) * step, FAR)
            if k % 4 == 3:
                t[active] = ta
                going = (np.abs(step) > 0.04) & (ta < FAR)
                active, da, ta = active[going], da[:, going], ta[going]
                if not len(active):
                    break
        t[active] = ta
        return np.maximum(t, 0.5)

    def normals(self, p: np.ndarray) -> np.ndarray:
        """Unit normals [3, N] of the wall at p, into the lumen, from differences over 0.4 mm."""
        n = np.empty_like(p)
        for k in range(3):
            e = np.zeros((3, 1), np.float32)
            e[k] = 0.4
            n[k] = self.gap(p + e, smooth=True) - self.gap(p - e, smooth=True)
        return n / np.maximum(np.sqrt((n * n).sum(0)), 1e-6)

    def on_wall(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points are on the wall: around it and along it, in mm, both [N]."""
        i = np.clip(p[2] * (1 / STEP), 0, len(self.cx) - 1).astype(np.int32)
        return np.arctan2(p[1] - self.cy[i], p[0] - self.cx[i]) * np.float32(PERIOD / (2 * np.pi)), p[2]

    def fold(self, p: np.ndarray) -> np.ndarray:
        """How high the fold is at points, 0 to 1 of the highest, [N]."""
        i = np.clip(p[2] * (1 / STEP), 0, len(self.cx) - 1).astype(np.int32)
        qx, qy = p[0] - self.cx[i], p[1] - self.cy[i]
        toward = (qx * self.fold_x[i] + qy * self.fold_y[i]) / (np.hypot(qx, qy) + 1e-3)
        return self.height[i] / self.height.max() * np.sqrt(np.clip((toward + 0.45) / 1.45, 0, 1))


def tube(anatomy: dict[str, float], seed: int) -> Tube:
    """The colon of an anatomy (see `endoscopy.sample` for its numbers); seed draws the folds."""
    rng = np.random.default_rng([seed, 1])
    z = np.arange(0, FAR + 20, STEP)
    bend = 0.5 * anatomy["bend"] * np.clip(z - 15, 0, None) ** 2
    cx = -anatomy["camera_x"] + anatomy["slope_x"] * z + bend * np.cos(anatomy["bend_angle"])
    cy = -anatomy["camera_y"] + anatomy["slope_y"] * z + bend * np.sin(anatomy["bend_angle"])
    height, fold_x, fold_y = np.zeros_like(z), np.ones_like(z), np.zeros_like(z)
    at, angle = 16 + anatomy["fold_gap"] * rng.uniform(0, 0.8), rng.uniform(0, 2 * np.pi)
    starts = [at]
    while starts[-1] < z[-1]:
        starts.append(starts[-1] + anatomy["fold_gap"] * rng.uniform(0.75, 1.3))
    for k, at in enumerate(starts):
        middle = (np.abs(z - at) <= anatomy["fold_gap"] * 0.5) if k == 0 else z >= (at + starts[k - 1]) / 2
        fold_x[middle], fold_y[middle] = np.cos(angle), np.sin(angle)
        tall, wide = anatomy["fold_height"] * rng.uniform(0.75, 1.2), rng.uniform(2.4, 3.6)
        # The side towards the camera is the gentler one: folds lean away from the flow of air.
        height += tall * np.exp(-((np.abs(z - at) / np.where(z < at, 1.2 * wide, wide)) ** 1.7))
        angle += 2 * np.pi / 3 * rng.choice((-1, 1)) + rng.uniform(-0.4, 0.4)
    radius = anatomy["radius"] * (1 + 0.05 * np.sin(z / 23 + anatomy["bend_angle"])) * (1 - 0.0012 * z)
    columns = (np.asarray(c, np.float32) for c in (cx, cy, radius, height, fold_x, fold_y))
    taenia = 3 * anatomy["taenia"]
    return Tube(*columns, (0.07 * float(np.cos(taenia)), 0.07 * float(np.sin(taenia))))


def rough(rng: np.random.Generator, feature: float) -> np.ndarray:
    """A random texture that repeats every PERIOD mm, deviation 1, with features of about the given mm."""
    texels = int(np.clip(PERIOD / feature * 4, 32, TEXELS))
    field = gaussian_filter(rng.standard_normal((texels, texels)).astype(np.float32),
                            feature / PERIOD * texels / 2.5, mode="wrap", truncate=3)
    return field / field.std()


def look_up(texture: np.ndarray, around: np.ndarray, along: np.ndarray) -> np.ndarray:
    """A texture [M, M] at places on the wall in mm, [N]."""
    scale = np.float32(texture.shape[0] / PERIOD)
    return map_coordinates(texture, (along * scale, around * scale), order=1, mode="grid-wrap")


def vessel_texture(rng: np.random.Generator) -> np.ndarray:
    """The submucosa's branching vessels on the wall, 0 to 1, [TEXELS, TEXELS] over PERIOD mm each way.

    Trees are walked in steps of 2 mm, all tips at once; each tip may fork and thins as it goes.
    """
    unit = 2 / PERIOD
    n = 42
    point = rng.uniform(-1, 1, (n, 2))
    heading = rng.uniform(0, 2 * np.pi, n)
    width = rng.uniform(0.28, 0.62, n)
    starts, ends, widths = [], [], []
    for _ in range(16):
        heading = heading + rng.normal(0, 0.3, len(heading))
        reached = point + 2.0 * unit * np.stack([np.cos(heading), np.sin(heading)], 1)
        starts.append(point)
        ends.append(reached)
        widths.append(width)
        fork = rng.random(len(width)) < 0.22
        turn = rng.choice((-1, 1), fork.sum()) * rng.uniform(0.5, 1.0, fork.sum())
        point = np.concatenate([reached, reached[fork]])
        heading = np.concatenate([heading, heading[fork] + turn])
        width = np.concatenate([np.where(fork, 0.85, 0.95) * width, 0.65 * width[fork]])
        keep = width > 0.11
        point, heading, width = point[keep], heading[keep], width[keep]
    a, b, w = np.concatenate(starts), np.concatenate(ends), np.concatenate(widths)
    wrapped = (a + 1) % 2 - 1
    weight = np.clip(w / 0.35, 0.35, 1)
    return strokes(TEXELS, wrapped, wrapped + b - a, np.maximum(w * unit, 0.0028), weight, softness=0.004)
