"""peft's LoRA layers with a batched forward: every row of the batch goes through the expert of its own modality.

Separate from `lora` because only training needs peft.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Conv2d, Linear
from torch import Tensor, nn

from sartm_core.model.lora import RowExperts


def expert_layer_classes(modalities: tuple[str, ...], experts: RowExperts) -> dict[type[nn.Module], type[nn.Module]]:
    """Layer type -> a subclass of peft's that knows the order of the modalities and shares `experts`."""

    def stacked(adapters: Any) -> Tensor:
        return torch.stack([adapters[name].weight for name in modalities])

    class ExpertLinear(Linear):
        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # [N, h, w, in] -> [N, h, w, out]
            rows = experts.current(x.shape[0])
            a, b = stacked(self.lora_A)[rows], stacked(self.lora_B)[rows]  # [R, r, in], [R, out, r]
            tokens = x.reshape(rows.shape[0], -1, x.shape[-1])
            update = torch.bmm(torch.bmm(tokens, a.transpose(1, 2)), b.transpose(1, 2))
            return self.base_layer(x) + update.reshape(*x.shape[:-1], -1)

    class ExpertConv2d(Conv2d):
        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # [R, in, H, W] -> [R, out, h, w]
            rows = experts.current(x.shape[0])
            a, b = stacked(self.lora_A), stacked(self.lora_B)[rows].flatten(2)  # [M, r, in, k, k], [R, out, r]
            base = self.base_layer
            # A of all experts in one convolution, since they are narrow.
            low = F.conv2d(x, a.flatten(0, 1), stride=base.stride, padding=base.padding)
            height, width = low.shape[2:]
            low = low.reshape(len(x), *a.shape[:2], -1)[torch.arange(len(x), device=x.device), rows]  # [R, r, h w]
            return base(x) + torch.bmm(b, low).reshape(len(x), -1, height, width)

    return {nn.Linear: ExpertLinear, nn.Conv2d: ExpertConv2d}
