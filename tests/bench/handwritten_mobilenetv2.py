"""keras.applications.MobileNetV2 (alpha 1) as a PyTorch engineer would write it by hand: same layers, paddings, NCHW.

With stride 2, Keras pads an even size by (0, 1): F.pad, for nn.Conv2d pads both sides alike.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# channels out, stride, expansion
BLOCKS = (
    (16, 1, 1),
    *((24, 2, 6), (24, 1, 6)),
    *((32, 2, 6), (32, 1, 6), (32, 1, 6)),
    *((64, 2, 6), (64, 1, 6), (64, 1, 6), (64, 1, 6)),
    *((96, 1, 6), (96, 1, 6), (96, 1, 6)),
    *((160, 2, 6), (160, 1, 6), (160, 1, 6)),
    (320, 1, 6),
)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.001)


class InvertedResidual(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.stride = stride
        self.residual = stride == 1 and channels_in == channels_out
        width = channels_in * expansion
        self.expanded = expansion != 1
        if self.expanded:
            self.expand = nn.Conv2d(channels_in, width, 1, bias=False)
            self.expand_bn = batch_norm(width)
        padding = 1 if stride == 1 else 0
        self.depthwise = nn.Conv2d(width, width, 3, stride=stride, padding=padding, groups=width, bias=False)
        self.depthwise_bn = batch_norm(width)
        self.project = nn.Conv2d(width, channels_out, 1, bias=False)
        self.project_bn = batch_norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x
        if self.expanded:
            y = F.relu6(self.expand_bn(self.expand(y)))
        if self.stride == 2:
            y = F.pad(y, (0, 1, 0, 1))
        y = F.relu6(self.depthwise_bn(self.depthwise(y)))
        y = self.project_bn(self.project(y))
        if self.residual:
            y = x + y
        return y


class MobileNetV2(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.bn1 = batch_norm(32)
        blocks: list[nn.Module] = []
        channels = 32
        for channels_out, stride, expansion in BLOCKS:
            blocks.append(InvertedResidual(channels, channels_out, stride, expansion))
            channels = channels_out
        self.blocks = nn.Sequential(*blocks)
        self.conv_last = nn.Conv2d(channels, 1280, 1, bias=False)
        self.bn_last = batch_norm(1280)
        self.predictions = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.conv1(F.pad(x, (0, 1, 0, 1)))))
        x = F.relu6(self.bn_last(self.conv_last(self.blocks(x))))
        return torch.softmax(self.predictions(x.mean((2, 3))), dim=1)
