"""The tables of the ledger."""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_VERSION = 1
WRITING = "writing"  # rows may stand in Milvus that the ledger does not know of yet
PASSED = "passed"  # a stage did not look, as it would hardly have found anything
WRITTEN = "written"  # the "stage" of signals that the person wrote with mmrag itself

# Text of any length. PostgreSQL sorts and compares it by its bytes, too, whatever its language is.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

metadata = sa.MetaData()

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)

roots = sa.Table("roots", metadata, sa.Column("path", TEXT, primary_key=True))

# What was forgotten inside a root, and is left out until it is named again.
left_out = sa.Table("left_out", metadata, sa.Column("path", TEXT, primary_key=True))

media = sa.Table(
    "media",
    metadata,
    sa.Column("media_id", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("content_hash", TEXT, nullable=False, index=True),
    sa.Column("width_px", sa.Integer, nullable=False, server_default="0"),
    sa.Column("height_px", sa.Integer, nullable=False, server_default="0"),
    sa.Column("duration_s", sa.Float),
    sa.Column("taken_at", TEXT, index=True),
    sa.Column("camera", TEXT, nullable=False, server_default=""),
    sa.Column("latitude", sa.Float),
    sa.Column("longitude", sa.Float),
    # the text model under whose stamp the words of this media stand in Milvus
    sa.Column("words_stamp", TEXT, nullable=False, server_default=""),
    sa.Column("words_rows", sa.Integer, nullable=False, server_default="0"),
    # its distinct terms, as they are counted in ``terms``, joined by spaces
    sa.Column("terms", TEXT, nullable=False, server_default=""),
)

# Who said when a media was taken, of those that have a date.
date_sources = sa.Table(
    "date_sources",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("source", TEXT, nullable=False),
)

# In how many media each term occurs, for word search; the empty term occurs in every media.
terms = sa.Table(
    "terms",
    metadata,
    sa.Column("term", TEXT, primary_key=True),
    sa.Column("media", sa.Integer, nullable=False),
)

paths = sa.Table(
    "paths",
    metadata,
    sa.Column("path", TEXT, primary_key=True),
    sa.Column("media_id", sa.ForeignKey("media.media_id"), nullable=False, index=True),
    sa.Column("root", TEXT, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("sidecar_stamp", TEXT, nullable=False, server_default=""),
)

stages = sa.Table(
    "stages",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("stage", TEXT, primary_key=True),
    sa.Column("state", TEXT, nullable=False),  # writing, done, failed or passed
    sa.Column("stamp", TEXT, nullable=False),
    sa.Column("made", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reason", TEXT, nullable=False, server_default=""),
    sa.Column("remedy", TEXT, nullable=False, server_default=""),
)

# Sidecars that could not be read whole, with what they held then; empty: nobody could look.
bad_sidecars = sa.Table(
    "bad_sidecars",
    metadata,
    sa.Column("path", TEXT, primary_key=True),
    sa.Column("content_hash", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("remedy", TEXT, nullable=False),
)

# What scans could not take in or nobody may open, as it was last looked at.
not_taken_in = sa.Table(
    "not_taken_in",
    metadata,
    sa.Column("path", TEXT, primary_key=True),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("remedy", TEXT, nullable=False),
)

signals = sa.Table(
    "signals",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("stage", TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("source", TEXT, nullable=False, index=True),
    sa.Column("text", TEXT, nullable=False),
    sa.Column("start_s", sa.Float),
    sa.Column("end_s", sa.Float),
)

# What models said of pictures, by the pixels themselves, so that each is asked about them once,
# whatever becomes of the files. ``content`` holds the whole answer, and what others said of it.
captions = sa.Table(
    "captions",
    metadata,
    sa.Column("picture_hash", TEXT, primary_key=True),
    sa.Column("stamp", TEXT, primary_key=True),
    sa.Column("content", sa.JSON, nullable=False),
)

# What was captioned of media: a photo, or the shots of a film. Their captions are the signals of
# stage ``caption`` with the same numbers. ``doubt`` is why a caption is not believed (empty: it is)
# by the visual model, ``denial`` why by another VLM, each beside the stamp of the check.
shots = sa.Table(
    "shots",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("picture_hash", TEXT, nullable=False, index=True),
    sa.Column("stamp", TEXT, nullable=False),
    sa.Column("first_frame", sa.Integer, nullable=False),
    sa.Column("last_frame", sa.Integer, nullable=False),
    sa.Column("start_s", sa.Float),
    sa.Column("end_s", sa.Float),
    sa.Column("doubt", TEXT, nullable=False, server_default=""),
    sa.Column("doubt_stamp", TEXT, nullable=False, server_default=""),
    sa.Column("denial", TEXT, nullable=False, server_default=""),
    sa.Column("denial_stamp", TEXT, nullable=False, server_default=""),
)

# Films with a stream of sound.
sounding = sa.Table(
    "sounding",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
)

# What was heard in films, piece by piece, by the content of their files, so that nothing is
# listened to twice. ``content`` holds the segments and how loud it was.
heard = sa.Table(
    "heard",
    metadata,
    sa.Column("content_hash", TEXT, primary_key=True),
    sa.Column("stamp", TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("end_s", sa.Float, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
)

# Contents that were listened to up to the end, and how long the film is.
heard_out = sa.Table(
    "heard_out",
    metadata,
    sa.Column("content_hash", TEXT, primary_key=True),
    sa.Column("stamp", TEXT, primary_key=True),
    sa.Column("duration_s", sa.Float, nullable=False),
)

# How photos look, to find those that are much alike, and the groups of such.
looks = sa.Table(
    "looks",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("look", TEXT, nullable=False),
    sa.Column("stamp", TEXT, nullable=False),
)

# What media showed when they were embedded, as a hash of the pixels.
pixels = sa.Table(
    "pixels",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("pixels_hash", TEXT, nullable=False),
)

# What was seen in media whose files have changed since; it holds if they show the same.
stages_aside = sa.Table(
    "stages_aside",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("stage", TEXT, primary_key=True),
    sa.Column("stamp", TEXT, nullable=False),
    sa.Column("made", sa.Integer, nullable=False),
)

signals_aside = sa.Table(
    "signals_aside",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("stage", TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("source", TEXT, nullable=False),
    sa.Column("text", TEXT, nullable=False),
    sa.Column("start_s", sa.Float),
    sa.Column("end_s", sa.Float),
)

groups = sa.Table(
    "groups",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("group_id", TEXT, nullable=False, index=True),
    sa.Column("kind", TEXT, nullable=False),
)

# What media are marked with, taken out of their signals as those are entered, so that it can be
# counted and hidden by. ``folded`` is the name as names are compared.
marks = sa.Table(
    "marks",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("stage", TEXT, primary_key=True),
    sa.Column("kind", TEXT, primary_key=True),
    sa.Column("folded", TEXT, primary_key=True),
    sa.Column("name", TEXT, nullable=False),
    sa.Index("marks_by_name", "kind", "folded"),
)

# Where media were taken, by name; empty where nothing is near enough.
places = sa.Table(
    "places",
    metadata,
    sa.Column("media_id", sa.ForeignKey("media.media_id"), primary_key=True),
    sa.Column("country", TEXT, nullable=False),
    sa.Column("region", TEXT, nullable=False),
    sa.Column("city", TEXT, nullable=False),
)

# What the person hides, as rules: a folder by its path, a media by its id, a tag or a person by the
# folded name. ``level`` is ``hidden`` (from assistants) or ``left_out`` (of the index altogether).
hiding = sa.Table(
    "hiding",
    metadata,
    sa.Column("kind", TEXT, primary_key=True),
    sa.Column("target", TEXT, primary_key=True),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("level", TEXT, nullable=False),
)

# The contents that a media which is hidden by its id has, or had: they stay hidden with it.
hidden_contents = sa.Table(
    "hidden_contents",
    metadata,
    sa.Column("media_id", TEXT, primary_key=True),
    sa.Column("content_hash", TEXT, primary_key=True, index=True),
)

# Files that scans pass by because of a rule that leaves media, a tag or a person out.
left_out_files = sa.Table(
    "left_out_files",
    metadata,
    sa.Column("path", TEXT, primary_key=True),
    sa.Column("kind", TEXT, primary_key=True),
    sa.Column("target", TEXT, primary_key=True),
)

# What the person wrote with mmrag. It outlives its media: ``content_hash`` tells whose it is when
# the content comes back.
written_by_person = sa.Table(
    "annotations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("media_id", TEXT, nullable=False, index=True),
    sa.Column("content_hash", TEXT, nullable=False, index=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("text", TEXT, nullable=False),
    sa.Column("start_s", sa.Float),
    sa.Column("end_s", sa.Float),
)

# Media whose annotations are to be written to Milvus yet.
annotated = sa.Table(
    "annotated",
    metadata,
    sa.Column("media_id", TEXT, primary_key=True),
    sa.Column("mark", TEXT, nullable=False),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("holder", TEXT, nullable=False),
    sa.Column("purpose", TEXT, nullable=False),
    sa.Column("host", TEXT, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
)


def read_anew() -> sa.Update:
    """The statement that has the read stage look at media again; which, is still to be said."""
    return stages.update().where(stages.c.stage == "read").values(state=WRITING, stamp="")


def captioned_by_signals() -> sa.ColumnElement[bool]:
    """The condition that a signal is the caption of a shot."""
    return sa.and_(
        shots.c.media_id == signals.c.media_id,
        signals.c.stage == "caption",
        shots.c.number == signals.c.number,
    )


def is_doubtful() -> sa.ColumnElement[bool]:
    """The condition that one of the checks contradicts a shot's caption; no shot, no doubt."""
    return sa.func.coalesce(sa.or_(shots.c.doubt != "", shots.c.denial != ""), sa.false())
