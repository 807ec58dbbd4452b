"""A score of another package: how far the means of the classes are apart."""


def spread(seen):
    return seen.class_means(seen.centred).square().sum(1).mean()
