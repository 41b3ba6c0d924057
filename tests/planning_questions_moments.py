"""Questions for what follows or precedes a moment of a film, written before there were rules.

At the first run of the first rules 23 of the 24 were understood. Those that quote came later.
"""

from __future__ import annotations

MOMENTS: list[tuple[str, str]] = [
    ("what happens after the bottle falls", "the bottle falls moment:after"),
    ("what happens before the kiss", "the kiss moment:before"),
    ("before the kiss", "the kiss moment:before"),
    ("the scene after the intro", "the intro moment:after"),
    ("what comes right after the explosion?", "the explosion moment:after"),
    ("What happened just before the car crashed?", "the car crashed moment:before"),
    ("show me what follows the speech", "the speech moment:after"),
    ("the part before she blows out the candles", "she blows out the candles moment:before"),
    ("what does the man do after he opens the door", "he opens the door moment:after"),
    ("the moment right before the goal", "the goal moment:before"),
    ("what happens after he says 'I do'", 'text:"I do" moment:after'),
    (
        "what happens after the fireworks in Lisbon",
        "the fireworks near:Lisbon moment:after",
    ),
    ("what is the dog doing before it jumps into the lake?", "jumps into the lake moment:before"),
    (
        "the scene where the bottle falls and what happens afterwards",
        "the bottle falls moment:after",
    ),
    ("what happens once the train has left the station", "the train left the station moment:after"),
    (
        "what came before the wedding speech in the video from 2019",
        "the wedding speech kind:video on:2019 moment:before",
    ),
    ("was passiert, nachdem die Flasche fällt", "die Flasche fällt moment:after"),
    ("que se passe-t-il après le baiser ?", "le baiser moment:after"),
    ('what happens after "I do"', '"I do" moment:after'),
    ("what comes before 'I do'?", 'text:"I do" moment:before'),
    ('"I do" and what happens next', '"I do" moment:after'),
    ('what follows "I do" in the video', 'kind:video "I do" moment:after'),
    # and those that only sound like it
    ("photos after 2020", "kind:image since:2021"),
    ("videos from before 2019", "kind:video until:2018"),
    ("the day after the wedding", "the day after the wedding"),
    ("a man running after a bus", "a man running after a bus"),
    ("people cleaning up after a party", "people cleaning up after a party"),
    ("what did we do before Christmas 2022", "until:2022-12-23"),
]
