"""Weights on the Hugging Face Hub: fetching them, and publishing a network with everything needed to use it."""
