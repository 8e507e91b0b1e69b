from tests.villains.fixtures import template

__all__ = ["template"]
