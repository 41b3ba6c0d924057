"""Phrases about nobody's own things, written for mmrag: what a person may ask any library.

Learning measures with them how near unrelated texts lie in a model's space, and whether general
searches stay as they were.
"""

from __future__ import annotations

_THINGS = """
car bus train bicycle boat airplane street house bridge church garden park beach mountain lake river
forest field snow rain sunset night sky cloud flower tree leaf grass dog cat horse bird fish cow
sheep duck insect man woman child baby girl boy crowd family friends couple team player dancer
singer worker kitchen table chair sofa bed lamp window door wall floor stairs bathroom mirror shelf
book newspaper clock phone laptop television keyboard camera screen cable bread cake fruit apple
salad soup pizza coffee tea wine bottle glass cup plate knife spoon breakfast dinner shirt dress hat
shoes jacket glasses bag ring necklace ball kite guitar piano drum toy doll balloon candle gift sign
map ticket receipt letter note poster painting drawing statue shop market restaurant office school
hospital station airport museum stadium playground wedding birthday party concert parade match race
trip holiday
"""
_SCENES = """
people walking along a busy street
a quiet road in the evening
somebody riding a bicycle downhill
children playing in a playground
a woman smiling at the camera
a man standing in front of a building
a group of people posing together
two people talking at a table
a close-up of a face
a dog running across a field
a cat asleep on a chair
birds flying over water
a boat on calm water
waves breaking on rocks
a path through the woods
mountains covered with snow
a view over a city at night
a plate of food on a table
a person cooking in a kitchen
a table set for dinner
a cup of coffee next to a book
a crowd watching a concert
musicians on a stage
players chasing a ball
a jump into a swimming pool
somebody climbing a rock
a person in a red jacket
a girl in a white dress
a boy with a blue hat
an old man on a bench
a baby in a bed
a car parked by the road
a train at a platform
a plane in the sky
an empty room with a window
a screen with text on it
a page with handwriting
a sign by the road
a blurred picture
a dark picture with little light
a black and white photo
colourful lights in the dark
something on the floor
a small object in a hand
the back of a person looking away
flowers in a vase
fruit at a market
a tree without leaves
fog over a valley
fireworks in the sky
"""

GENERAL_PHRASES: tuple[str, ...] = (
    *_THINGS.split(),
    *(f"a photo of a {thing}" for thing in _THINGS.split()),
    *_SCENES.strip().splitlines(),
)
