"""Mixtures of experts: transformers' classes, from small configurations, with each way of computing experts."""

from benchmarks.architectures.configured import SMALL, configured, translation
from benchmarks.architectures.text import LATENT, T5

EXPERTS = {
    **SMALL,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "moe_k": 2,
}
DEEPSEEK = {**LATENT, "head_dim": 4, "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1, "n_shared_experts": 1}

ARCHITECTURES = [
    configured(name, "experts", f"{model}ForCausalLM", {**EXPERTS, **settings})
    for name, model, settings in [
        ("Mixtral", "Mixtral", {}),
        ("Mixtral, eager experts", "Mixtral", {"experts_implementation": "eager"}),
        ("Mixtral, batched experts", "Mixtral", {"experts_implementation": "batched_mm"}),
        ("Mixtral, grouped experts", "Mixtral", {"experts_implementation": "grouped_mm"}),
        ("Qwen2-MoE", "Qwen2Moe", {}),
        ("Qwen3-MoE", "Qwen3Moe", {}),
        ("OLMoE", "Olmoe", {}),
        ("FlexOlmo", "FlexOlmo", {}),
        ("GraniteMoE", "GraniteMoe", {}),
        ("GraniteMoE, shared expert", "GraniteMoeShared", {"shared_intermediate_size": 16}),
        ("gpt-oss", "GptOss", {}),
        ("Phi-3.5-MoE", "Phimoe", {}),
        ("JetMoE", "JetMoe", {"kv_channels": 8}),
        ("MiniMax", "MiniMax", {}),
        ("Hunyuan-MoE", "HunYuanMoEV1", {"moe_topk": 2}),
        ("ERNIE 4.5-MoE", "Ernie4_5_Moe", {"moe_layer_start_index": 1}),
        ("dots.llm1", "Dots1", {"n_shared_experts": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}),
        ("GLM-4.5", "Glm4Moe", {"n_shared_experts": 1, "first_k_dense_replace": 1}),
        ("Llama 4", "Llama4", {"intermediate_size_mlp": 64, "interleave_moe_layer_step": 1}),
        ("Aria", "AriaText", {"moe_num_shared_experts": 1}),
        ("DeepSeek-V2", "DeepseekV2", {**LATENT, "first_k_dense_replace": 1, "n_shared_experts": 1}),
        ("DeepSeek-V3", "DeepseekV3", DEEPSEEK),
        (
            "LongCat-Flash",
            "LongcatFlash",
            {
                **LATENT,
                "head_dim": 4,
                "num_layers": 1,
                "zero_expert_num": 1,
                "expert_ffn_hidden_size": 16,
                "ffn_hidden_size": 64,
                "moe_topk": 2,
            },
        ),
        ("Cohere 2-MoE", "Cohere2Moe", {}),
        ("AFMoE", "Afmoe", {"num_dense_layers": 1, "num_shared_experts": 1}),
    ]
] + [
    configured(
        "DBRX",
        "experts",
        "DbrxForCausalLM",
        {
            "vocab_size": 99,
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 64,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
            "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
        },
    ),
    configured(
        "Switch",
        "experts",
        "SwitchTransformersForConditionalGeneration",
        {**T5, "num_experts": 4, "expert_capacity": 16, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
        translation,
    ),
    configured(
        "NLLB-MoE",
        "experts",
        "NllbMoeForConditionalGeneration",
        {
            "vocab_size": 99,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "num_experts": 4,
            "expert_capacity": 32,
            "encoder_sparse_step": 2,
            "decoder_sparse_step": 2,
            "max_position_embeddings": 64,
        },
        translation,
    ),
]
