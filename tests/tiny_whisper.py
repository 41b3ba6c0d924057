"""A Whisper of random weights in the form of CTranslate2: real code all the way, no real words."""

from __future__ import annotations

import json
from pathlib import Path

LANGUAGES = ("en", "de", "fr")
TIMES = 1501  # tokens for 30 s, 0.02 s apart
MULTILINGUAL = 51865  # tokens: by their number CTranslate2 knows such a model


def tiny_whisper(folder: Path) -> Path:
    """Make a model from its configuration, of a few thousand weights; returns its folder."""
    import ctranslate2
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        GenerationConfig,
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperForConditionalGeneration,
    )

    torch.manual_seed(7)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    special += ["<|nospeech|>", "<|notimestamps|>"]
    letters += [f"w{number}" for number in range(MULTILINGUAL - TIMES - len(letters + special))]
    words = {word: number for number, word in enumerate([*letters, *special])}
    tokenizer = Tokenizer(
        models.BPE(vocab={w: n for w, n in words.items() if n < len(letters)}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in special])
    start, end = words["<|startoftranscript|>"], words["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=MULTILINGUAL,
        num_mel_bins=80,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        d_model=16,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=[],
        begin_suppress_tokens=[end],
    )
    source = folder.with_name(f"{folder.name}-source")
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        lang_to_id={f"<|{code}|>": words[f"<|{code}|>"] for code in LANGUAGES},
        suppress_tokens=[],
        begin_suppress_tokens=[end],
        alignment_heads=[[0, 0]],
        decoder_start_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
    )
    model.save_pretrained(source)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(
        source
    )
    ctranslate2.converters.TransformersConverter(str(source)).convert(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80}))
    return folder
