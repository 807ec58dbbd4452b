"""Sources: backbones with their weights, layer groups and preprocessing."""
