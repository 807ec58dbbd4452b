"""A metric of another package: how often the truth is among the two likeliest answers."""


def top_two(logits, labels):
    return (logits.argsort(1)[:, -2:] == labels[:, None]).any(1).mean()
