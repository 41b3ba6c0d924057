"""Ledgers made on the spot, of libraries that are larger than any test could index."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from mmrag_plugin.ledger import Ledger
from mmrag_plugin.ledger_tables import marks, media, paths, stages


def generated(path: Path, number: int) -> Ledger:
    """A ledger of so many media in 400 folders over 12 years, with tags and cameras."""
    ledger = Ledger(f"sqlite:///{path}")
    rows = [
        {
            "media_id": f"{n:016x}",
            "kind": "video" if n % 20 == 0 else "image",
            "content_hash": f"{n:064x}",
            "taken_at": f"{2010 + n % 12}-{n % 11 + 1:02}-{n % 27 + 1:02}T10:00:00",
            "camera": f"Camera {n % 7}",
        }
        for n in range(number)
    ]
    with ledger._database.writing() as connection:
        connection.execute(sa.insert(media), rows)
        connection.execute(
            sa.insert(paths),
            [
                {
                    "path": f"/photos/{n % 20}/{n % 400}/{n}.jpg",
                    "media_id": f"{n:016x}",
                    "root": "/photos",
                    "size_bytes": 1,
                    "mtime_ns": 1,
                }
                for n in range(number)
            ],
        )
        connection.execute(
            sa.insert(stages),
            [
                {"media_id": f"{n:016x}", "stage": "read", "state": "done", "stamp": "read"}
                for n in range(number)
            ],
        )
        connection.execute(
            sa.insert(marks),
            [
                {
                    "media_id": f"{n:016x}",
                    "stage": "read",
                    "kind": "tag",
                    "folded": f"tag {n % 300}",
                    "name": f"tag {n % 300}",
                }
                for n in range(0, number, 2)
            ],
        )
    return ledger
