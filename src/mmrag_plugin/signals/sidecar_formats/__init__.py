"""Files beside the media that speak about them, one module per format."""

from __future__ import annotations

from mmrag_plugin.signals.sidecar_formats.base import SidecarFormat
from mmrag_plugin.signals.sidecar_formats.captions_json import CaptionsJson
from mmrag_plugin.signals.sidecar_formats.csv_file import CsvFile
from mmrag_plugin.signals.sidecar_formats.icloud_album import FOLDER_FORMATS
from mmrag_plugin.signals.sidecar_formats.json_file import JsonFile
from mmrag_plugin.signals.sidecar_formats.json_lines import JsonLines
from mmrag_plugin.signals.sidecar_formats.subtitle_file import SubtitleFile
from mmrag_plugin.signals.sidecar_formats.takeout_album import TakeoutAlbum
from mmrag_plugin.signals.sidecar_formats.text_file import TextFile
from mmrag_plugin.signals.sidecar_formats.xmp_file import XmpFile

# A file belongs to the first format that takes it.
SIDECAR_FORMATS: tuple[SidecarFormat, ...] = (
    CaptionsJson(),
    TakeoutAlbum(),
    CsvFile(),
    JsonLines(),
    TextFile(),
    JsonFile(),
    XmpFile(),
    SubtitleFile(),
)

__all__ = ["FOLDER_FORMATS", "SIDECAR_FORMATS", "SidecarFormat"]
