"""The origin's side: resolving, connecting, pooling."""
