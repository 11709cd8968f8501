"""The other libraries, used as their own documentation uses them. Each is imported when it is measured."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import pil_to_tensor, resize

from benchmarks.bare import sgd
from benchmarks.pictures import jpeg_files

CHANGED_ALIKE = 8  # images that byol-pytorch makes one draw for; few, so that a round holds many draws


def lightly_views(folder: Path, size: int) -> Callable[[int], object]:
    """lightly's BYOLTransform on Pillow images, one after the other."""
    from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform

    transform = BYOLTransform(BYOLView1Transform(input_size=size), BYOLView2Transform(input_size=size))
    files = jpeg_files(folder)
    return lambda _: [transform(Image.open(file).convert("RGB")) for file in files]


def byol_pytorch_views(folder: Path, size: int) -> Callable[[int], object]:
    """The two augmentations inside byol-pytorch's learner, on batches of decoded images a little larger than a view."""
    side = size if size < 64 else size * 8 // 7
    decoded = [pil_to_tensor(Image.open(file).convert("RGB")) for file in jpeg_files(folder)]
    batches = (torch.stack([resize(image, [side, side]) for image in decoded]) / 255).split(CHANGED_ALIKE)
    learner = _byol_pytorch_learner(torchvision.models.resnet18(), image_size=size)
    return lambda _: [(learner.augment1(batch), learner.augment2(batch)) for batch in batches]


def lightly_step(architecture: str, views: Tensor, *, hidden_dim: int, output_dim: int) -> Callable[[], None]:
    """A step of lightly's BYOL example, in float32; `views` is (2, batch, channels, height, width)."""
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum

    backbone, dim = _backbone(architecture, side=views.shape[-1])
    online = nn.Sequential(backbone, BYOLProjectionHead(dim, hidden_dim, output_dim)).to(views.device)
    predictor = BYOLPredictionHead(output_dim, hidden_dim, output_dim).to(views.device)
    target = copy.deepcopy(online)
    deactivate_requires_grad(target)
    optimizer = sgd([*online.parameters(), *predictor.parameters()])
    criterion = NegativeCosineSimilarity()

    def step() -> None:
        update_momentum(online, target, m=0.99)
        predictions = [predictor(online(view)) for view in views]
        targets = [target(view).detach() for view in views]
        loss = 0.5 * (criterion(predictions[0], targets[1]) + criterion(predictions[1], targets[0]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def byol_pytorch_step(architecture: str, views: Tensor, *, hidden_dim: int, output_dim: int) -> Callable[[], None]:
    """A step of byol-pytorch's learner, in float32, its augmentations taken out: both its views are `views[0]`."""
    backbone, _ = _backbone(architecture, side=views.shape[-1])
    learner = _byol_pytorch_learner(
        backbone.to(views.device),
        image_size=views.shape[-1],
        projection_size=output_dim,
        projection_hidden_size=hidden_dim,
        augment_fn=nn.Identity(),
    )
    optimizer = sgd(learner.parameters())

    def step() -> None:
        loss = learner(views[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.update_moving_average()

    return step


def _byol_pytorch_learner(net: nn.Module, **options: Any) -> Any:
    """Its newest version puts simplicial embeddings before the projector; without them the networks are the paper's."""
    from byol_pytorch import BYOL

    return BYOL(net, hidden_layer="avgpool", use_simplicial_embeddings=False, **options)


def _backbone(architecture: str, *, side: int) -> tuple[nn.Module, int]:
    """torchvision's ResNet without its classifier, with the usual stem for small images; and its features' number."""
    backbone = getattr(torchvision.models, architecture)()
    dim = backbone.fc.in_features
    backbone.fc = nn.Identity()
    if side < 64:
        backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        backbone.maxpool = nn.Identity()
    return backbone, dim
