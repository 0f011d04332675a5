"""Losses, each a mean over samples, so that neither processes nor micro-batches matter: all have as many samples.

Only `language_similarity` looks at the batch as a whole: of all processes, but of one micro-batch.
"""

import math

import torch
import torch.distributed as distributed
import torch.nn.functional as F
from torch import Tensor

from sartm_core.segmentation import UNLABELLED

OHEM_THRESHOLD = -math.log(0.7)
"""Pixels whose class has a probability below 0.7 are hard."""


def shares(sample: Tensor, samples: int) -> Tensor:
    """What each row counts in the mean over a batch: samples count alike, and so do the rows of a sample.

    Args:
        sample: int64 [R], the rows' samples.
        samples: number of samples in the batch.

    Returns:
        float32 [R]; the sum is 1 where every sample has a row.
    """
    return 1.0 / (samples * torch.bincount(sample, minlength=samples)[sample])


def _mean(losses: Tensor, share: Tensor | None) -> Tensor:
    return losses.mean() if share is None else (losses * share).sum()


def ohem_cross_entropy(
    logits: Tensor, truth: Tensor, least_pixels: int | None = None, share: Tensor | None = None
) -> Tensor:
    """Cross-entropy over the hard pixels of each image (online hard example mining, MLE-SAM eq. 13).

    Chosen per image, so the process count does not matter. mmsegmentation and its descendants choose among all images
    of one process and step; with one image in each the two are the same.

    Args:
        logits: [B, C, h, w]; resized to the truth.
        truth: int64 [B, H, W]; 255 is ignored.
        least_pixels: as many of an image's pixels are chosen even if fewer are hard, or all where it has fewer; by
            default a sixteenth of its valid pixels.
        share: of each image in the mean, see `shares`; by default all count alike.

    Returns:
        Scalar, the mean over images of the mean over the chosen pixels.
    """
    if logits.shape[2:] != truth.shape[1:]:
        logits = F.interpolate(logits, size=truth.shape[1:], mode="bilinear", align_corners=False)
    losses = F.cross_entropy(logits, truth, ignore_index=UNLABELLED, reduction="none").flatten(1)  # [B, H W]
    valid = (truth != UNLABELLED).flatten(1)
    images = []
    for image, labelled in zip(losses, valid, strict=True):
        pixels = image[labelled]
        least = max(len(pixels) // 16, 1) if least_pixels is None else min(least_pixels, len(pixels))
        hard = pixels[pixels > OHEM_THRESHOLD]
        if len(pixels) == 0:
            hard = image[:0].sum()[None]
        elif len(hard) < least:
            hard = pixels.topk(least).values
        images.append(hard.mean())
    return _mean(torch.stack(images), share)


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice coefficient of each class in an image (V-Net, arXiv 1606.04797, eq. 3, without the squares).

    Small objects weigh as much as large ones, as in mIoU. Per image, so the process count does not matter.

    Args:
        logits: [B, C, h, w]; resized to the truth.
        truth: int64 [B, H, W]; 255 is ignored.

    Returns:
        Scalar, the mean over images of the mean over their classes; an image without labels gives 0.
    """
    if logits.shape[2:] != truth.shape[1:]:
        logits = F.interpolate(logits, size=truth.shape[1:], mode="bilinear", align_corners=False)
    valid = (truth != UNLABELLED)[:, None]
    target = F.one_hot(truth.where(valid[:, 0], 0), logits.shape[1]).permute(0, 3, 1, 2) * valid
    probability = logits.float().softmax(dim=1) * valid
    overlap = (probability * target).sum(dim=(2, 3))
    size = target.sum(dim=(2, 3))
    coefficient = 2 * overlap / (size + probability.sum(dim=(2, 3))).clamp_min(1)
    present = size > 0
    return (((1 - coefficient) * present).sum(dim=1) / present.sum(dim=1).clamp_min(1)).mean()


def label_consistency(logits: Tensor, truth: Tensor, share: Tensor | None = None) -> Tensor:
    """L_cr of SARTM (eq. 13, in our reading): KL between labels and the distribution that a 1x1 classifier predicts
    from a feature. For hard labels this is the cross-entropy.

    Args:
        logits: [B, C, h, w] of the classifier; the truth is resized to them.
        truth: int64 [B, H, W]; 255 is ignored.
        share: of each image in the mean, see `shares`; by default all count alike.

    Returns:
        Scalar, the mean over images of the mean over the labelled pixels; an image without labels gives 0.
    """
    small = _at_size(truth, logits.shape[2:])
    total = F.cross_entropy(logits, small, ignore_index=UNLABELLED, reduction="none").flatten(1).sum(dim=1)
    return _mean(total / (small != UNLABELLED).flatten(1).sum(dim=1).clamp_min(1), share)


def language_similarity(features: Tensor, truth: Tensor, texts: Tensor, known: Tensor) -> Tensor:
    """L_se of SARTM: KL between the self-similarity of class prototypes and that of the classes' texts.

    Prototypes are the mean features of each class over the batch of all processes; the rows of both cosine matrices
    become distributions by a softmax. Classes without pixels in the batch, or without a text, are ignored.

    Args:
        features: [B, D, h, w], fused.
        truth: int64 [B, H, W].
        texts: [C, E], the text embeddings.
        known: bool [C], which classes have one.

    Returns:
        Scalar; 0 if fewer than two classes remain.
    """
    sums, counts = prototype_sums(features, truth, len(texts))
    present = (counts > 0) & known.to(counts.device)
    if int(present.sum()) < 2:
        return features.sum() * 0.0
    prototypes = F.normalize(sums[present] / counts[present, None], dim=1)
    words = F.normalize(texts.to(features.device)[present].float(), dim=1)
    ours, theirs = prototypes @ prototypes.T, words @ words.T
    return F.kl_div(ours.log_softmax(dim=1), theirs.softmax(dim=1), reduction="batchmean")


def prototype_sums(features: Tensor, truth: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sum of the features of each class [C, D] and number of its pixels [C], over all processes."""
    small = _at_size(truth, features.shape[2:])
    valid = small != UNLABELLED
    labels, pixels = small[valid], features.float().permute(0, 2, 3, 1)[valid]  # [P], [P, D]
    sums = torch.zeros(classes, features.shape[1], device=features.device).index_add(0, labels, pixels)
    counts = torch.bincount(labels, minlength=classes).float()
    if distributed.is_available() and distributed.is_initialized():
        from torch.distributed.nn.functional import all_reduce

        sums = all_reduce(sums)  # type: ignore[no-untyped-call]
        distributed.all_reduce(counts)
    return sums, counts


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """KL from the teacher's class distribution to the student's, mean over the pixels; logits [B, C, h, w] each."""
    student, target = logits.log_softmax(dim=1), teacher.detach().log_softmax(dim=1)
    return F.kl_div(student, target, reduction="none", log_target=True).sum(dim=1).mean()


def reliability(logits: Tensor, sound: Tensor, share: Tensor) -> Tensor:
    """Binary cross-entropy of `sound` (bool [R]) for the rows' reliability logits [R]; mean by `shares` [R]."""
    return _mean(F.binary_cross_entropy_with_logits(logits, sound.float(), reduction="none"), share)


def _at_size(truth: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(truth[:, None].float(), size=tuple(size), mode="nearest-exact")[:, 0].long()
