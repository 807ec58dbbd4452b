"""A distortion of another package: the upper half and the lower half change places, or not."""

from PIL import Image


def halves_swapped(image, chance):
    if chance.random.random() > chance.strength:
        return image
    middle = image.height // 2
    swapped = Image.new(image.mode, image.size)
    swapped.paste(image.crop((0, middle, image.width, image.height)), (0, 0))
    swapped.paste(image.crop((0, 0, image.width, middle)), (0, image.height - middle))
    return swapped
