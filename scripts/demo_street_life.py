"""Scenes of town and garden drawn by program, each with a colour of its own."""

from __future__ import annotations

import math

import numpy as np
from demo_canvas import Canvas, Colour, Point


def night_city(canvas: Canvas, time_s: float) -> None:
    """Draw a black city at night with yellow windows."""
    canvas.gradient(0, 0.82, (4, 6, 18), (14, 18, 44))
    for _ in range(120):
        x, y = canvas.rng.uniform(0, 1), canvas.rng.uniform(0, 0.5)
        canvas.oval(float(x), float(y), 0.0018, 0.0018, (214, 220, 240))
    canvas.glow(0.82, 0.15, 0.13, (220, 222, 200), 0.35)
    canvas.oval(0.82, 0.15, 0.055, 0.055, (244, 242, 222))
    canvas.oval(0.835, 0.138, 0.048, 0.048, (16, 20, 40))
    canvas.box(0, 0.82, 1, 1, (7, 8, 16))
    left = -0.02
    while left < 1.0:
        width, top = float(canvas.rng.uniform(0.075, 0.13)), float(canvas.rng.uniform(0.24, 0.60))
        _tower(canvas, left, left + width, top)
        left += width + float(canvas.rng.uniform(-0.004, 0.012))
    canvas.line([(0, 0.905), (1, 0.905)], (46, 46, 60), 0.004)
    for car in range(5):
        x = (0.23 * car + 0.13 * time_s) % 1.2 - 0.1
        canvas.box(x - 0.024, 0.866, x + 0.024, 0.888, (26, 26, 38))
        canvas.box(x - 0.012, 0.850, x + 0.012, 0.868, (40, 40, 56))
        canvas.polygon([(x + 0.024, 0.875), (x + 0.10, 0.868), (x + 0.10, 0.895)], (92, 86, 48))
        canvas.oval(x + 0.024, 0.877, 0.008, 0.008, (255, 244, 176))
        canvas.oval(x - 0.024, 0.877, 0.006, 0.006, (220, 40, 36))


def _tower(canvas: Canvas, left: float, right: float, top: float) -> None:
    shade = int(canvas.rng.integers(0, 10))
    canvas.box(left, top, right, 0.82, (12 + shade, 13 + shade, 24 + shade))
    columns = max(round((right - left) / 0.019), 3)
    step = (right - left) / columns
    for row in range(int((0.80 - top) / 0.036)):
        for column in range(columns):
            lit = canvas.rng.uniform()
            x, y = left + (column + 0.25) * step, top + 0.018 + 0.036 * row
            warm = ((255, 214, 74), (250, 192, 52), (255, 232, 140))[int(lit * 97) % 3]
            colour = warm if lit < 0.52 else (24, 26, 40)
            canvas.box(x, y, x + 0.5 * step, y + 0.020, colour)
            if lit < 0.52 and y > 0.6:
                canvas.box(x, 1.74 - y * 1.06, x + 0.5 * step, 1.745 - y * 1.06, (70, 58, 24))


def cherry_blossom(canvas: Canvas, time_s: float) -> None:
    """Draw a cherry tree in pink blossom."""
    canvas.gradient(0, 0.80, (178, 214, 240), (250, 226, 236))
    canvas.gradient(0.78, 1, (166, 196, 120), (120, 160, 84))
    canvas.texture(0.78, 1, 0.10, 60, 10)
    canvas.oval(0.5, 0.86, 0.52, 0.06, (244, 176, 202))
    bark = (86, 52, 48)
    canvas.polygon(
        [(0.455, 0.87), (0.475, 0.60), (0.47, 0.48), (0.53, 0.48), (0.525, 0.60), (0.555, 0.87)],
        bark,
    )
    limbs: list[list[Point]] = [
        [(0.50, 0.55), (0.38, 0.42), (0.24, 0.36), (0.13, 0.38)],
        [(0.50, 0.52), (0.42, 0.30), (0.33, 0.18)],
        [(0.50, 0.50), (0.53, 0.30), (0.50, 0.12)],
        [(0.50, 0.52), (0.62, 0.32), (0.72, 0.20)],
        [(0.50, 0.56), (0.64, 0.44), (0.78, 0.38), (0.89, 0.40)],
    ]
    for limb in limbs:
        canvas.line(limb, bark, 0.026)
    joints = [point for limb in limbs for point in limb[1:]]
    pinks = ((224, 112, 158), (238, 142, 178), (246, 172, 200), (252, 200, 218), (254, 226, 236))
    for layer, pink in enumerate(pinks):
        for _ in range(650):
            x, y = joints[canvas.rng.integers(len(joints))]
            dx, dy = canvas.rng.normal(0, (0.062, 0.066))
            size = float(canvas.rng.uniform(0.006, 0.017)) * (1.15 - 0.13 * layer)
            canvas.oval(x + float(dx), y + float(dy) - 0.006 * layer, size, size * 0.9, pink)
    for limb in limbs:
        canvas.line(limb[:2], bark, 0.014)
    for _ in range(420):
        fall, x = float(canvas.rng.uniform(0, 1)), float(canvas.rng.uniform(0.05, 0.95))
        y = (0.50 + 0.5 * fall + 0.04 * time_s) % 1.0
        if y > 0.45:
            canvas.oval(x, y, 0.006, 0.0035, pinks[canvas.rng.integers(1, 5)])


def dog_on_grass(canvas: Canvas, time_s: float) -> None:
    """Draw a brown dog on green grass."""
    canvas.gradient(0, 0.30, (132, 186, 112), (98, 164, 72))
    for _ in range(26):
        x, size = float(canvas.rng.uniform(-0.05, 1.05)), float(canvas.rng.uniform(0.08, 0.16))
        green = ((54, 110, 58), (66, 124, 62), (46, 98, 52))[canvas.rng.integers(3)]
        canvas.oval(x, 0.16, size * 1.1, size, green)
    canvas.gradient(0.24, 1, (112, 182, 66), (76, 152, 44), (52, 118, 32))
    canvas.texture(0.24, 1, 0.12, 70, 14)
    greens = ((92, 168, 54), (66, 138, 40), (118, 188, 70))
    canvas.strokes(1100, 0.26, 0.84, greens, 0.4)
    stride, x = math.sin(5 * time_s), 0.02 * time_s
    canvas.oval(0.50 + x, 0.855, 0.34, 0.03, (40, 92, 28))
    _dog(canvas, x, stride)
    canvas.strokes(700, 0.84, 1.02, greens, 0.4)


def _dog(canvas: Canvas, x: float, stride: float) -> None:
    brown, dark, light = (142, 86, 42), (96, 56, 28), (186, 126, 72)
    for hip, phase, colour in (
        (0.40, 1, dark),
        (0.61, -1, dark),
        (0.36, -1, brown),
        (0.57, 1, brown),
    ):
        step = 0.02 * phase * stride
        canvas.line(
            [(hip + x, 0.62), (hip + x + 0.008, 0.72), (hip + x + step, 0.84)], colour, 0.062
        )
        canvas.oval(hip + x + step + 0.012, 0.846, 0.046, 0.022, colour)
    tail = [(0.33, 0.50), (0.27, 0.43), (0.245, 0.33 + 0.02 * stride)]
    canvas.line([(px + x, py) for px, py in tail], brown, 0.034)
    canvas.oval(0.245 + x, 0.33 + 0.02 * stride, 0.017, 0.017, light)
    canvas.oval(0.40 + x, 0.55, 0.155, 0.125, brown)
    canvas.oval(0.49 + x, 0.56, 0.20, 0.112, brown)
    canvas.oval(0.58 + x, 0.54, 0.145, 0.130, brown)
    canvas.oval(0.49 + x, 0.625, 0.17, 0.045, light)
    canvas.polygon(
        [(0.575 + x, 0.55), (0.60 + x, 0.36), (0.69 + x, 0.36), (0.665 + x, 0.57)], brown
    )
    canvas.line([(0.592 + x, 0.455), (0.678 + x, 0.475)], (204, 40, 40), 0.026)
    canvas.oval(0.668 + x, 0.505, 0.016, 0.016, (246, 206, 70))
    canvas.oval(0.655 + x, 0.335, 0.108, 0.098, brown)
    canvas.oval(0.725 + x, 0.375, 0.078, 0.052, light)
    canvas.oval(0.772 + x, 0.355, 0.022, 0.019, (30, 22, 20))
    canvas.line([(0.70 + x, 0.402), (0.735 + x, 0.410), (0.765 + x, 0.390)], (70, 38, 24), 0.007)
    canvas.polygon(
        [(0.725 + x, 0.408), (0.748 + x, 0.403), (0.740 + x, 0.448), (0.728 + x, 0.446)],
        (228, 112, 122),
    )
    canvas.oval(0.680 + x, 0.315, 0.017, 0.018, (250, 246, 240))
    canvas.oval(0.683 + x, 0.317, 0.012, 0.013, (26, 18, 16))
    canvas.polygon(
        [
            (0.600 + x, 0.265),
            (0.640 + x, 0.270),
            (0.635 + x, 0.42),
            (0.600 + x, 0.46),
            (0.578 + x, 0.40),
        ],
        dark,
    )


def rainy_street(canvas: Canvas, time_s: float) -> None:
    """Draw a grey street in the rain with somebody under an umbrella."""
    canvas.gradient(0, 0.56, (132, 138, 146), (186, 190, 194))
    meet_x, horizon = 0.5, 0.54
    for near_x, far_x, shade in ((-0.02, 0.40, (104, 106, 112)), (1.02, 0.60, (92, 94, 102))):
        canvas.polygon([(near_x, -0.1), (far_x, 0.34), (far_x, horizon), (near_x, 0.86)], shade)
        for column in range(6):
            for row in range(4):
                _street_window(canvas, near_x, far_x, column, row)
    canvas.box(0.40, 0.34, 0.60, 0.54, (150, 154, 160))
    canvas.box(0.44, 0.26, 0.54, 0.54, (140, 144, 150))
    canvas.polygon(
        [
            (0.40, horizon),
            (0.60, horizon),
            (1.02, 0.86),
            (1.02, 1.02),
            (-0.02, 1.02),
            (-0.02, 0.86),
        ],
        (88, 90, 96),
    )
    canvas.polygon([(0.44, horizon), (0.56, horizon), (0.86, 1.02), (0.14, 1.02)], (70, 72, 78))
    canvas.texture(0.56, 1, 0.16, 60, 40)
    for stripe in range(6):
        near = (stripe / 6) ** 2
        y = 0.56 + 0.44 * near
        canvas.polygon(
            [
                (meet_x - 0.003 - 0.012 * near, y),
                (meet_x + 0.003 + 0.012 * near, y),
                (meet_x + 0.004 + 0.016 * near, y + 0.02 + 0.07 * near),
                (meet_x - 0.004 - 0.016 * near, y + 0.02 + 0.07 * near),
            ],
            (190, 192, 194),
        )
    for lamp, y, size in (
        (0.30, 0.66, 1.0),
        (0.69, 0.64, 0.85),
        (0.38, 0.58, 0.5),
        (0.61, 0.58, 0.45),
    ):
        canvas.line([(lamp, y), (lamp, y - 0.34 * size)], (48, 50, 54), 0.010 * size)
        canvas.oval(lamp, y - 0.35 * size, 0.018 * size, 0.022 * size, (236, 232, 214))
        canvas.line([(lamp, y + 0.03), (lamp, y + 0.16 * size)], (142, 142, 140), 0.012 * size)
    _umbrella(canvas, 0.43, 0.90)
    for _ in range(420):
        x, y = float(canvas.rng.uniform(0, 1.05)), float(canvas.rng.uniform(0, 1))
        y = (y + 0.9 * time_s) % 1.1 - 0.05
        canvas.line([(x, y), (x - 0.006, y + 0.045)], (196, 200, 206), 0.0018)
    for _ in range(70):
        x, y = float(canvas.rng.uniform(0.05, 0.95)), float(canvas.rng.uniform(0.72, 0.99))
        canvas.oval(x, y, 0.014, 0.004, (120, 124, 130))


def _street_window(canvas: Canvas, near_x: float, far_x: float, column: int, row: int) -> None:
    """Draw one window of a facade, which gets smaller with distance."""

    def place(along: float, up: float) -> Point:
        along = along**0.6
        top, bottom = -0.1 + 0.44 * along, 0.86 - 0.32 * along
        return near_x + (far_x - near_x) * along, bottom + (top - bottom) * up

    start, base = 0.04 + 0.16 * column, 0.22 + 0.19 * row
    corners = [
        (start, base),
        (start + 0.08, base),
        (start + 0.08, base + 0.12),
        (start, base + 0.12),
    ]
    lit = canvas.rng.uniform() < 0.12
    glass: Colour = (206, 198, 168) if lit else (66, 70, 78)
    canvas.polygon([place(along, up) for along, up in corners], glass)


def _umbrella(canvas: Canvas, x: float, y: float) -> None:
    coat, black = (52, 54, 60), (28, 29, 33)
    canvas.oval(x, y + 0.005, 0.075, 0.014, (54, 56, 60))
    for leg in (-0.012, 0.012):
        canvas.line([(x + leg, y - 0.12), (x + leg * 1.3, y)], black, 0.020)
    canvas.polygon(
        [
            (x - 0.020, y - 0.30),
            (x + 0.020, y - 0.30),
            (x + 0.034, y - 0.10),
            (x - 0.034, y - 0.10),
        ],
        coat,
    )
    canvas.oval(x, y - 0.325, 0.027, 0.032, (168, 134, 116))
    canvas.line([(x + 0.018, y - 0.22), (x + 0.030, y - 0.43)], black, 0.007)
    dome = [
        (x + 0.030 + 0.115 * math.cos(a), y - 0.385 - 0.12 * math.sin(a))
        for a in np.linspace(0, math.pi, 30)
    ]
    canvas.polygon(dome, black)
    for rib in range(5):
        canvas.oval(x - 0.062 + 0.046 * rib, y - 0.385, 0.034, 0.012, (86, 88, 94))
