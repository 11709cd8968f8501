"""Self-supervised image pre-training by BYOL (Bootstrap Your Own Latent, Grill et al. 2020)."""

__version__ = "0.1.0"
