"""What `mmrag --help` lists: each command with its summary, by the module that holds it.

A summary is the first paragraph of the command's own help, written down once more so that help
imports none of these modules; a test compares them.
"""

from __future__ import annotations

COMMANDS: dict[str, dict[str, str]] = {
    "taking_in": {
        "index": "Take folders of photos and films in, or bring them up to date.",
        "demo": (
            "Index the demo media that come with mmrag and search them. Needs no model and no "
            "Ollama."
        ),
    },
    "watching": {
        "watch": "Keep the library up to date with its folders, until Ctrl-C.",
    },
    "finding": {
        "search": (
            "Find photos and moments of films by what they show and what is known about them."
        ),
        "similar": "Find what looks like a picture.",
        "open": "Open a hit in the program that the system has for it.",
    },
    "browsing": {
        "facets": (
            "Count media by year, month, place, folder, person, tag and more, or list those of one."
        ),
    },
    "gallery": {
        "browse": (
            "Look at the library in a browser: search, play moments, ask. Only on this machine."
        ),
    },
    "asking": {
        "ask": "Answer a question from the library, with numbered sources. Needs Ollama.",
        "describe": "Describe a picture, a moment or a whole film in words. Needs Ollama.",
    },
    "chatting": {
        "chat": (
            "Talk with the library: follow-ups, sources that keep their numbers. Needs Ollama."
        ),
    },
    "annotating": {
        "annotate": "Write a caption, tags or people to a photo, a film or a part of one.",
        "annotations": "Export and import what you wrote about photos and films.",
    },
    "learning": {
        "learn": "Learn your names and things from what you wrote about photos and films.",
    },
    "evaluating": {
        "eval": (
            "Measure how well the library is searched, and compare measurements. `mmrag eval "
            "SET` is short for `mmrag eval run SET`."
        ),
    },
    "tuning": {
        "tune": (
            "Learn fusion weights and confidence for this library from queries with known answers."
        ),
    },
    "making": {
        "clip": "Cut a part out of a film, exact to the frame; a hit is a part already.",
        "supercut": "Join the moments of films that show what you ask for, with their sound.",
        "sheet": "Make a contact sheet: of what is found, or of one film with times.",
        "slideshow": "Make a silent film of what is found, each picture fading into the next.",
        "imagine": (
            "Have a model on this machine make a new picture, of words or of pictures that are "
            "found."
        ),
    },
    "transcripts": {
        "transcript": (
            "Write down what is said in a film: its subtitles, else what was heard in it."
        ),
    },
    "duplicates": {
        "duplicates": "List photos and films that are there several times: copies, twins, bursts.",
    },
    "keeping": {
        "status": "Say what is in the library, how far each stage is and which models made it.",
        "forget": "Take a file or a folder out of the library. The files are not touched.",
        "relocate": (
            "Tell the library that a folder lies elsewhere now (a new laptop); nothing is read "
            "again."
        ),
        "backup": (
            "Copy the library (not the media) into a new directory, which is a library itself."
        ),
    },
    "moving": {
        "migrate": (
            "Move the library's vectors to a Milvus server, back (--to lite), or to another server."
        ),
    },
    "hiding": {
        "hide": (
            "Hide folders, media, tags or people from assistants; you still find them yourself."
        ),
        "show": (
            "Show assistants again what was hidden from them; what was left out may be indexed "
            "again."
        ),
    },
    "models": {
        "models": "List models, fetch one, make it quicker, or choose among those learned.",
    },
    "doctor": {
        "doctor": (
            "Say what works on this machine, and for what doesn't the one command that mends it."
        ),
    },
}
