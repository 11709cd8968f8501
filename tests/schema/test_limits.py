"""Values that would take all memory, or forever, before the first step are refused; what people use is not."""

from typing import Any

import pytest

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.schema.command import EvalConfig, TrainConfig
from byol_cli.schema.errors import InputError

ABSURD = {
    "head.hidden_dim=1000000000": "head.hidden_dim=1000000000 must be at most 16,384",
    "head.output_dim=16385": "head.output_dim=16385 must be at most 16,384",
    "backbone.widths=[8,8,4097]": "backbone.widths[2]=4097 must be at most 4,096",
    "backbone.blocks=[1,1,1000000]": "backbone.blocks[2]=1000000 must be at most 64",
    "backbone.widths=[16,32,64,128]": "must have one number a stage each",
    "augmentation.image_size=1000000000": "augmentation.image_size=1000000000 must be at most 8,192",
    "augmentation.evaluation_resize=1000000000": "augmentation.evaluation_resize=1000000000 must be at most 8,192",
    "augmentation.view1.noise.std=[0,1e300]": "augmentation.view1.noise.std[1]=1e+300 must be in [0, 1]",
    "augmentation.view2.blur.sigma=[1e-300,1]": "augmentation.view2.blur.sigma[0]=1e-300 must be in [0.001, 1000]",
    "augmentation.view2.crop.ratio=[1e-300,1]": "augmentation.view2.crop.ratio[0]=1e-300 must be in [0.01, 100]",
    "optimizer.lr=1e300": "optimizer.lr=1e+300 must be at most 1e+30",
    "optimizer.weight_decay=1e300": "optimizer.weight_decay=1e+300 must be at most 1e+30",
    "trainer.steps=1000000000000000000": "trainer.steps=1000000000000000000 must be at most 1,000,000,000,000",
    "evaluation.linear.epochs=1000000": "evaluation.linear.epochs=1000000 must be at most 10,000",
    "evaluation.linear.learning_rates=[]": "evaluation.linear.learning_rates has 0 numbers, it takes 1 to 100",
    "evaluation.few_label.draws=1000000": "evaluation.few_label.draws=1000000 must be at most 10,000",
    "evaluation.few_label.regularization=1e-300": "evaluation.few_label.regularization=1e-300 must be at least 1e-06",
    "evaluation.knn.temperature=1e-300": "evaluation.knn.temperature=1e-300 must be at least 1e-06",
}


def load_train(*words: str) -> TrainConfig:
    return load_config(TrainConfig, compose_config("train", words))


@pytest.mark.parametrize("word", ABSURD)
def test_what_nobody_means_is_refused_before_anything_is_built(word: str) -> None:
    with pytest.raises(InputError) as refused:
        load_train(word)
    assert ABSURD[word] in str(refused.value)


def test_a_network_is_refused_for_all_its_stages_together() -> None:
    with pytest.raises(InputError, match=r"are 2 stages of about 38,654,705,664 weights: at most 12 and 700,000,000"):
        load_train("backbone.widths=[4096,4096]", "backbone.blocks=[64,64]")
    with pytest.raises(InputError, match=r"are 13 stages of about 234 weights: at most 12 and 700,000,000"):
        load_train(f"backbone.widths={[1] * 13}", f"backbone.blocks={[1] * 13}")


def test_adam_divides_by_no_zero() -> None:
    with pytest.raises(InputError, match=r"optimizer\.eps=1e-300 must be in \[1e-30, 1\]"):
        load_train("optimizer=adamw", "optimizer.eps=1e-300")


def test_a_measurement_starts_no_million_processes() -> None:
    with pytest.raises(InputError, match=r"num_workers=1000000 must be at most 1,024"):
        load_config(EvalConfig, compose_config("eval", ["checkpoint=run", "num_workers=1000000"]))


# Barlow Twins' heads, twice the largest batch of SimCLR's paper, SwAV's and DINO's counts of neighbors and steps.
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("head.hidden_dim=8192", 8192),
        ("head.output_dim=8192", 8192),
        ("augmentation.evaluation_resize=4096", 4096),
        ("trainer.batch_size=65536", 65536),
        ("trainer.steps=10000000", 10_000_000),
        ("optimizer.lr=1e30", 1e30),
        ("evaluation.linear.epochs=1000", 1000),
        ("evaluation.few_label.draws=1000", 1000),
        ("evaluation.knn.neighbors=200", 200),
    ],
)
def test_what_people_use_is_taken(word: str, expected: Any) -> None:
    value: Any = load_train(word)
    for name in word.partition("=")[0].split("."):
        value = getattr(value, name)
    assert value == expected
