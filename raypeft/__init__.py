"""raypeft: how best to specialise a code model on one GPU, measured with Ray Tune and PEFT."""

__version__ = "0.1.0"
