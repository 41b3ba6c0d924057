"""The readers and the visual embedding in a plain LlamaIndex index, without a library of mmrag.

python examples/pipeline.py FOLDER "pink blossom"
"""

import sys

from llama_index.core import SimpleDirectoryReader
from llama_index.core.indices.multi_modal import MultiModalVectorStoreIndex

from mmrag_plugin import PhotoReader, VideoReader, load_settings
from mmrag_plugin.embeddings.choose import choose_visual
from mmrag_plugin.embeddings.llama import VisualEmbedding
from mmrag_plugin.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def main(folder: str, query: str) -> None:
    """Read a folder's photos and films, and find pictures by a query."""
    readers = dict.fromkeys(IMAGE_SUFFIXES, PhotoReader())
    readers |= dict.fromkeys(VIDEO_SUFFIXES, VideoReader())
    documents = SimpleDirectoryReader(
        folder, recursive=True, required_exts=list(readers), file_extractor=readers
    ).load_data()
    settings = load_settings()
    visual, notes = choose_visual(settings.visual_model, models_home=settings.models_home)
    print(*notes, sep="\n", file=sys.stderr)
    model = VisualEmbedding(visual)
    index = MultiModalVectorStoreIndex.from_documents(
        documents, image_embed_model=model, embed_model=model
    )
    found = index.as_retriever(image_similarity_top_k=3).text_to_image_retrieve(query)
    for hit in found:
        facts = hit.node.metadata
        at = f" at {facts['time_s']:.0f} s" if "time_s" in facts else ""
        print(f"{hit.score:.2f}  {facts['file_path']}{at}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
