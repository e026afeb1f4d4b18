"""Language models and encoders of text: transformers' classes, from small configurations."""

import functools

from benchmarks.architectures.configured import (
    ENCODER_DECODER,
    NARROW,
    SMALL,
    configured,
    in_small,
    padded_tokens,
    tokens,
    translation,
)

LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
}

ENCODERS = [
    in_small(name, "text", f"{model}Model")
    for name, model in [
        ("BERT", "Bert"),
        ("RoBERTa", "Roberta"),
        ("RoBERTa, norm first", "RobertaPreLayerNorm"),
        ("XLM-RoBERTa-XL", "XLMRobertaXL"),
        ("CamemBERT", "Camembert"),
        ("ALBERT", "Albert"),
        ("DeBERTa", "Deberta"),
        ("ELECTRA", "Electra"),
        
        ("MPNet", "MPNet"),
        ("FNet", "FNet"),
        ("MobileBERT", "MobileBert"),
        ("Megatron-BERT", "MegatronBert"),
        ("ConvBERT", "ConvBert"),
        ("RoFormer", "RoFormer"),
        ("RemBERT", "RemBert"),
        ("I-BERT", "IBert"),
        ("ERNIE", "Ernie"),
        ("ESM", "Esm"),
        ("FlauBERT", "Flaubert"),
        ("Data2Vec, text", "Data2VecText"),
        ("Nystromformer", "Nystromformer"),
        ("YOSO", "Yoso"),
        ("MRA", "Mra"),
        ("Splinter", "Splinter"),
        ("LayoutLM", "LayoutLM"),
        ("CANINE", "Canine"),
        ("ModernBERT", "ModernBert"),
        ("EuroBERT", "EuroBert"),
        ("Nomic BERT", "NomicBert"),
        ("Jina embeddings v3", "JinaEmbeddingsV3"),
        ("GTE", "Gte"),
    ]
] + [
    in_small("DeBERTa-v2", "text", "DebertaV2Model", {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    configured("BERT, padded", "text", "BertForSequenceClassification", SMALL, padded_tokens),
    in_small("BERT, eager attention", "text", "BertModel", {"attn_implementation": "eager"}),
    in_small("BERT, flex attention", "text", "BertModel", {"attn_implementation": "flex_attention"}),
    configured("Longformer", "text", "LongformerModel", {**SMALL, "attention_window": 8}),
    configured(
        "BigBird",
        "text",
        "BigBirdModel",
        {**SMALL, "block_size": 4, "num_random_blocks": 1, "max_position_embeddings": 128},
        functools.partial(tokens, 64),
    ),
    in_small("SqueezeBERT", "text", "SqueezeBertModel", {"embedding_size": 32}),
    configured(
        "Funnel",
        "text",
        "FunnelModel",
        {"vocab_size": 99, "block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64},
    ),
    configured("XLNet", "text", "XLNetLMHeadModel", {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}),
    configured(
        "Reformer",
        "text",
        "ReformerModelWithLMHead",
        {
            "vocab_size": 99,
            "hidden_size": 32,
            "attention_head_size": 8,
            "num_attention_heads": 4,
            "feed_forward_size": 64,
            "attn_layers": ["local", "lsh"],
            "local_attn_chunk_length": 4,
            "lsh_attn_chunk_length": 4,
            "num_buckets": 2,
            "axial_pos_shape": [4, 4],
            "axial_pos_embds_dim": [16, 16],
            "is_decoder": True,
            "hash_seed": 0,
        },
    ),
    in_small("DistilBERT", "text", "DistilBertModel", {"hidden_dim": 64}),
    in_small("X-MOD", "text", "XmodModel", {"default_language": "en_XX", "languages": ["en_XX"]}),
    configured("Perceiver", "text", "PerceiverForMaskedLM",
        {"vocab_size": 99, "num_latents": 8, "d_latents": 32, "d_model": 32, "num_blocks": 1, "num_self_attends_per_block": 2,
         "num_self_attention_heads": 4, "num_cross_attention_heads": 4, "qk_channels": 32, "v_channels": 32,
         "max_position_embeddings": 16},
        lambda: {"inputs": tokens()["input_ids"]}),
]

DECODERS = [
    in_small(name, "text", f"{model}ForCausalLM")
    for name, model in [
        ("GPT-BigCode", "GPTBigCode"),
        ("GPT-NeoX", "GPTNeoX"),
        ("BLOOM", "Bloom"),
        ("MPT", "Mpt"),
        ("LLaMA", "Llama"),
        ("Mistral", "Mistral"),
        ("Ministral", "Ministral3"),
        ("Qwen2", "Qwen2"),
        ("Qwen3", "Qwen3"),
        ("Gemma", "Gemma"),
        ("Gemma 2", "Gemma2"),
        ("Gemma 3", "Gemma3"),
        ("VaultGemma", "VaultGemma"),
        ("Phi", "Phi"),
        ("Phi-3", "Phi3"),
        ("StableLM", "StableLm"),
        ("StarCoder2", "Starcoder2"),
        ("Persimmon", "Persimmon"),
        ("OLMo", "Olmo"),
        ("OLMo 2", "Olmo2"),
        ("OLMo 3", "Olmo3"),
        ("Cohere", "Cohere"),
        ("Cohere 2", "Cohere2"),
        ("GLM", "Glm"),
        ("GLM-4", "Glm4"),
        ("Granite", "Granite"),
        ("Helium", "Helium"),
        ("Nemotron", "Nemotron"),
        ("SmolLM3", "SmolLM3"),
        ("EXAONE 4", "Exaone4"),
        ("BitNet", "BitNet"),
        ("DiffLlama", "DiffLlama"),
        ("Apertus", "Apertus"),
        ("Arcee", "Arcee"),
        ("ERNIE 4.5", "Ernie4_5"),
        ("Hunyuan", "HunYuanDenseV1"),
        ("Seed-OSS", "SeedOss"),
        ("NanoChat", "NanoChat"),
        ("BioGPT", "BioGpt"),
        
        ("Doge", "Doge"),
        ("ModernBERT, decoder", "ModernBertDecoder"),
    ]
] + [
    in_small("XGLM", "text", "XGLMForCausalLM", {"ffn_dim": 64}),
    in_small("GPT", "text", "OpenAIGPTLMHeadModel"),
    in_small("GPT-2", "text", "GPT2LMHeadModel"),
    in_small("CTRL", "text", "CTRLLMHeadModel", {"n_embd": 32, "dff": 64, "n_positions": 64}),
    in_small("XLM", "text", "XLMWithLMHeadModel"),
    in_small("OPT", "text", "OPTForCausalLM", {"ffn_dim": 64, "word_embed_proj_dim": 16}),
    in_small("GPT-2, eager attention", "text", "GPT2LMHeadModel", {"attn_implementation": "eager"}),
    in_small("LLaMA, eager attention", "text", "LlamaForCausalLM", {"attn_implementation": "eager"}),
    in_small("LLaMA, flex attention", "text", "LlamaForCausalLM", {"attn_implementation": "flex_attention"}),
    configured("LLaMA, padded", "text", "LlamaForCausalLM", SMALL, padded_tokens),
    in_small("GPT-Neo", "text", "GPTNeoForCausalLM", {"attention_types": [[["global", "local"], 1]], "window_size": 8}),
    in_small("GPT-J", "text", "GPTJForCausalLM", {"rotary_dim": 4}),
    in_small("CodeGen", "text", "CodeGenForCausalLM", {"rotary_dim": 4}),
    configured("Falcon, one key head", "text", "FalconForCausalLM", {**NARROW, "vocab_size": 99, "multi_query": True}),
    configured("Falcon, ALiBi", "text", "FalconForCausalLM",
        {**NARROW, "vocab_size": 99, "multi_query": False, "alibi": True, "new_decoder_architecture": False}),
    in_small("MiniCPM3", "text", "MiniCPM3ForCausalLM", LATENT),
    configured("ProphetNet", "text", "ProphetNetForCausalLM",
        {"vocab_size": 99, "hidden_size": 32, "num_encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_attention_heads": 4,
         "num_decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
         "num_buckets": 8, "relative_max_distance": 16}),
]

T5 = {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4,
      "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}

TRANSLATORS = [
    configured(name, "text", model, {**ENCODER_DECODER, **settings}, translation)
    for name, model, settings in [
        ("BART", "BartForConditionalGeneration", {}),
        ("mBART", "MBartForConditionalGeneration", {}),
        ("M2M100", "M2M100ForConditionalGeneration", {}),
        ("Marian", "MarianMTModel", {}),
        ("Pegasus", "PegasusForConditionalGeneration", {}),
        ("Pegasus-X", "PegasusXForConditionalGeneration", {"block_size": 8, "num_global_tokens": 4}),
        ("PLBart", "PLBartForConditionalGeneration", {}),
        ("Blenderbot", "BlenderbotForConditionalGeneration", {}),
        ("BigBird-Pegasus", "BigBirdPegasusForConditionalGeneration", {"block_size": 4, "num_random_blocks": 1}),
        ("LED", "LEDForConditionalGeneration",
         {"attention_window": 8, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64}),
        ("MVP", "MvpForConditionalGeneration", {}),
        ("FSMT", "FSMTForConditionalGeneration", {"src_vocab_size": 99, "tgt_vocab_size": 99, "langs": ["en", "de"]}),
    ]
] + [
    configured(name, "text", model, {**T5, **settings}, translation)
    for name, model, settings in [
        ("T5", "T5ForConditionalGeneration", {}),
        ("T5, gated", "T5ForConditionalGeneration", {"feed_forward_proj": "gated-gelu"}),
        ("UMT5", "UMT5ForConditionalGeneration", {}),
        ("LongT5", "LongT5ForConditionalGeneration",
         {"local_radius": 4, "global_block_size": 4, "encoder_attention_type": "transient-global"}),
    ]
]

ARCHITECTURES = [*ENCODERS, *DECODERS, *TRANSLATORS]
