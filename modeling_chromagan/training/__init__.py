"""How the models learn; nothing outside of this room but `train.py` and `publishing` imports it."""
