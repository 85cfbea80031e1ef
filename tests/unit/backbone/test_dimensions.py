"""Sizes that are counted are the sizes of what is built."""

import pytest

from liftray.backbone.dimensions import Dimensions
from liftray.backbone.model import from_config
from tests.parts import tiny

VARIANTS = {
    "esm": {},
    "esm-learned-positions": {"position_embedding_type": "absolute", "emb_layer_norm_before": True},
    "t5": {},
    "t5-gated": {"feed_forward_proj": "gated-gelu", "d_kv": 24, "relative_attention_num_buckets": 12},
    "bert": {},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("first_block", [0, 1, 2])
def test_parameters_are_those_of_the_model(variant: str, first_block: int) -> None:
    family = variant.partition("-")[0]
    made = from_config(family, {**tiny.CONFIGS[family], **VARIANTS[variant]})
    size = Dimensions.of(family, made.resolved.config)
    if first_block:
        made.drop_below(first_block)
    assert size.parameters(first_block) == sum(each.numel() for each in made.parameters())
    assert (size.blocks, size.width) == (made.num_blocks, made.width)


def test_a_published_model_has_its_published_size() -> None:
    from liftray.backbone.architecture import check_config
    from liftray.bench.shapes import shape

    # Encoders alone, from their papers and from the sizes of the weight files.
    published = {"esm2_8m": 7.4e6, "esm2_650m": 651e6, "esm2_15b": 15.1e9, "prot_t5_xl": 1.208e9}
    for name, count in {**published, "ankh_large": 1_151_707_648}.items():
        found = shape(name)
        size = Dimensions.of(*check_config({"model_type": found.family, **found.config}, name))
        assert size.parameters() == pytest.approx(count, rel=0.02), name
