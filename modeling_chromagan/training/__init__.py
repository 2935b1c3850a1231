"""How the models learn; nothing outside of this room but `train.py` imports it."""
