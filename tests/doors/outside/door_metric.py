"""A metric of another package: half a mark for each right answer."""


def half_marks(logits, labels):
    return (logits.argmax(axis=1) == labels).mean() / 2
