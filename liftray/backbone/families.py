"""The families of protein language models that LiftRay can run, as plain data.

Invariant: this module has every difference between families that is data: the keys of `config.json`, the names of
tensors in weight files, the token of each letter, and the layers that adapters change. Read by `architecture`,
`vocabulary`, `weights`, `model` and by the adapters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from liftray.errors import BackboneError

Kind = Literal["count", "index", "real", "flag", "choice"]
REQUIRED = object()


@dataclass(frozen=True)
class Key:
    """One key of a `config.json` that may reach the model.

    Attributes:
        kind: `count` (an integer from 1), `index` (an integer from 0), `real` (a number in 0..1), `flag`,
            `choice`.
        default: The value of a key that the file does not have, which is transformers' own; REQUIRED where the file
            must have it.
        choices: The allowed values of a `choice`.
    """

    kind: Kind
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Specials:
    """The tokens that a family's vocabulary must hold in addition to the residues."""

    leading: tuple[str, ...]
    trailing: tuple[str, ...]
    pad: str


@dataclass(frozen=True)
class Family:
    """What distinguishes one family.

    Attributes:
        name: The `model_type` of its `config.json`.
        title: Its name for people.
        keys: The keys of `config.json` that are read; all others are dropped.
        blocks_key: The key that counts blocks.
        width_key: The key of the model's width D.
        heads_key: The key that counts attention heads.
        prefix: What a checkpoint with a task head puts in front of the encoder's tensor names.
        heads: Name beginnings of tensors that are no part of the encoder and may be in a checkpoint.
        specials: Special tokens, by name.
        fallback_vocabulary: The published vocabulary, used where no vocabulary file is next to the weights.
        fallback_size: The `vocab_size` of the published vocabulary.
        keep_rare: Whether U, Z, O and B keep their own tokens (else they become X, as in training).
    """

    name: str
    title: str
    keys: Mapping[str, Key]
    blocks_key: str
    width_key: str
    heads_key: str
    prefix: str
    heads: tuple[str, ...]
    specials: Specials
    fallback_vocabulary: tuple[str, ...]
    fallback_size: int
    keep_rare: bool


_ESM = Family(
    name="esm",
    title="ESM",
    keys=MappingProxyType(
        {
            "vocab_size": Key("count"),
            "hidden_size": Key("count"),
            "num_hidden_layers": Key("count"),
            "num_attention_heads": Key("count"),
            "intermediate_size": Key("count"),
            "max_position_embeddings": Key("count"),
            "position_embedding_type": Key("choice", choices=("absolute", "rotary")),
            "layer_norm_eps": Key("real", 1e-12),
            "emb_layer_norm_before": Key("flag", False),
            "token_dropout": Key("flag", False),
            "mask_token_id": Key("index", 32),
            "pad_token_id": Key("index", 1),
        }
    ),
    blocks_key="num_hidden_layers",
    width_key="hidden_size",
    heads_key="num_attention_heads",
    prefix="esm.",
    heads=("lm_head.", "classifier.", "contact_head.", "pooler.", "qa_outputs.", "embeddings.position_ids"),
    specials=Specials(leading=("<cls>",), trailing=("<eos>",), pad="<pad>"),
    # The alphabet of ESM-1b and ESM-2 (Rives et al. 2021; Lin et al. 2023).
    fallback_vocabulary=(
        *("<cls>", "<pad>", "<eos>", "<unk>"),
        *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
        *("<null_1>", "<mask>"),
    ),
    fallback_size=33,
    keep_rare=True,
)

_T5 = Family(
    name="t5",
    title="T5 encoder",
    keys=MappingProxyType(
        {
            "vocab_size": Key("count"),
            "d_model": Key("count"),
            "d_kv": Key("count"),
            "d_ff": Key("count"),
            "num_layers": Key("count"),
            "num_heads": Key("count"),
            "relative_attention_num_buckets": Key("count", 32),
            "relative_attention_max_distance": Key("count", 128),
            "feed_forward_proj": Key(
                "choice", "relu", choices=("relu", "gelu", "gated-gelu", "gated-relu", "gated-silu")
            ),
            "layer_norm_epsilon": Key("real", 1e-6),
            "pad_token_id": Key("index", 0),
            "eos_token_id": Key("index", 1),
        }
    ),
    blocks_key="num_layers",
    width_key="d_model",
    heads_key="num_heads",
    prefix="transformer.",
    heads=("decoder.", "lm_head.", "classification_head.", "classifier.", "qa_outputs."),
    # No start token: the first residue is the first token.
    specials=Specials(leading=(), trailing=("</s>",), pad="<pad>"),
    # The vocabulary of ProtT5 (Elnaggar et al. 2021), followed there by 100 sentinels that no sequence holds.
    fallback_vocabulary=("<pad>", "</s>", "<unk>", *(f"▁{letter}" for letter in "ALGVSREDTIPKFQNYMHWCXBOUZ")),
    fallback_size=128,
    keep_rare=False,
)

_BERT = Family(
    name="bert",
    title="BERT",
    keys=MappingProxyType(
        {
            "vocab_size": Key("count"),
            "hidden_size": Key("count"),
            "num_hidden_layers": Key("count"),
            "num_attention_heads": Key("count"),
            "intermediate_size": Key("count"),
            "max_position_embeddings": Key("count"),
            "type_vocab_size": Key("count", 2),
            "hidden_act": Key("choice", "gelu", choices=("gelu", "gelu_new", "relu", "silu")),
            "layer_norm_eps": Key("real", 1e-12),
            "position_embedding_type": Key("choice", "absolute", choices=("absolute",)),
            "pad_token_id": Key("index", 0),
        }
    ),
    blocks_key="num_hidden_layers",
    width_key="hidden_size",
    heads_key="num_attention_heads",
    prefix="bert.",
    heads=(
        "cls.",
        "classifier.",
        "pooler.",
        "qa_outputs.",
        "embeddings.position_ids",
        "embeddings.token_type_ids",
    ),
    specials=Specials(leading=("[CLS]",), trailing=("[SEP]",), pad="[PAD]"),
    # The vocabulary of ProtBERT (Elnaggar et al. 2021).
    fallback_vocabulary=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO"),
    fallback_size=30,
    keep_rare=False,
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (_ESM, _T5, _BERT)})

# Keywords of `adapters.AdapterModelInterface`; None where the library knows the family itself. `layer_ln_1`
# and `layer_ln_2` stay unset: set, every ESM layer would use the last layer's norm. `prompt_tuning` breaks
# ESM's forward.
ADAPTER_INTERFACE: Mapping[str, dict[str, Any] | None] = MappingProxyType(
    {
        "esm": {
            "adapter_methods": ["bottleneck", "lora", "reft", "invertible"],
            "model_embeddings": "embeddings",
            "model_layers": "encoder.layer",
            "layer_self_attn": "attention",
            "layer_cross_attn": None,
            "attn_q_proj": "self.query",
            "attn_k_proj": "self.key",
            "attn_v_proj": "self.value",
            "attn_o_proj": "output.dense",
            "layer_intermediate_proj": "intermediate.dense",
            "layer_output_proj": "output.dense",
            "layer_pre_self_attn": "attention.LayerNorm",
            "layer_pre_ffn": "LayerNorm",
        },
        "t5": None,
        "bert": None,
    }
)


def family(name: str, where: str | None = None) -> Family:
    """Look a family up by its `model_type`.

    Args:
        name: The `model_type`.
        where: What to name in the error.

    Returns:
        The family.

    Raises:
        BackboneError: LiftRay does not know it.
    """
    try:
        return FAMILIES[name]
    except (KeyError, TypeError):
        raise BackboneError(
            f"unknown model_type {name!r}", where=where, remedy=f"LiftRay runs {', '.join(FAMILIES)} encoders"
        ) from None
