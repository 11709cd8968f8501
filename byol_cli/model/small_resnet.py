"""A ResNet of basic blocks for small images (He et al. 2015, section 4.2): it keeps the full resolution at first."""

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, *, in_width: int, width: int, stride: int) -> None:
        """The first convolution takes `in_width` channels to `width` and moves by `stride`."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_width != width:
            convolution = nn.Conv2d(in_width, width, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, in_width, height, width) -> (batch, width, height / stride, width / stride), sizes rounded up."""
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        return self.relu(residual + self.shortcut(maps))


class SmallResNet(nn.Module):
    """A 3x3 stem, then `blocks[i]` blocks of `widths[i]` channels for each stage i, then the global average.

    Every stage but the first halves the resolution.
    """

    def __init__(self, *, in_channels: int, widths: list[int], blocks: list[int], zero_init_residual: bool) -> None:
        """Initialised like torchvision's ResNets: Kaiming normal by fan-out.

        `zero_init_residual` starts each block as its shortcut (Goyal et al. 2017, section 5.1).
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.stages = nn.Sequential()
        in_width = widths[0]
        for stage, (width, num_blocks) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                name = f"{stage}_{block}"
                self.stages.add_module(name, BasicBlock(in_width=in_width, width=width, stride=stride))
                in_width = width
        self._initialise(zero_init_residual)

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_init_residual and isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, widths[-1])."""
        maps = self.stages(self.relu(self.bn1(self.conv1(images))))
        return maps.mean(dim=(2, 3))
