"""The model: frozen prefix, adapted suffix, final norm, head.

Invariant: the hidden state at the cut carries no gradient. Nothing below the cut gets a gradient or changes a bit. The
backbone above the cut does not change either, unless the method is `full`. Flow: packed batch -> [this] -> logits.
"""

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from liftray.adapt import heads, kinds, model_adapters
from liftray.adapt.cut import Cut
from liftray.backbone.model import Backbone
from liftray.backbone.packed import WindowLayout
from liftray.backbone.tokens import TokenTable
from liftray.config import AdapterSettings, HeadSettings, Settings
from liftray.data.labels import STATES


@dataclass(frozen=True)
class TaggerSettings:
    """The settings that decide a tagger's shape and meaning.

    Attributes:
        task: Alphabet that is predicted.
        ss3_map: How 9 states become 3.
        method: `adapter`, `full` or `features`.
        adapter: Kind, width and cut.
        head: Kind, dropout, temperature, and whether it reads one block or a mix of them.
        max_length: Widest window, in residues.
    """

    task: str
    ss3_map: str
    method: str
    adapter: AdapterSettings
    head: HeadSettings
    max_length: int

    @classmethod
    def of(cls, settings: Settings) -> "TaggerSettings":
        """Take them from a run's settings."""
        return cls(
            task=settings.task,
            ss3_map=settings.ss3_map,
            method=settings.method,
            adapter=settings.adapter,
            head=settings.head,
            max_length=settings.data.max_length,
        )

    def cut(self, family: str, num_blocks: int) -> Cut:
        """Where the frozen part of a backbone ends.

        Args:
            family: Family of the backbone.
            num_blocks: Its blocks.
        """
        return Cut.of(self.method, self.adapter, family, num_blocks, self.head.mix_blocks)


class Tagger(nn.Module):
    """A backbone cut at block k, adapters above, and a head.

    Args:
        backbone: The backbone, already with adapters where the method has them.
        settings: Shape and meaning.

    Attributes:
        cut: Where the frozen part ends.
    """

    def __init__(self, backbone: Backbone, settings: TaggerSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.settings = settings
        self.cut = settings.cut(backbone.family, backbone.num_blocks)
        self.head = heads.build(settings.head, backbone.width, len(STATES[settings.task]), self.cut.above)

    @property
    def alphabet(self) -> str:
        """Alphabet of the logits' classes."""
        return self.settings.task

    @property
    def ss3_map(self) -> str:
        """How 9 states become 3."""
        return self.settings.ss3_map

    @property
    def max_length(self) -> int:
        """Widest window, in residues."""
        return self.settings.max_length

    @property
    def tokens(self) -> TokenTable:
        """The backbone's token table."""
        return self.backbone.tokens

    def forward(self, tokens_T: Tensor, layout: WindowLayout, hidden_TD: Tensor | None = None) -> Tensor:
        """Give class logits at every token.

        Args:
            tokens_T: Token ids of packed windows, special tokens included; not read where `hidden_TD` is given.
            layout: Borders of the windows.
            hidden_TD: Hidden states at the cut, as `prefix` gives them; None to compute them.

        Returns:
            logits_TC in float32; those on special tokens have no meaning.
        """
        with self.backbone.autocast(tokens_T.device.type):
            if hidden_TD is None:
                hidden_TD = self.prefix(tokens_T, layout)
            else:
                hidden_TD = hidden_TD.to(torch.bfloat16 if self.backbone.is_bfloat16 else torch.float32)
            residues_T = layout.residues(self.tokens.num_leading, self.tokens.num_trailing)
            logits_TC: Tensor = self.head(self.suffix(hidden_TD, layout), residues_T, layout)
        return logits_TC.float()

    def logits(self, tokens_T: Tensor, layout: WindowLayout) -> Tensor:
        """Class logits for prediction, as `forward` gives them.

        On a CPU one window at a time: then the bits of a prediction do not depend on the other chains of the batch.
        This costs nothing, since nothing is padded.
        """
        if tokens_T.is_cuda:
            return self(tokens_T, layout)
        windows = tokens_T.split(layout.lengths)
        return torch.cat([self(window_L, WindowLayout.of((len(window_L),))) for window_L in windows])

    def prefix(self, tokens_T: Tensor, layout: WindowLayout) -> Tensor:
        """Hidden states at the cut: constant for a backbone and a window."""
        with model_adapters.inactive():
            return self.backbone.run_frozen(tokens_T, layout, self.cut.entry)

    def suffix(self, hidden_TD: Tensor, layout: WindowLayout) -> Tensor:
        """The blocks above the cut, with their adapters, and the final norm: hidden_TD as the head reads it.

        With `head.mix_blocks` a learned mix of the outputs of blocks k to n - 1, each after the final norm.
        """
        if hidden_TD.requires_grad:
            raise RuntimeError("the hidden state at the cut carries a gradient into the frozen prefix")
        adapted = self.settings.method == "adapter"
        around = (
            model_adapters.forward_context(self.backbone, hidden_TD[None], layout)
            if adapted
            else nullcontext()
        )
        with around:
            if adapted and self.cut.enters_behind_block:
                hidden_TD = self.backbone.run_output_adapter(self.cut.entry - 1, hidden_TD)
            outputs = self._outputs(hidden_TD, layout, around)
        finished = [self.backbone.finish(output_TD) for output_TD in outputs]
        return cast(nn.Module, self.head.mix)(finished) if self.settings.head.mix_blocks else finished[-1]

    def _outputs(
        self, hidden_TD: Tensor, layout: WindowLayout, around: AbstractContextManager[None]
    ) -> list[Tensor]:
        """The output of the last block, or where blocks are mixed those of blocks k to n - 1."""
        blocks = self.backbone.num_blocks
        if not self.settings.head.mix_blocks:
            return [self.backbone.run_blocks(hidden_TD, layout, self.cut.entry, blocks, around)]
        # Where training enters behind block k, the input is itself the output of that block.
        outputs = [hidden_TD] if self.cut.enters_behind_block else []
        for number in range(self.cut.entry, blocks):
            hidden_TD = self.backbone.run_blocks(hidden_TD, layout, number, number + 1, around)
            outputs.append(hidden_TD)
        return outputs

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name: the head, and adapters or (`full`) the backbone above the cut."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def frozen(self) -> dict[str, nn.Parameter]:
        """The parameters that do not train, by name: the backbone's own, or (`full`) those below the cut."""
        return {name: parameter for name, parameter in self.named_parameters() if not parameter.requires_grad}

    def count(self) -> dict[str, int]:
        """Parameters: trained, of these in adapters and in the head, and all of the backbone, trained or not."""
        head = sum(parameter.numel() for parameter in self.head.parameters())
        trained = sum(parameter.numel() for parameter in self.trained().values())
        whole = sum(parameter.numel() for parameter in self.backbone.parameters())
        adapter = trained - head if self.settings.method == "adapter" else 0
        return {"trained": trained, "adapter": adapter, "head": head, "backbone": whole - adapter}


def build(backbone: Backbone, settings: TaggerSettings, seed: int) -> Tagger:
    """Put a fresh head on a backbone, and adapters in it where the method has them.

    Args:
        backbone: A loaded backbone without adapters, whole or above the cut.
        settings: Shape and meaning.
        seed: Of the initial weights.

    Returns:
        The tagger; trained parameters are float32 whatever the backbone's precision.

    Raises:
        ConfigError: The cut leaves no block to adapt.
    """
    torch.manual_seed(seed)
    for parameter in backbone.parameters():
        parameter.requires_grad_(False)
    if settings.method == "adapter":
        model_adapters.attach(backbone, settings.adapter)
    elif settings.method == "full":
        skipped = settings.adapter.skip_layers
        kinds.check(settings.adapter, backbone.num_blocks, backbone.resolved.name)
        for parameter in backbone.above(skipped).values():
            parameter.requires_grad_(True)
    elif settings.head.mix_blocks:
        kinds.check(settings.adapter, backbone.num_blocks, backbone.resolved.name)
    if backbone.first_block > 0:
        backbone.drop_below(backbone.first_block)
    tagger = Tagger(backbone, settings)
    for parameter in tagger.trained().values():
        parameter.data = parameter.data.float()
    return tagger


def fingerprint(tagger: nn.Module) -> str:
    """Sha256 over the bits of every frozen parameter (of this rank's part of them under ZeRO-3)."""
    digest = hashlib.sha256()
    for name, parameter in sorted(tagger.named_parameters()):
        if not parameter.requires_grad:
            data = getattr(parameter, "ds_tensor", parameter).detach().cpu().contiguous()
            digest.update(name.encode())
            digest.update(data.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
