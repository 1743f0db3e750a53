"""The right upper abdomen as an ultrasound plane: liver, gallbladder and kidney as signed distances.

Coordinates are millimetres: x to the image's right (towards the feet), y deep, the origin where the middle of the
probe touches the skin. Every function of shape is positive inside. Sizes are those of adults: kidney 90 to 120 mm
long (Emamian et al., AJR 160:83, 1993), gallbladder up to 100 mm long and 40 mm wide with a wall under 3 mm,
liver echoes a little brighter than those of the kidney's cortex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimedvl.phantoms.study import Case, Finding


@dataclass(frozen=True)
class Ellipse:
    """Centre and semi-axes [mm]; turn [radians] raises the right end of the first axis towards the probe."""

    x: float
    y: float
    a: float
    b: float
    turn: float = 0.0

    def local(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates along the two axes, in semi-axes."""
        c, s = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        return (c * dx - s * dy) / np.float32(self.a), (s * dx + c * dy) / np.float32(self.b)

    def inside(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """About the distance to the outline [mm], positive inside."""
        u, v = self.local(x, y)
        return (1 - np.sqrt(u * u + v * v)) * np.float32(min(self.a, self.b))

    def at(self, u: float, v: float) -> tuple[float, float]:
        """The point [mm] of coordinates along the axes, in semi-axes."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        return self.x + c * u * self.a + s * v * self.b, self.y - s * u * self.a + c * v * self.b


def gallbladder(anatomy: dict[str, float]) -> Ellipse:
    """The gallbladder; its neck is at the left and deep end."""
    return Ellipse(anatomy["gb_x"], anatomy["gb_y"], anatomy["gb_length"] / 2, anatomy["gb_width"] / 2,
                   anatomy["gb_turn"])


def gallbladder_inside(anatomy: dict[str, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance inside a pear: the ellipse, narrower at the neck [mm]."""
    shape = gallbladder(anatomy)
    u, v = shape.local(x, y)
    v = v / (0.80 + 0.30 * np.clip(u, -1, 1))
    return (1 - (np.abs(u) ** 2.5 + np.abs(v) ** 2.5) ** np.float32(0.4)) * np.float32(shape.b)


def kidney(anatomy: dict[str, float]) -> Ellipse:
    return Ellipse(anatomy["kidney_x"], anatomy["kidney_y"], anatomy["kidney_length"] / 2,
                   anatomy["kidney_length"] * 0.225, anatomy["kidney_turn"])


def sinus_inside(anatomy: dict[str, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance inside the fat of the renal sinus, an irregular ellipse."""
    k = kidney(anatomy)
    u, v = k.local(x, y)
    ripple = 1 + 0.10 * np.sin(7 * np.arctan2(v, u) + anatomy["phase"])
    return (ripple - np.hypot(u / 0.62, (v - 0.05) / 0.40)) * np.float32(0.4 * k.b)


def collecting_inside(finding: Finding, anatomy: dict[str, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance inside a dilated collecting system: the pelvis, and calyces that spread from it [mm].

    Shape: degree 0 to 1, then a size for each calyx, 0.8 to 1.2. The parts run together smoothly.
    """
    k, degree = kidney(anatomy), finding.shape[0]
    px, py = k.at(0.0, 0.10)
    parts = [Ellipse(px, py, k.a * (0.24 + 0.18 * degree), k.b * (0.15 + 0.25 * degree), k.turn).inside(x, y)]
    places = ((-0.50, -0.02), (-0.24, -0.36), (0.12, -0.40), (0.46, -0.22), (0.44, 0.26), (-0.30, 0.34))
    for (u, v), much in zip(places, finding.shape[1:], strict=True):
        reach = 0.62 + 0.38 * degree
        cx, cy = k.at(u * reach, v * reach)
        radius = np.float32(k.b * (0.08 + 0.22 * degree) * much)
        parts.append(Ellipse(cx, cy, radius * 1.25, radius, k.turn).inside(x, y))
        parts.append(0.55 * radius - np.sqrt(_off_line(x, y, (px, py), (cx, cy))))
    soft = np.float32(1.2)
    return soft * np.log(np.sum(np.exp(np.clip(np.array(parts) / soft, -30, 30)), axis=0))


def _off_line(x: np.ndarray, y: np.ndarray, a: tuple[float, float], b: tuple[float, float]) -> np.ndarray:
    """Square of the distance [mm] to the line from a to b."""
    ax, ay = np.float32(a[0]), np.float32(a[1])
    ux, uy = np.float32(b[0] - a[0]), np.float32(b[1] - a[1])
    dx, dy = x - ax, y - ay
    t = np.clip((dx * ux + dy * uy) / np.float32(max(ux * ux + uy * uy, 1e-6)), 0, 1)
    dx -= t * ux
    dy -= t * uy
    return dx * dx + dy * dy


def diaphragm_inside(anatomy: dict[str, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance inside the dome of the diaphragm [mm]: the belly is inside, the lung outside."""
    r = anatomy["dome"]
    return r - np.hypot(x - anatomy["dome_x"], (y - anatomy["dome_y"]) * 0.92)


def above_viscera(anatomy: dict[str, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance above the liver's visceral face [mm], which rises towards the liver's edge at the right."""
    s = (x - anatomy["edge_x"]) / 60.0
    face = anatomy["edge_y"] - 62.0 * s + 8.0 * np.sin(1.7 * s + anatomy["phase"])
    face = np.where(s > 0, face - 60 * s * s, face)
    return (face - y) * np.float32(0.72)


def liver_inside(anatomy: dict[str, float], x: np.ndarray, y: np.ndarray, wall: np.ndarray) -> np.ndarray:
    """Distance inside the liver [mm], before the kidney and the gallbladder have pressed their hollows into it.

    wall: distance below the abdominal wall, on the same grid.
    """
    return np.minimum(np.minimum(wall, diaphragm_inside(anatomy, x, y)), above_viscera(anatomy, x, y))


def vessel_inside(case: Case, x: np.ndarray, y: np.ndarray, portal: bool) -> np.ndarray:
    """Distance inside the portal or the hepatic veins where the plane cuts them [mm].

    Each has a part of the liver for itself and runs towards the hilum, gently bent; some are cut across.
    """
    rng = np.random.default_rng([case.noise_seed, 5 + portal])
    least = np.full(x.shape, 1e6, np.float32)
    for cx, cy in ((-27, 56), (-47, 84), (-12, 88)) if portal else ((-48, 62), (-24, 78), (-2, 47)):
        px, py = cx + rng.uniform(-5, 5), cy + rng.uniform(-4, 4)
        heading = np.arctan2(96 - py, -16 - px) + rng.uniform(-0.5, 0.5)
        radius, bend = rng.uniform(1.4, 3.4), rng.normal(0, 0.16)
        length = rng.choice((0.5, 4.5, 6.5))
        px, py = px - 1.5 * length * np.cos(heading), py - 1.5 * length * np.sin(heading)
        for _ in range(4):
            nx, ny = px + length * np.cos(heading), py + length * np.sin(heading)
            # In units of the radius, so that one root serves all.
            least = np.minimum(least, _off_line(x, y, (px, py), (nx, ny)) / np.float32(radius * radius))
            px, py, radius, heading = nx, ny, radius * 1.1, heading + bend + rng.normal(0, 0.05)
    return (1 - np.sqrt(least)) * np.float32(2.2)


def mass_inside(finding: Finding, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance inside a rounded irregular outline [mm]. Shape: x, y, radius, echo [dB], three phases."""
    cx, cy, radius, _, *phases = finding.shape
    angle = np.arctan2(y - cy, x - cx)
    outline = 1 + sum(0.07 * np.cos((k + 2) * angle + p) for k, p in enumerate(phases))
    return radius * outline - np.hypot(x - cx, y - cy)
