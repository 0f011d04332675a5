"""Planes to logits and routing weights: SAM2's image encoder with LoRA experts, routing, two decoders."""
