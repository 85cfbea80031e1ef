"""The model: frozen prefix below the cut, adapted suffix above it, final norm, head.

Invariant: the hidden state at the cut carries no gradient, and nothing of the backbone itself ever gets one or changes
a bit. Flow: packed batch -> [this] -> logits.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from liftray.adapt import heads, kinds
from liftray.backbone.model import Backbone
from liftray.backbone.tokens import TokenTable
from liftray.config import AdapterSettings, HeadSettings, Settings
from liftray.data.labels import STATES


@dataclass(frozen=True)
class TaggerSettings:
    """What a tagger's shape and meaning depend on.

    Attributes:
        task: Alphabet that is predicted.
        ss3_map: How 9 states become 3.
        method: `adapter` or `features`.
        adapter: Kind, width and cut.
        head: Kind and dropout.
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
        """Pick them from a run's settings."""
        return cls(
            task=settings.task,
            ss3_map=settings.ss3_map,
            method=settings.method,
            adapter=settings.adapter,
            head=settings.head,
            max_length=settings.data.max_length,
        )


class Tagger(nn.Module):
    """A backbone cut at block k, adapters above, and a head.

    Args:
        backbone: The frozen backbone, already with adapters where the method has them.
        settings: Shape and meaning.

    Attributes:
        cut: Blocks below it are constant; equals the number of blocks for `features`.
    """

    def __init__(self, backbone: Backbone, settings: TaggerSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.settings = settings
        self.head = heads.build(settings.head, backbone.width, len(STATES[settings.task]))
        self.cut = settings.adapter.skip_layers if settings.method == "adapter" else backbone.num_blocks

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

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Give class logits at every token.

        Args:
            tokens_BL: Token ids, special tokens included.
            mask_BL: True on tokens, False on padding.

        Returns:
            logits_BLC in float32; only those on residues mean anything.
        """
        with torch.autocast(tokens_BL.device.type, torch.bfloat16, enabled=self._half):
            hidden_BLD = self.suffix(self.prefix(tokens_BL, mask_BL), mask_BL)
            logits_BLC: Tensor = self.head(hidden_BLD, self.residues(mask_BL))
        return logits_BLC.float()

    logits = forward

    @torch.no_grad()
    def prefix(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Hidden states at the cut: constant for a backbone and a sequence."""
        return self.backbone.run_blocks(self.backbone.embed(tokens_BL, mask_BL), mask_BL, 0, self.cut)

    def suffix(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Adapted blocks and final norm over the hidden states at the cut."""
        assert not hidden_BLD.requires_grad, "a gradient reached the frozen prefix"
        if self.settings.method == "features":
            return self.backbone.finish(hidden_BLD)
        with kinds.forward_context(self.backbone, hidden_BLD):
            hidden_BLD = self.backbone.run_blocks(hidden_BLD, mask_BL, self.cut, self.backbone.num_blocks)
        return self.backbone.finish(hidden_BLD)

    def residues(self, mask_BL: Tensor) -> Tensor:
        """True where a residue stands: tokens less the special ones at both ends."""
        place_BL = torch.arange(mask_BL.shape[1], device=mask_BL.device).expand_as(mask_BL)
        last_B1 = mask_BL.sum(dim=1, keepdim=True) - self.tokens.num_suffix
        return (place_BL >= self.tokens.num_prefix) & (place_BL < last_B1)

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name: adapters and head, nothing else."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def frozen(self) -> dict[str, nn.Parameter]:
        """The backbone's own parameters, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if not parameter.requires_grad}

    def count(self) -> dict[str, int]:
        """Parameters trained (adapter, head) and frozen (backbone)."""
        head = sum(parameter.numel() for parameter in self.head.parameters())
        trained = sum(parameter.numel() for parameter in self.trained().values())
        backbone = sum(parameter.numel() for parameter in self.frozen().values())
        return {"trained": trained, "adapter": trained - head, "head": head, "backbone": backbone}

    @property
    def _half(self) -> bool:
        return next(self.backbone.parameters()).dtype == torch.bfloat16


def build(backbone: Backbone, settings: TaggerSettings, seed: int) -> Tagger:
    """Put adapters and a fresh head on a backbone.

    Args:
        backbone: A loaded backbone without adapters.
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
        kinds.attach(backbone, settings.adapter)
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
