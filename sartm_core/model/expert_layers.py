"""peft's LoRA Linear with a batched forward: every row of the batch goes through the expert of its own modality.

Apart from `lora` because only training needs peft.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor

from sartm_core.model.lora import RowExperts


def expert_linear_class(modalities: tuple[str, ...], experts: RowExperts) -> type[Linear]:
    """A subclass of peft's layer that knows the order of the modalities and shares `experts`."""

    class ExpertLinear(Linear):
        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # [N, h, w, in] -> [N, h, w, out]
            rows = experts.current(x.shape[0])
            a = torch.stack([self.lora_A[name].weight for name in modalities])[rows]  # [R, r, in]
            b = torch.stack([self.lora_B[name].weight for name in modalities])[rows]  # [R, out, r]
            tokens = x.reshape(rows.shape[0], -1, x.shape[-1])
            update = torch.bmm(torch.bmm(tokens, a.transpose(1, 2)), b.transpose(1, 2))
            return self.base_layer(x) + update.reshape(*x.shape[:-1], -1)

    return ExpertLinear
