"""A layer of any torch module by its path."""

from torch import nn

from flows.io.inputs import nearest


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """The module at path ``layer`` of ``model.named_modules()``, with or without ``_orig_mod.``; ``""`` is the model itself.

    Raises:
        TypeError: no torch module.
        ValueError: no such layer; the nearest are offered.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch module, got {type(model).__name__}; pass an nn.Module")
    named = dict(model.named_modules(remove_duplicate=False))  # a module under two names has both
    modules = {
        name.replace("_orig_mod.", ""): module for name, module in named.items()
    } | named  # what torch.compile wraps
    if layer not in modules:
        raise ValueError(f"no layer {layer!r} in {type(model).__name__}; {nearest(layer, filter(None, modules))}")
    return modules[layer]
