"""keras.applications.ResNet50 as a PyTorch engineer would write it by hand: same layers, same paddings, NCHW."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1.001e-5, momentum=0.01)


class Bottleneck(nn.Module):
    """1x1 (strided), 3x3, 1x1 to four times the width; the first of a stage projects its shortcut."""

    def __init__(self, channels_in: int, width: int, stride: int, project: bool) -> None:
        super().__init__()
        self.project = project
        if project:
            self.conv0 = nn.Conv2d(channels_in, 4 * width, 1, stride=stride)
            self.bn0 = batch_norm(4 * width)
        self.conv1 = nn.Conv2d(channels_in, width, 1, stride=stride)
        self.bn1 = batch_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = batch_norm(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1)
        self.bn3 = batch_norm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.bn0(self.conv0(x)) if self.project else x
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(shortcut + self.bn3(self.conv3(x)))


class ResNet50(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.bn1 = batch_norm(64)
        # Keras pads with zeros before pooling; after a ReLU that is the same as pooling's own padding.
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
        blocks: list[nn.Module] = []
        channels = 64
        for width, repeats, stride in STAGES:
            for i in range(repeats):
                blocks.append(Bottleneck(channels, width, stride if i == 0 else 1, project=i == 0))
                channels = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.predictions = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = self.blocks(x).mean((2, 3))
        return torch.softmax(self.predictions(x), dim=1)
