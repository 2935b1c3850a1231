"""Models measured on photographs."""
