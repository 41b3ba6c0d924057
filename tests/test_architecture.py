"""What holds the program together as it grows: imports point one way, and modules stay small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"mmrag_plugin": ROOT / "src", "mmrag_mcp": ROOT / "mcp_server"}

# From below to above. A unit (a module, or a folder of modules) imports from lower layers and from
# itself; within "vocabulary" and "flows" also from its neighbours. A new module needs its place.
LAYERS: dict[str, str] = {
    "vocabulary": "allocation child_process errors media timecode metadata settings pictures terms "
    "settings_file colours content_kind picture_check model_input animations raw_pictures "
    "motion_photos "
    "looks xmp dates people places marks remarks films film_frames untrusted bm25 "
    "content_hash ollama_host priority shared_process folder_names film_sound side_by_side "
    "tracing tracing_otel profiling logs llama_events",
    "stages": "readers keyframes embeddings signals vlm makers",
    "storage": "ledger ledger_* milvus_*",
    "flows": "ignoring walking scanning scan_contents pairing pieces words index_* indexing fusion "
    "moments telling duplicates reasons confidence neighbours results filters browsing hiding "
    "annotating annotation_files following listing plan planning planned_search channels searching "
    "retrieval reranking citations sources showing encoding answer_told answering describing "
    "conversation conversation_files chat_streams chat_turns chatting agent_tools making "
    "transcripts evaluation general_phrases learn*",
    "library": "library library_annotating library_asking library_captions library_evaluating "
    "library_imagining library_indexing library_learning "
    "library_lora library_keeping library_making library_media library_milvus "
    "library_models library_place "
    "library_previews library_speech library_thumbnails kept_files query_models model_keeper "
    "model_keeper_process on_ray",
    "upkeep": "upkeep watching asked_index migrating migrating_ledger",
    "gallery": "gallery",
    "edges": "cli mmrag_mcp",
}
BESIDE_EACH_OTHER = {"stages", "storage"}  # neither is above the other
NEIGHBOURS_TALK = {"vocabulary", "storage", "flows", "library"}
# Flows know a stage by its seam; these modules hold seams, or words, and no implementation.
SEAMS = {
    *(f"mmrag_plugin.{stage}.base" for stage in LAYERS["stages"].split()),
    "mmrag_plugin.embeddings.seam",
    "mmrag_plugin.vlm.prompts",
    "mmrag_plugin.vlm.captions",
    "mmrag_plugin.vlm.structured",
    "mmrag_plugin.vlm.verifying",
    "mmrag_plugin.vlm.canary",
    "mmrag_plugin.signals.ocr",
    "mmrag_plugin.signals.sidecars",
    "mmrag_plugin.signals.speech",
}
EXCEPTIONS = {
    # What is decoded of a film is what a selector chooses: the seams meet here.
    ("mmrag_plugin.readers.decoding", "mmrag_plugin.keyframes.base"),
    ("mmrag_plugin.readers.decoding", "mmrag_plugin.keyframes.iframes"),
    ("mmrag_plugin.readers.workers", "mmrag_plugin.keyframes.base"),
    ("mmrag_plugin.readers.worker_process", "mmrag_plugin.keyframes.base"),
    # A reader works alone in LlamaIndex, so it brings the selector that is the default.
    ("mmrag_plugin.readers.video", "mmrag_plugin.keyframes.base"),
    ("mmrag_plugin.readers.video", "mmrag_plugin.keyframes.iframes"),
}
HEAVY = "torch transformers pymilvus milvus_lite llama_index numpy av PIL onnxruntime sqlalchemy"
MAX_LINES = 420
# Over the limit, with the size that they may not grow beyond; the list should get shorter.
LONGER: dict[str, int] = {}


def _modules() -> dict[str, Path]:
    found = {}
    for package, place in PACKAGES.items():
        for path in (place / package).rglob("*.py"):
            parts = path.relative_to(place).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _imports(module: str) -> set[str]:
    """Our modules that a module imports anywhere in it, inside functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively: it can't be checked"
            base = node.module or ""
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
            names = [name for name in names if name in MODULES] or [base]
        else:
            continue
        found |= {name for name in names if name.split(".")[0] in PACKAGES}
    return found - PACKAGES.keys()  # the package itself only holds __version__


def _unit(module: str) -> str:
    package, *inside = module.split(".")
    return package if package == "mmrag_mcp" or not inside else inside[0]


def _layer(module: str) -> str | None:
    unit = _unit(module)
    for layer, units in LAYERS.items():
        for known in units.split():
            if unit == known or (known.endswith("*") and unit.startswith(known[:-1])):
                return layer
    return None


def _may_import(module: str, other: str) -> bool:
    if _unit(module) == _unit(other) or (module, other) in EXCEPTIONS:
        return True
    mine, theirs = _layer(module), _layer(other)
    if mine is None or theirs is None:
        return False
    if mine == theirs:
        return mine in NEIGHBOURS_TALK
    if {mine, theirs} == BESIDE_EACH_OTHER:
        return False
    if mine == "flows" and theirs == "stages":
        return other in SEAMS
    order = list(LAYERS)
    return order.index(theirs) < order.index(mine)


def test_every_module_has_a_layer() -> None:
    placeless = [
        module for module in MODULES if module != "mmrag_plugin" and _layer(module) is None
    ]
    assert not placeless, f"give these a place in LAYERS: {placeless}"


def test_imports_point_one_way() -> None:
    wrong = [
        f"{module} ({_layer(module)}) imports {other} ({_layer(other)})"
        for module in sorted(MODULES)
        for other in sorted(_imports(module))
        if module != "mmrag_plugin" and not _may_import(module, other)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("mmrag_plugin.errors", "mmrag_plugin.ledger"),
        ("mmrag_plugin.readers.photo", "mmrag_plugin.signals.ocr"),
        ("mmrag_plugin.embeddings.palette", "mmrag_plugin.ledger"),
        ("mmrag_plugin.ledger", "mmrag_plugin.readers.base"),
        ("mmrag_plugin.retrieval", "mmrag_plugin.embeddings.palette"),
        ("mmrag_plugin.retrieval", "mmrag_plugin.library"),
        ("mmrag_plugin.library", "mmrag_plugin.cli.main"),
        ("mmrag_plugin.cli.main", "mmrag_mcp.server"),
        ("mmrag_plugin.unheard_of", "mmrag_plugin.errors"),
    ],
)
def test_the_rule_forbids_what_it_should(module: str, other: str) -> None:
    assert not _may_import(module, other)


def test_no_import_that_is_excepted_has_gone() -> None:
    stale = [pair for pair in EXCEPTIONS if pair[1] not in _imports(pair[0])]
    assert not stale, f"take these out of EXCEPTIONS: {stale}"


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    names = {"utils", "util", "helpers", "helper", "common", "misc", "tools_common"}
    assert not [module for module in MODULES if module.split(".")[-1] in names]


def test_only_the_edges_print_and_choose_exit_codes() -> None:
    wrong = []
    for module in MODULES:
        if _layer(module) == "edges":
            continue
        for call in (node for node in _statements(module) if isinstance(node, ast.Call)):
            called = ast.unparse(call.func)
            if called in ("print", "sys.exit", "exit", "quit", "sys.stdout.write"):
                wrong.append(f"{module}:{call.lineno} calls {called}")
    assert not wrong, "\n".join(wrong)


def _statements(module: str) -> list[ast.AST]:
    """All of a module but its ``if __name__ == "__main__"``, where it is a program of its own."""
    body = [
        node
        for node in _tree(module).body
        if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))
    ]
    return [node for statement in body for node in ast.walk(statement)]


def test_every_logger_of_ours_is_a_child_of_one() -> None:
    others = {"pymilvus", "pymilvus.milvus_client", "textual_image", "uvicorn.error"}
    wrong = [
        f"{module}: {named.group(0)}"
        for module, path in MODULES.items()
        for named in re.finditer(r"getLogger\((.+?)\)", path.read_text(encoding="utf-8"))
        if not re.match(r'"mmrag(\.[a-z]+)?"$', named[1]) and named[1].strip('"') not in others
    ]
    assert not [line for line in wrong if not re.search(r"getLogger\((name)?\)$", line)]


def test_modules_stay_small() -> None:
    sizes = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    grown = {module: size for module, size in sizes.items() if size > LONGER.get(module, MAX_LINES)}
    assert not grown, f"split these, they have grown past {MAX_LINES} lines: {grown}"
    shrunk = [module for module in LONGER if sizes.get(module, 0) <= MAX_LINES]
    assert not shrunk, f"take these out of LONGER: {shrunk}"


@pytest.mark.parametrize(
    "statement",
    [
        "import mmrag_plugin",
        "import mmrag_mcp",
        "from mmrag_plugin.cli import main; sys.argv = ['mmrag', '--help']; main()",
        "from mmrag_plugin.cli import main; sys.argv = ['mmrag', 'search', '--help']; main()",
        "from mmrag_plugin.cli import main; sys.argv = ['mmrag', '--version']; main()",
    ],
)
def test_what_must_start_at_once_loads_nothing_heavy(statement: str) -> None:
    program = (
        "import atexit, sys\n"
        f"heavy = {HEAVY.split()!r}\n"
        "atexit.register(lambda: sys.stderr.write(repr([n for n in heavy if n in sys.modules])))\n"
        f"{statement}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "[]"
