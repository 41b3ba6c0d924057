"""Landscapes drawn by program: no photo, no licence, and a colour of its own for each.

A scene is a function of a canvas and a time, so that films can be made of it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from demo_canvas import Canvas

Scene = Callable[[Canvas, float], None]


def red_barn(canvas: Canvas, time_s: float) -> None:
    """Draw a red barn in a green field."""
    canvas.gradient(0, 0.55, (96, 160, 222), (196, 224, 240))
    canvas.clouds(7, 0.06, 0.34, drift=0.02 * time_s)
    hills = [(x / 40, 0.5 - 0.03 * math.sin(x / 5) - 0.015 * math.sin(x / 2)) for x in range(41)]
    canvas.polygon([(0, 0.6), *hills, (1, 0.6)], (96, 140, 92))
    canvas.gradient(0.54, 1, (122, 176, 66), (60, 128, 38))
    canvas.texture(0.54, 1, 0.12, 90, 16)
    canvas.polygon([(0.30, 0.76), (0.84, 0.76), (0.90, 0.80), (0.36, 0.80)], (48, 98, 34))
    _barn(canvas)
    for x in range(-1, 12):
        canvas.box(x / 10, 0.80, x / 10 + 0.012, 0.93, (232, 226, 212))
    for y in (0.83, 0.885):
        canvas.box(0, y, 1, y + 0.016, (240, 236, 224))
    canvas.strokes(1500, 0.80, 1.02, [(70, 140, 44), (96, 164, 56), (44, 104, 32)], 0.4)


def _barn(canvas: Canvas) -> None:
    red, dark_red, white = (186, 32, 30), (138, 22, 24), (244, 238, 230)
    gable = [(0.24, 0.76), (0.24, 0.45), (0.30, 0.29), (0.40, 0.20), (0.50, 0.29), (0.56, 0.45)]
    canvas.polygon([(0.56, 0.76), (0.56, 0.45), (0.86, 0.47), (0.86, 0.73)], dark_red)
    canvas.polygon([(0.40, 0.20), (0.50, 0.29), (0.80, 0.32), (0.72, 0.23)], (98, 88, 86))
    canvas.polygon([(0.50, 0.29), (0.56, 0.46), (0.87, 0.48), (0.80, 0.32)], (80, 72, 72))
    canvas.polygon([*gable, (0.56, 0.76)], red)
    for plank in range(1, 20):
        x = 0.24 + 0.32 * plank / 20
        top = np.interp(x, [p[0] for p in gable[1:]], [p[1] for p in gable[1:]])
        canvas.line([(x, float(top)), (x, 0.76)], (164, 26, 26), 0.003)
    for plank in range(1, 16):
        x = 0.56 + 0.30 * plank / 16
        canvas.line(
            [(x, 0.462 + 0.02 * plank / 16), (x, 0.76 - 0.03 * plank / 16)], (120, 18, 20), 0.003
        )
    canvas.line(gable, white, 0.014)
    canvas.box(0.33, 0.54, 0.47, 0.76, white)
    canvas.box(0.337, 0.552, 0.463, 0.76, (160, 26, 26))
    canvas.line([(0.337, 0.552), (0.463, 0.76)], white, 0.012)
    canvas.line([(0.463, 0.552), (0.337, 0.76)], white, 0.012)
    canvas.box(0.37, 0.335, 0.43, 0.425, white)
    canvas.box(0.376, 0.345, 0.424, 0.415, (52, 40, 40))
    for x in (0.63, 0.73):
        canvas.box(x, 0.55, x + 0.045, 0.63, white)
        canvas.box(x + 0.006, 0.56, x + 0.039, 0.62, (60, 52, 56))


def sail_boat(canvas: Canvas, time_s: float) -> None:
    """Draw a blue sea with a sail boat."""
    canvas.gradient(0, 0.42, (70, 150, 226), (186, 222, 244))
    canvas.clouds(5, 0.05, 0.25, drift=0.01 * time_s)
    canvas.gradient(0.42, 1, (44, 122, 200), (16, 78, 164), (8, 48, 120))
    canvas.texture(0.42, 1, 0.10, 120, 7)
    for y in np.sort(canvas.rng.uniform(0.43, 1.0, 900)):
        near = (float(y) - 0.42) / 0.58
        x = (canvas.rng.uniform(-0.1, 1.1) + 0.01 * time_s * (1 + near)) % 1.2 - 0.1
        length = (0.006 + 0.05 * near) * canvas.rng.uniform(0.4, 1)
        light = [(150, 200, 236), (90, 158, 218), (12, 62, 140)][canvas.rng.integers(3)]
        bow = 0.006 * near
        canvas.line(
            [(x, y + bow), (x + length / 2, y), (x + length, y + bow)], light, 0.0015 + 0.004 * near
        )
    x, y, tilt = 0.46 + 0.035 * time_s, 0.62 + 0.006 * math.sin(2 * time_s), 0.01
    canvas.polygon(
        [(x - 0.13, y), (x + 0.14, y), (x + 0.10, y + 0.07), (x - 0.09, y + 0.07)], (248, 248, 244)
    )
    canvas.polygon(
        [
            (x - 0.115, y + 0.035),
            (x + 0.122, y + 0.035),
            (x + 0.10, y + 0.07),
            (x - 0.09, y + 0.07),
        ],
        (20, 44, 92),
    )
    canvas.line([(x, y), (x + tilt, y - 0.50)], (92, 66, 44), 0.010)
    canvas.polygon(
        [(x + 0.012, y - 0.03), (x + tilt + 0.006, y - 0.49), (x + 0.14, y - 0.05)], (252, 252, 248)
    )
    canvas.polygon(
        [(x - 0.008, y - 0.03), (x + tilt - 0.004, y - 0.44), (x - 0.12, y - 0.03)], (232, 236, 240)
    )
    for row in range(9):
        wobble = 0.012 * math.sin(row * 2.1 + 3 * time_s)
        width = 0.09 - 0.008 * row
        canvas.line(
            [
                (x - width + wobble, y + 0.085 + 0.022 * row),
                (x + width * 0.8 + wobble, y + 0.085 + 0.022 * row),
            ],
            (150, 192, 226),
            0.006,
        )


def sunflowers(canvas: Canvas, time_s: float) -> None:
    """Draw a field of yellow sunflowers."""
    canvas.gradient(0, 0.30, (112, 178, 234), (206, 230, 244))
    canvas.clouds(4, 0.04, 0.18)
    canvas.gradient(0.26, 1, (196, 176, 40), (96, 130, 36), (44, 92, 26))
    canvas.texture(0.26, 1, 0.2, 22, 12)
    sway = 0.01 * math.sin(2 * time_s)
    for row in range(13):
        near = (row / 12) ** 1.7
        y, radius = 0.29 + 0.60 * near, 0.012 + 0.088 * near
        count = round(34 - 27 * near)
        for place in range(count + 1):
            x = (place + 0.5 * (row % 2)) / count + float(canvas.rng.normal(0, 0.12 / count))
            flower_y = y + float(canvas.rng.normal(0, 0.15)) * radius
            canvas.line([(x, flower_y), (x, flower_y + 4 * radius)], (58, 112, 34), radius / 7)
            leaf_y = flower_y + 1.9 * radius
            canvas.oval(
                x + 0.006 + 0.3 * radius, leaf_y, radius * 0.5, radius * 0.22, (70, 130, 40)
            )
            _sunflower(canvas, x + sway * near, flower_y, radius)


def _sunflower(canvas: Canvas, x: float, y: float, radius: float) -> None:
    aspect = canvas.h / canvas.w
    turn = float(canvas.rng.uniform(0, math.pi))
    for ring, (colour, reach) in enumerate((((226, 158, 8), 1.0), ((254, 208, 22), 0.92))):
        for petal in range(16):
            angle = turn + (petal + ring / 2) * math.pi / 8
            along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
            shape = [(0.35, 0.0), (0.65, 0.17), (1.0, 0.0), (0.65, -0.17)]
            canvas.polygon(
                [
                    (
                        x + aspect * radius * reach * (a * along[0] + b * across[0]),
                        y + radius * reach * (a * along[1] + b * across[1]),
                    )
                    for a, b in shape
                ],
                colour,
            )
    canvas.oval(x, y, radius * 0.46, radius * 0.46, (84, 48, 16))
    canvas.oval(x, y, radius * 0.28, radius * 0.28, (54, 28, 10))


def desert_sunset(canvas: Canvas, time_s: float) -> None:
    """Draw an orange sunset over a desert."""
    canvas.gradient(0, 0.72, (206, 74, 32), (240, 120, 34), (255, 184, 74))
    canvas.texture(0, 0.6, 0.06, 260, 14)
    canvas.glow(0.66, 0.50 + 0.01 * time_s, 0.34, (255, 226, 130), 0.8)
    canvas.oval(0.66, 0.50 + 0.01 * time_s, 0.085, 0.085, (255, 244, 190))
    dunes = [
        (0.60, 0.035, 3.1, 0.4, (214, 112, 42)),
        (0.70, 0.055, 2.1, 1.9, (196, 90, 30)),
        (0.83, 0.070, 1.5, 4.4, (164, 68, 22)),
    ]
    for base, height, waves, phase, colour in dunes:
        crest = [(x / 60, base - height * math.sin(waves * x / 20 + phase)) for x in range(61)]
        canvas.polygon([(0, 1), *crest, (1, 1)], colour)
        lit = (min(colour[0] + 40, 255), colour[1] + 36, colour[2] + 20)
        canvas.line(crest, lit, 0.008)
        for fold in range(1, 7):
            ripple = [(x, y + 0.018 * fold + 0.004 * math.sin(40 * x + fold)) for x, y in crest]
            canvas.line(ripple, (max(colour[0] - 12, 0), colour[1] - 10, colour[2] - 6), 0.003)
    for x, y, size in ((0.16, 0.88, 1.0), (0.30, 0.77, 0.45), (0.90, 0.80, 0.6)):
        _cactus(canvas, x, y, 0.36 * size)


def _cactus(canvas: Canvas, x: float, y: float, height: float) -> None:
    dark, aspect = (54, 26, 18), canvas.h / canvas.w
    stem = 0.085 * height
    canvas.line([(x, y), (x, y - height)], dark, 2 * stem)
    canvas.oval(x, y - height, stem, stem, dark)
    for side, start, top in ((-1, 0.42, 0.78), (1, 0.55, 0.92)):
        out = x + side * 0.26 * height * aspect
        canvas.line([(x, y - start * height), (out, y - start * height)], dark, 1.4 * stem)
        canvas.line([(out, y - start * height), (out, y - top * height)], dark, 1.4 * stem)
        canvas.oval(out, y - start * height, 0.7 * stem, 0.7 * stem, dark)
        canvas.oval(out, y - top * height, 0.7 * stem, 0.7 * stem, dark)


def snowy_mountain(canvas: Canvas, time_s: float) -> None:
    """Draw a white mountain under a blue sky."""
    canvas.gradient(0, 0.72, (34, 104, 200), (92, 158, 228), (184, 216, 242))
    canvas.clouds(3, 0.08, 0.22, drift=0.01 * time_s)
    canvas.polygon(
        [(0, 0.62), (0, 0.42), (0.10, 0.34), (0.24, 0.50), (0.34, 0.62)], (170, 190, 216)
    )
    canvas.polygon(
        [(0.66, 0.62), (0.80, 0.40), (0.90, 0.31), (1, 0.40), (1, 0.62)], (176, 196, 220)
    )
    _peak(canvas)
    canvas.gradient(0.66, 1, (226, 236, 248), (252, 253, 255), (236, 242, 250))
    drift = [(x / 40, 0.66 - 0.02 * math.sin(x / 6 + 1)) for x in range(41)]
    canvas.polygon([*drift, (1, 0.72), (0, 0.72)], (226, 236, 248))
    canvas.texture(0.69, 1, 0.03, 160, 18)
    for _ in range(46):
        x, depth = float(canvas.rng.uniform(0, 1)), float(canvas.rng.uniform(0, 1))
        _fir(canvas, x, 0.69 + 0.05 * depth, 0.05 + 0.05 * depth)
    for x, y, size in (
        (0.07, 0.93, 0.34),
        (0.17, 0.87, 0.22),
        (0.93, 0.95, 0.38),
        (0.83, 0.86, 0.2),
    ):
        canvas.oval(x, y, size * 0.3, size * 0.05, (196, 212, 234))
        _fir(canvas, x, y, size)


def _peak(canvas: Canvas) -> None:
    light, shade, rock = (250, 252, 255), (176, 198, 228), (110, 122, 144)
    left = [(0.12, 0.70), (0.22, 0.55), (0.27, 0.49), (0.34, 0.36), (0.40, 0.29), (0.50, 0.10)]
    right = [(0.56, 0.20), (0.60, 0.24), (0.68, 0.40), (0.75, 0.46), (0.84, 0.60), (0.92, 0.70)]
    canvas.polygon([*left, *right], light)
    ridge = [(0.50, 0.10), (0.49, 0.20), (0.53, 0.28), (0.50, 0.38), (0.56, 0.50), (0.53, 0.70)]
    canvas.polygon([*ridge, (0.92, 0.70), *reversed(right)], shade)
    canvas.polygon(
        [(0.40, 0.29), (0.43, 0.40), (0.39, 0.48), (0.44, 0.70), (0.30, 0.70), (0.36, 0.5)], shade
    )
    canvas.polygon(
        [(0.60, 0.24), (0.62, 0.36), (0.68, 0.50), (0.66, 0.70), (0.78, 0.70), (0.68, 0.40)],
        (206, 222, 242),
    )
    for x, y, size in (
        (0.30, 0.52, 1.0),
        (0.44, 0.52, 0.8),
        (0.60, 0.47, 1.0),
        (0.74, 0.56, 0.9),
        (0.21, 0.62, 0.7),
        (0.52, 0.60, 0.8),
        (0.46, 0.30, 0.5),
    ):
        canvas.polygon(
            [
                (x, y),
                (x + 0.03 * size, y + 0.02 * size),
                (x + 0.045 * size, y + 0.09 * size),
                (x + 0.01 * size, y + 0.06 * size),
                (x - 0.025 * size, y + 0.08 * size),
            ],
            rock,
        )


def _fir(canvas: Canvas, x: float, y: float, height: float) -> None:
    aspect = canvas.h / canvas.w
    canvas.box(
        x - 0.03 * height * aspect, y - 0.1 * height, x + 0.03 * height * aspect, y, (62, 44, 34)
    )
    for tier in range(4):
        base, half = y - (0.08 + 0.21 * tier) * height, (0.30 - 0.06 * tier) * height * aspect
        tip = base - 0.36 * height
        canvas.polygon([(x - half, base), (x + half, base), (x, tip)], (22, 62, 48))
        canvas.polygon(
            [
                (x - half * 0.6, base - 0.1 * height),
                (x + half * 0.25, base - 0.14 * height),
                (x, tip),
            ],
            (226, 236, 246),
        )


def lavender_rows(canvas: Canvas, time_s: float) -> None:
    """Draw rows of purple lavender that meet at the horizon."""
    canvas.gradient(0, 0.36, (150, 176, 232), (232, 214, 232))
    canvas.glow(0.25, 0.28, 0.30, (255, 236, 214), 0.7)
    canvas.polygon(
        [(0, 0.38), (0, 0.30), (0.2, 0.26), (0.45, 0.31), (0.7, 0.27), (1, 0.31), (1, 0.38)],
        (122, 124, 172),
    )
    canvas.gradient(0.355, 1, (112, 92, 96), (92, 70, 54))
    vanish_x, horizon = 0.58, 0.35
    for side in sorted(range(-9, 10), key=abs, reverse=True):
        near_x = vanish_x + side * 0.24
        canvas.polygon(
            [(vanish_x + side * 0.006, horizon), (near_x - 0.092, 1.02), (near_x + 0.092, 1.02)],
            (88, 52, 146),
        )
    for y in np.sort(horizon + 0.66 * canvas.rng.uniform(0, 1, 9000) ** 1.4):
        near = (float(y) - horizon) / (1.02 - horizon)
        side = int(canvas.rng.integers(-9, 10))
        spread = float(canvas.rng.uniform(-1, 1))
        x = vanish_x + side * (0.006 + 0.234 * near) + 0.10 * near * spread
        colour = ((150, 92, 214), (122, 66, 190), (178, 128, 232), (98, 50, 164))[
            canvas.rng.integers(4)
        ]
        lift = 0.05 * near * (1 - spread**2)
        size = 0.002 + 0.008 * near
        canvas.oval(x, float(y) - lift, size * 0.8, size * 1.5, colour)
    _oak(canvas, 0.84, 0.37, 0.17)


def _oak(canvas: Canvas, x: float, y: float, height: float) -> None:
    canvas.line([(x, y), (x, y - 0.5 * height)], (72, 52, 40), 0.10 * height)
    for _ in range(60):
        dx, dy = canvas.rng.normal(0, 0.24, 2)
        green = ((52, 92, 48), (70, 112, 56), (40, 76, 42))[canvas.rng.integers(3)]
        r = 0.12 * height
        canvas.oval(x + dx * height * 0.7, y - height * (0.72 + 0.5 * dy), r, r * 0.8, green)
