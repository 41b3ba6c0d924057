"""The tools, one module each. Their docstrings and argument descriptions are what is read."""

from __future__ import annotations

from mmrag_mcp.tools.annotate import AnnotateMedia
from mmrag_mcp.tools.ask import AskMedia
from mmrag_mcp.tools.base import MediaTool
from mmrag_mcp.tools.browse import BrowseMedia
from mmrag_mcp.tools.describe import DescribeMedia
from mmrag_mcp.tools.get import GetMedia
from mmrag_mcp.tools.index import IndexMedia
from mmrag_mcp.tools.info import LibraryInfo
from mmrag_mcp.tools.make import MakeMedia
from mmrag_mcp.tools.search import SearchMedia
from mmrag_mcp.tools.similar import FindSimilar

# In the order in which an assistant would meet them; at most ten.
TOOLS: tuple[type[MediaTool], ...] = (
    SearchMedia,
    GetMedia,
    FindSimilar,
    BrowseMedia,
    DescribeMedia,
    AskMedia,
    AnnotateMedia,
    MakeMedia,
    IndexMedia,
    LibraryInfo,
)
