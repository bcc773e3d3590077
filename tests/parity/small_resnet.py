"""ResNets of any base width, with the official parameter names: the backbones of the HEAD fixture."""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

LAYERS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class SmallResNet(nn.Module):
    """C2..C5 of an image, at strides 4, 8, 16, 32."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        block, counts = LAYERS[depth]
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.channels = []
        before = width
        for stage, count in enumerate(counts):
            planes = width * 2**stage
            blocks = []
            for index in range(count):
                stride = 2 if stage and index == 0 else 1
                after = planes * block.expansion
                shortcut = None
                if stride != 1 or before != after:
                    shortcut = nn.Sequential(conv1x1(before, after, stride), nn.BatchNorm2d(after))
                blocks.append(block(before, planes, stride, shortcut))
                before = after
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            self.channels.append(before)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.pool(self.bn1(self.conv1(x)).relu())
        stages = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            stages.append(x)
        return stages
