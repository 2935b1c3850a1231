"""The published Keras weights as a model folder."""
