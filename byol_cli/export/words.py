"""What the views of a run were, in words."""

from collections.abc import Iterator

from byol_cli.schema.augmentation import AugmentationConfig, View


def augmentation_in_words(augmentation: AugmentationConfig) -> list[str]:
    """One line a view, one for both where they are drawn alike."""
    size, first, second = augmentation.image_size, augmentation.view1, augmentation.view2
    if first == second:
        return [f"both views: {view_in_words(first, size)}"]
    return [f"view 1: {view_in_words(first, size)}", f"view 2: {view_in_words(second, size)}"]


def view_in_words(view: View, image_size: int) -> str:
    """Each operation that happens at all, with its probability and the range that its amount is drawn from."""
    return "; ".join(_operations(view, image_size))


def _operations(view: View, image_size: int) -> Iterator[str]:
    crop, jitter = view.crop, view.jitter
    if crop.probability:
        yield (
            f"crop of {_range([100 * share for share in crop.scale])} % of the area, ratio {_range(crop.ratio)}, to "
            f"{image_size} px ({crop.interpolation}){_often(crop.probability)}"
        )
    if view.rotation.probability:
        yield f"rotation by {_range(view.rotation.degrees)} degrees{_often(view.rotation.probability)}"
    if view.shear.probability:
        yield f"shear by {_range(view.shear.degrees)} degrees{_often(view.shear.probability)}"
    if view.flip.probability:
        yield f"left and right exchanged{_often(view.flip.probability)}"
    if jitter.probability:
        strengths = (f"{name} {getattr(jitter, name):g}" for name in ("brightness", "contrast", "saturation", "hue"))
        yield f"colour jitter ({', '.join(strengths)}){_often(jitter.probability)}"
    if view.grayscale.probability:
        yield f"grayscale{_often(view.grayscale.probability)}"
    if view.blur.probability:
        yield f"Gaussian blur, sigma {_range(view.blur.sigma)} px{_often(view.blur.probability)}"
    if view.solarize.probability:
        yield f"solarization from {view.solarize.threshold:g} on{_often(view.solarize.probability)}"
    if view.noise.probability:
        yield f"Gaussian noise of standard deviation {_range(view.noise.std)}{_often(view.noise.probability)}"


def _range(ends: tuple[float, float] | list[float]) -> str:
    low, high = (f"{end:.3g}" for end in ends)
    return low if low == high else f"{low} to {high}"


def _often(probability: float) -> str:
    return "" if probability == 1 else f", probability {probability:g}"
