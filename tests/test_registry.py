"""Names are unique, and a misspelt one gets a hint."""

import pytest

from monai_nas.registry import Registry


def test_registry_keeps_order_and_returns_what_was_stored() -> None:
    registry: Registry[int] = Registry("number")
    assert registry.register("two")(2) == 2
    registry.register("one")(1)
    assert registry["two"] == 2 and registry.names == list(registry) == ["two", "one"]
    assert "one" in registry and "three" not in registry


def test_a_name_cannot_be_registered_twice() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)
    with pytest.raises(ValueError, match="number 'one' is registered already"):
        registry.register("one")(7)
    assert registry["one"] == 1


@pytest.mark.parametrize(("asked", "hint"), [("conv_3x3", "'conv_3x3x3'"), ("qqqq", "'conv_3x3x3', 'zero'")])
def test_an_unknown_name_raises_with_the_nearest(asked: str, hint: str) -> None:
    registry: Registry[int] = Registry("operation")
    registry.register("conv_3x3x3")(1)
    registry.register("zero")(2)
    with pytest.raises(ValueError, match=rf"unknown operation '{asked}': did you mean {hint}\?"):
        registry[asked]
