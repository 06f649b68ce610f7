"""Small networks of PyTorch, of the kinds that people bring; importing this skips where PyTorch is not."""

import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")
tn, F = torch.nn, torch.nn.functional


class Block(tn.Module):
    """A residual block, with a projection where the size changes."""

    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1, self.bn1 = tn.Conv2d(a, b, 3, stride, 1, bias=False), tn.BatchNorm2d(b)
        self.conv2, self.bn2 = tn.Conv2d(b, b, 3, 1, 1, bias=False), tn.BatchNorm2d(b)
        self.down = (
            tn.Sequential(tn.Conv2d(a, b, 1, stride), tn.BatchNorm2d(b)) if stride > 1 else tn.Identity()
        )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.down(x))


class ResNet(tn.Sequential):
    def __init__(self):
        stem = [tn.Conv2d(3, 4, 5, 2, 2), tn.BatchNorm2d(4), tn.ReLU(inplace=True), tn.MaxPool2d(3, 2, 1)]
        blocks = [Block(4, 4, 1), Block(4, 6, 2), Block(6, 6, 1)]
        super().__init__(
            *stem, *blocks, tn.AdaptiveAvgPool2d(1), tn.Flatten(), tn.Dropout(0.3), tn.Linear(6, 5)
        )


class UNet(tn.Module):
    """Two levels, the first joined by indices, the second by features."""

    def __init__(self):
        super().__init__()
        self.enc1, self.enc2, self.mid = (
            tn.Conv2d(3, 4, 3, 1, 1),
            tn.Conv2d(4, 6, 3, 1, 1),
            tn.Conv2d(6, 8, 3, 1, 1),
        )
        self.up2, self.dec2 = tn.ConvTranspose2d(8, 6, 2, 2), tn.Conv2d(12, 4, 3, 1, 1)
        self.up1 = tn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1, groups=2)
        self.out = tn.Conv2d(8, 2, 1)
        self.norm, self.act = tn.GroupNorm(2, 4), tn.PReLU(4)

    def forward(self, x):
        a = self.act(self.enc1(x))
        b, where = F.max_pool2d(F.leaky_relu(self.enc2(F.avg_pool2d(a, 2)), 0.1), 2, return_indices=True)
        c = torch.cat([F.max_unpool2d(b, where, 2), self.up2(F.silu(self.mid(b)))], 1)
        return self.out(torch.cat([self.norm(self.up1(self.dec2(c))), a], dim=1))


class MobileNet(tn.Module):
    """Inverted residuals with squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.stem = tn.Sequential(tn.Conv2d(3, 4, 3, 2, 1, bias=False), tn.BatchNorm2d(4), tn.Hardswish())
        self.wide = tn.Sequential(
            tn.Conv2d(4, 8, 1), tn.ReLU6(), tn.Conv2d(8, 8, 3, 1, 2, 2, groups=8), tn.ReLU6()
        )
        self.squeeze = tn.Sequential(
            tn.AdaptiveAvgPool2d(1), tn.Conv2d(8, 2, 1), tn.ReLU(), tn.Conv2d(2, 8, 1)
        )
        self.thin = tn.Conv2d(8, 4, 1)
        self.head = tn.Sequential(tn.Linear(4, 6), tn.Hardswish(), tn.Linear(6, 3))

    def forward(self, x):
        x = self.stem(x)
        y = self.wide(x)
        x = x + self.thin(y * F.hardsigmoid(self.squeeze(y)))
        return F.log_softmax(self.head(x.mean([2, 3])), dim=1)


class Generator(tn.Module):
    """DCGAN's: a dense layer whose outputs are reshaped to maps, then transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.fc, self.norm = tn.Linear(5, 6 * 2 * 3), tn.BatchNorm1d(6 * 2 * 3)
        self.up1, self.bn1 = tn.ConvTranspose2d(6, 4, 4, 2, 1, bias=False), tn.BatchNorm2d(4)
        self.up2 = tn.ConvTranspose2d(4, 3, 4, 2, 1)

    def forward(self, z):
        x = F.relu(self.norm(self.fc(z))).view(z.shape[0], 6, 2, 3)
        return torch.tanh(self.up2(F.relu(self.bn1(self.up1(x)))))


NETS = {ResNet: (2, 3, 33, 25), UNet: (2, 3, 8, 12), MobileNet: (2, 3, 12, 9), Generator: (3, 5)}


def made(cls):
    """A network with random weights and statistics, in evaluation mode, an input, and what it makes of it."""
    torch.manual_seed(0)
    net = cls().eval()
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(
                torch.rand_like(tensor) + 0.5 if name.endswith("var") else torch.randn_like(tensor) / 3
            )
    x = torch.randn(NETS[cls])
    with torch.no_grad():
        return net, x.numpy(), net(x).numpy()
