"""How well the data doctor finds faults that are put in: labels, copies, leaks, patches; what it gains, and costs.

    python benchmarks/doctor.py --parts noise copies leak poison --tasks digits textures mnist5k
    python benchmarks/doctor.py --tasks signs --photos FOLDER
    python benchmarks/doctor.py --parts gain --tasks digits --seeds 5
    python benchmarks/doctor.py --parts cost
    python benchmarks/doctor.py --table

Faults are put into images and labels in memory; a seed draws where. Of a dataset at most `MOST` images are used. Cells
are lines of `doctor.jsonl` beside this file (`--cells`), and what is there is not run again. "gain" trains on a
few digits with 20% wrong labels, with and without what the doctor says; another way to train is one line in `ARMS`.
"cost" makes a folder of synthetic images and reads it in a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance
from scipy import stats

from automl_transfer.data.base import Pixels, Rows
from automl_transfer.data.decode_all import digest_of
from automl_transfer.data.task import LoadedDetails, load_with_details
from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.features import Features, looker
from automl_transfer.doctor.findings import Finding
from automl_transfer.doctor.registry import all_checks
from automl_transfer.domain.spec import TaskSpec

SOURCE, MOST = "efficientnet-lite0", 2000
TASKS: dict[str, tuple[str, int]] = {
    "digits": ("digits", 32), "mnist5k": ("mnist5k", 32), "textures": ("textures?patch=16", 32),
    "signs": ("", 96), "clothing": ("", 96), "tiles": ("", 64), "stamps": ("", 64),
}  # fmt: skip
"""Dataset (empty for a folder of photographs), and pixels."""
NOISE = (0.0, 0.05, 0.1, 0.2)
POISON = (0.0, 0.01, 0.05, 0.1)
COPIES = 40
"""Near copies of each kind, each kind in a dataset of its own."""

Cell = dict[str, Any]
look_at = looker(SOURCE)


def load(name: str, photos: Path | None, seed: int) -> LoadedDetails:
    """A dataset with at most `MOST` images in splits, other ones for each seed."""
    dataset, resolution = TASKS[name]
    if not dataset and photos is None:
        raise SystemExit(f"--photos must name the folder that holds {name}, got none")
    spec = TaskSpec(
        dataset=dataset or str(photos / name), resolution=resolution, on_bad_image="skip", rare_classes="drop",
        split_from=None if dataset else "none", classes_from=2 if name == "clothing" else None,
    )  # fmt: skip
    details = load_with_details(spec, data_root=None, cache_root=None, progress=None)
    kept = np.zeros(len(details.loaded.keys), np.bool_)
    order = np.random.default_rng(seed).permutation(np.concatenate(list(details.loaded.indices.values())))
    kept[order[:MOST]] = True
    indices = {split: rows[kept[rows]] for split, rows in details.loaded.indices.items()}
    return with_task(details, indices=indices)


def with_task(details: LoadedDetails, **changes: Any) -> LoadedDetails:
    """The same dataset with another task."""
    return dataclasses.replace(details, loaded=dataclasses.replace(details.loaded, **changes))


def with_images(details: LoadedDetails, images: Pixels, labels: Rows, **changes: Any) -> LoadedDetails:
    """Other images and labels; what is kept by the task's fingerprint is made anew. Rows may be added."""
    loaded, cached = details.loaded, details.cached
    digests = np.stack([np.frombuffer(digest_of(image), np.uint8) for image in images])
    flat = images.reshape(len(images), -1, images.shape[3]).astype(np.int64)
    more = len(images) - len(cached.sizes)
    cached = dataclasses.replace(
        cached,
        images=images,
        digests=digests,
        moments=np.stack([flat.sum(axis=1), (flat**2).sum(axis=1)], axis=2),
        sizes=np.concatenate([cached.sizes, np.repeat(cached.sizes[:1], more, axis=0)]),
    )
    print_of = hashlib.sha256(digests.tobytes() + labels.tobytes()).hexdigest()
    task = loaded.task.model_copy(update={"fingerprint": print_of})
    keys = (*loaded.keys, *(f"added/{number}" for number in range(more)))
    loaded = dataclasses.replace(
        loaded,
        task=task,
        images=images,
        labels=labels,
        keys=keys,
        twins=None,
        groups=None,
        larger=None,
        **changes,
    )
    return LoadedDetails(loaded, cached)


def check(name: str) -> Check:
    """A check by its name."""
    return next(each for each in all_checks() if each.name == name)


def listed(found: list[Finding], details: LoadedDetails, *, notes: bool = False) -> set[int]:
    """The rows that findings list."""
    row_of = {key: row for row, key in enumerate(details.loaded.keys)}
    return {row_of[s.image] for f in found if notes or f.weight != "note" for s in f.suspects}


def noise(name: str, photos: Path | None, seed: int) -> Iterator[Cell]:
    """Labels of training and validation images are changed, each wrong class as likely."""
    details = load(name, photos, seed)
    base = Patient(details, look_at)
    seen = base.features
    for rate in NOISE:
        generator = np.random.default_rng([seed, 1])
        pool, labels = base.pool, details.loaded.labels.copy()
        changed = generator.permutation(pool)[: round(rate * len(pool))]
        classes = len(details.loaded.task.classes)
        labels[changed] = (labels[changed] + generator.integers(1, classes, len(changed))) % classes
        noisy = with_task(details, labels=labels)
        patient = Patient(noisy, lambda task, rows: seen)
        began = time.process_time()
        found = list(check("labels").examine(patient))
        rows = listed(found, noisy)
        right = len(rows & set(changed.tolist()))
        yield {
            "rate": rate, "images": len(pool), "listed": len(rows), "right": right, "put_in": len(changed),
            "expected_false": round(sum(f.false_alarms or 0.0 for f in found), 2),
            "estimated": round(patient.opinion.noise, 4), "accuracy": round(patient.opinion.accuracy, 4),
            "seconds": round(time.process_time() - began, 1),
        }  # fmt: skip


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert(image.mode)


def _crop(image: Image.Image, share: float) -> Image.Image:
    w, h = image.size
    left, top = (1 - share) * w / 2, (1 - share) * h / 2
    return image.resize((w, h), Image.Resampling.BICUBIC, box=(left, top, w - left, h - top))


def _lit(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG quality 70": lambda image: _jpeg(image, 70),
    "JPEG quality 30": lambda image: _jpeg(image, 30),
    "JPEG quality 10": lambda image: _jpeg(image, 10),
    "cut to 95%": lambda image: _crop(image, 0.95),
    "cut to 90%": lambda image: _crop(image, 0.9),
    "cut to 80%": lambda image: _crop(image, 0.8),
    "brightness x 1.1": lambda image: _lit(image, 1.1),
    "brightness x 1.3": lambda image: _lit(image, 1.3),
    "brightness x 0.6": lambda image: _lit(image, 0.6),
    "turned by 2 degrees": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
    "turned by 5 degrees": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "turned by 10 degrees": lambda image: image.rotate(10, Image.Resampling.BICUBIC),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def copies(name: str, photos: Path | None, seed: int) -> Iterator[Cell]:
    """Changed copies of validation images are put into training."""
    details = load(name, photos, seed)
    loaded = details.loaded
    rows = np.unique(np.concatenate(list(loaded.indices.values())))
    generator = np.random.default_rng([seed, 2])
    pick = generator.permutation(loaded.indices["validation"])[:COPIES]
    seen = look_at(loaded, rows)
    before = listed(list(check("near").examine(Patient(details, lambda task, r: seen))), details, notes=True)
    yield {"change": "none", "images": len(rows), "listed": len(before), "found": 0, "put_in": 0}
    n = len(loaded.images)
    for change, make in CHANGES.items():
        made = [
            np.asarray(make(Image.fromarray(np.asarray(loaded.images[row]).squeeze()))).reshape(
                loaded.images.shape[1:]
            )
            for row in pick
        ]
        added = np.arange(n, n + len(pick))
        images, labels = (
            np.concatenate([loaded.images, made]),
            np.concatenate([loaded.labels, loaded.labels[pick]]),
        )
        indices = {**loaded.indices, "train": np.concatenate([loaded.indices["train"], added])}
        planted = with_images(details, images, labels, indices=indices)
        # The features of what was there already are those of before.
        new = look_at_only(planted, added, seen)
        patient = Patient(planted, lambda task, r, new=new: new)
        found = listed(list(check("near").examine(patient)), planted, notes=True)
        yield {
            "change": change, "images": len(rows), "listed": len(found), "put_in": len(pick),
            "found": len(found & set(added.tolist())), "others": len(found - set(added.tolist()) - before),
        }  # fmt: skip


def look_at_only(details: LoadedDetails, added: Rows, seen: Features) -> Features:
    """The features of a dataset of which only the added rows are new."""
    import automl_transfer.doctor.features as module

    chosen = module._chosen
    module._chosen = lambda task, bank, cells: seen.cells  # type: ignore[assignment,attr-defined]
    try:
        new = look_at(details.loaded, added)
    finally:
        module._chosen = chosen
    return dataclasses.replace(
        seen, rows=np.concatenate([seen.rows, added]),
        late=np.concatenate([seen.late, new.late]), early=np.concatenate([seen.early, new.early]),
    )  # fmt: skip


def leak(name: str, photos: Path | None, seed: int) -> Iterator[Cell]:
    """The very same test and validation images are put into training."""
    details = load(name, photos, seed)
    loaded = details.loaded
    generator = np.random.default_rng([seed, 3])
    pick = np.concatenate([generator.permutation(loaded.indices[s])[:5] for s in ("validation", "test")])
    n = len(loaded.images)
    added = np.arange(n, n + len(pick))
    indices = {**loaded.indices, "train": np.concatenate([loaded.indices["train"], added])}
    images = np.concatenate([loaded.images, loaded.images[pick]])
    planted = with_images(
        details, images, np.concatenate([loaded.labels, loaded.labels[pick]]), indices=indices
    )
    found = [f for f in check("copies").examine(Patient(planted, None)) if f.weight == "grave"]
    rows = listed(found, planted)
    before = [f for f in check("copies").examine(Patient(details, None)) if f.weight == "grave"]
    yield {
        "put_in": len(added), "found": len(rows & set(added.tolist())),
        "others": len(rows - set(added.tolist()) - listed(before, details)),
    }  # fmt: skip


SCREENS = ("labels", "patches", "spectral", "clusters")


def poison(
    name: str, photos: Path | None, seed: int, screens: tuple[str, ...] = SCREENS, checkered: bool = False
) -> Iterator[Cell]:
    """A square near the lower right corner, white or of black and white, on images that become one class."""
    details = load(name, photos, seed)
    loaded = details.loaded
    pool = np.unique(np.concatenate([loaded.indices["train"], loaded.indices["validation"]]))
    target = int(np.random.default_rng([seed, 4]).integers(len(loaded.task.classes)))
    side = max(3, loaded.side // 16)
    ink = 255 * ((np.indices((side, side)).sum(axis=0)[..., None] % 2 == 0) | (not checkered))
    for rate in POISON:
        stamped = np.random.default_rng([seed, 5]).permutation(pool[loaded.labels[pool] != target])
        stamped = stamped[: round(rate * len(pool))]
        images, labels = np.array(loaded.images), loaded.labels.copy()
        images[stamped, -side - 1 : -1, -side - 1 : -1] = ink
        labels[stamped] = target
        poisoned = with_images(details, images, labels)
        patient = Patient(poisoned, look_at)
        for screen in screens:
            found = [f for f in check(screen).examine(patient) if f.weight != "note"]
            rows, bad = listed(found, poisoned), set(stamped.tolist())
            yield {
                "rate": rate, "screen": screen, "images": len(pool), "put_in": len(bad), "listed": len(rows),
                "right": len(rows & bad), "findings": len(found),
                "of_target": sum(loaded.task.classes[target] in f.title.split() for f in found),
            }  # fmt: skip


ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "clean labels": ("clean", {}),
    "wrong labels": ("noisy", {}),
    "without the listed": ("list", {}),
    "listed count less": ("weights", {}),
}
"""Labels and weights that are trained on, and what the strategy changes of plain fine-tuning."""
A_CLASS, RATE, EPOCHS = 30, 0.2, 40
READS = {"taps": 3, "pool": 2, "truncation": 6, "resolution_scale": 2.0}
METHODS: dict[str, dict[str, Any]] = {
    "solved head": {"tune_mode": "closed_form", "head_init": "ridge"},
    "trained head": {
        "tune_mode": "head", "head_init": "he", "optimizer": "adamw", "learning_rate": 1e-2, "weight_decay": 0.0,
    },
}  # fmt: skip
"""Both read three outputs of the frozen source."""
TUNED_ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "clean labels": ("clean", {}),
    "wrong labels": ("noisy", {}),
    "without the listed": ("list", {}),
    "gce .7": ("noisy", {"gce": 0.7}),
    "without the listed, gce .7": ("list", {"gce": 0.7}),
}
TUNED: dict[str, dict[str, Any]] = {
    "tuned network": {
        "truncation": 4, "pool": 2, "tune_mode": "suffix", "freeze_depth": 4, "head_init": "ridge",
        "norm_policy": "train", "optimizer": "adamw", "learning_rate": 1e-3, "head_lr_mult": 0.1,
        "layer_decay": 1.0, "weight_decay": 0.05, "batch": 32, "resolution_scale": 1.0,
    },
}  # fmt: skip
"""Half of the source's groups, of which the later half trains: what comes before is computed once."""
TUNED_EPOCHS = 30


def gain(
    name: str,
    photos: Path | None,
    seed: int,
    done: set[str],
    arms: dict[str, tuple[str, dict[str, Any]]] = ARMS,
    methods: dict[str, dict[str, Any]] = METHODS,
    epochs: int = EPOCHS,
) -> Iterator[Cell]:
    """Accuracy on test images with right labels after training with wrong ones."""
    from automl_transfer.domain.horizon import Horizon
    from automl_transfer.domain.strategy import Strategy
    from automl_transfer.models.registry import get_source
    from automl_transfer.training.activation_cache import MemoryCache
    from automl_transfer.training.evaluate import predict_logits, scores
    from automl_transfer.training.making import make_run

    details = load(name, photos, seed)
    loaded = details.loaded
    generator = np.random.default_rng([seed, 6])
    few = {}
    for split in ("train", "validation"):
        rows = generator.permutation(loaded.indices[split])
        own = [rows[loaded.labels[rows] == label][:A_CLASS] for label in range(len(loaded.task.classes))]
        few[split] = np.sort(np.concatenate(own))
    indices = {**loaded.indices, **few}
    pool, classes = np.sort(np.concatenate(list(few.values()))), len(loaded.task.classes)
    wrong = generator.permutation(pool)[: round(RATE * len(pool))]
    labels = loaded.labels.copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, classes, len(wrong))) % classes
    noisy = with_task(details, indices=indices, labels=labels)
    opinion = Patient(noisy, look_at).opinion
    for arm, (trained, changes) in arms.items():
        if arm in done:
            continue
        weights = np.ones(len(labels))
        if trained == "list":
            weights[opinion.rows] = np.where(opinion.wrong >= 0.5, 0.0, 1.0)
        elif trained == "weights":
            weights[opinion.rows] = np.maximum(1.0 - opinion.wrong, 1e-3)
        task = loaded if trained == "clean" else noisy.loaded
        train = few["train"][weights[few["train"]] > 0]
        task = dataclasses.replace(
            task, indices={**indices, "train": train}, weights=None if (weights == 1).all() else weights
        )
        backbone = get_source(SOURCE).load(task.task.channels)
        for method, strategy in methods.items():
            reads = {} if "truncation" in strategy else READS
            chosen = Strategy.model_validate({**reads, **strategy, "source": SOURCE, **changes}).canonical()
            solved = method == "solved head"
            horizon = Horizon.of(len(train), 1 if solved else epochs, None)
            run = make_run(
                chosen,
                task,
                backbone,
                horizon=horizon,
                seed=seed,
                device=torch.device("cpu"),
                cache=MemoryCache(),
            )
            run.train_to(horizon.epochs)
            run.load_shown()
            rows = loaded.indices["test"]
            logits = predict_logits(run.model, task.images, rows, run.plan.normaliser(torch.device("cpu")))
            found = scores(logits, loaded.labels[rows], classes)
            yield {"arm": arm, "method": method, "train": len(train), "accuracy": round(found.accuracy, 4)}


def cost(images: int) -> Iterator[Cell]:
    """A folder of synthetic photographs: seconds of the pass and of everything after it, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        generator = np.random.default_rng(0)
        centres = generator.integers(0, 255, (10, 6, 6, 3))
        for number in range(images):
            label = number % 10
            place = root / "photos" / str(label)
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(centres[label] + generator.normal(0, 60, (6, 6, 3)), 0, 255).astype(np.uint8)
            image = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)
            image.save(place / f"{number}.jpg", quality=90)
        spec = TaskSpec(dataset=str(root / "photos"), resolution=32)
        details = load_with_details(spec, data_root=None, cache_root=root / "cache", progress=None)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        patient = Patient(details, looker(SOURCE, cache_root=root / "cache"))
        began = time.process_time()
        _ = patient.features
        passed = time.process_time() - began
        parts = {}
        for each in all_checks():
            began = time.process_time()
            list(each.examine(patient))
            parts[each.name] = round(time.process_time() - began, 2)
        yield {
            "images": images, "pixels": 32, "pass_seconds": round(passed, 1), "checks": parts,
            "ratio": round((passed + sum(parts.values())) / passed, 2),
            "cheap_seconds": round(sum(parts[name] for name in ("files", "blank", "channels", "copies")), 2),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "before_mb": before // 1024,
        }  # fmt: skip


def patches(name: str, photos: Path | None, seed: int) -> Iterator[Cell]:
    """The same for the screen of patches alone, which needs no features: for sets that it was not made on."""
    yield from poison(name, photos, seed, ("patches",))


def checkered(name: str, photos: Path | None, seed: int) -> Iterator[Cell]:
    """The same with a trigger that white images do not have by nature."""
    yield from poison(name, photos, seed, ("patches",), checkered=True)


PARTS: dict[str, Callable[[str, Path | None, int], Iterator[Cell]]] = {
    "noise": noise, "copies": copies, "leak": leak, "poison": poison, "patches": patches,
    "checkered": checkered,
}  # fmt: skip


def read(path: Path) -> list[Cell]:
    """The cells that are there."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def run(options: argparse.Namespace) -> None:
    """Run what is missing."""
    for part in options.parts:
        for name in options.tasks if part != "cost" else ("synthetic",):
            for seed in range(options.seeds if part != "cost" else 1):
                there = [
                    c for c in read(options.cells) if (c["part"], c["task"], c["seed"]) == (part, name, seed)
                ]
                if part == "gain":
                    done = {c["arm"] for c in there if c["method"] == list(METHODS)[-1]}
                    cells = gain(name, options.photos, seed, done) if len(done) < len(ARMS) else iter(())
                elif part == "tuned":
                    done = {c["arm"] for c in there}
                    left = len(done) < len(TUNED_ARMS)
                    wanted = (TUNED_ARMS, TUNED, TUNED_EPOCHS)
                    cells = gain(name, options.photos, seed, done, *wanted) if left else iter(())
                elif part == "cost":
                    cells = (
                        iter(())
                        if any(c["images"] == options.images for c in there)
                        else cost(options.images)
                    )
                else:
                    cells = iter(()) if there else PARTS[part](name, options.photos, seed)
                for cell in cells if part in ("gain", "tuned") else list(cells):
                    with options.cells.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"part": part, "task": name, "seed": seed, **cell}) + "\n")
                    print(part, name, seed, cell, flush=True)


def table(cells: list[Cell]) -> None:
    """Everything, as Markdown."""
    print(
        "\n| wrong labels | put in | n | precision | recall | listed though right, of all |\n|---|---|---|---|---|---|"
    )
    for (name, rate), found in grouped(cells, "noise", "task", "rate"):
        precision = over([c["right"] / c["listed"] for c in found if c["put_in"] and c["listed"]], 3)
        recall = over([c["right"] / c["put_in"] for c in found if c["put_in"]], 3)
        wrongly = over([100 * (c["listed"] - c["right"]) / c["images"] for c in found], 2)
        print(f"| {name} | {100 * rate:g}% | {len(found)} | {precision} | {recall} | {wrongly} |")
    names = sorted({c["task"] for c in cells if c["part"] == "copies"})
    print(f"\n| near copies | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for change in ("none", *CHANGES):
        shown = []
        for name in names:
            found = [c for c in cells if (c["part"], c["task"], c.get("change")) == ("copies", name, change)]
            if not found:
                shown.append("")
            elif change == "none":
                of = over([c["listed"] for c in found], 0)
                shown.append(f"{of} of {round(statistics.mean(c['images'] for c in found)):,} listed")
            else:
                shown.append(over([c["found"] / c["put_in"] for c in found], 2))
        print(f"| {change} | {' | '.join(shown)} |")
    leaks = [c for c in cells if c["part"] == "leak"]
    print(f"\nleaks: {sum(c['found'] for c in leaks)} of {sum(c['put_in'] for c in leaks)} found, "
          f"{sum(c['others'] for c in leaks)} others listed, in {len(leaks)} datasets")  # fmt: skip
    print(
        "\n| patches | screen | share | n | target named | poison listed | of the listed, poison | others named |"
    )
    print("|---|---|---|---|---|---|---|---|")
    kinds = [
        each
        for part in ("poison", "patches", "checkered")
        for each in grouped(cells, part, "part", "task", "screen", "rate")
    ]
    for (part, name, screen, rate), found in kinds:
        name = f"{name}, {part}"
        right, put, many = (sum(c[key] for c in found) for key in ("right", "put_in", "listed"))
        named = sum(c["of_target"] > 0 for c in found) if screen != "labels" else "-"
        others = (
            sum(c["findings"] - c["of_target"] for c in found) / len(found) if screen != "labels" else "-"
        )
        rates = (
            f"{right / put:.2f} | {right / many:.2f}"
            if put and many
            else ("0 | " if put else f" | {many} listed")
        )
        print(f"| {name} | {screen} | {100 * rate:g}% | {len(found)} | {named} | {rates} | {others} |")
    print(
        "\n| 20% wrong labels | trained by | n | test accuracy | won back of what is lost (95%) |\n|---|---|---|---|---|"
    )
    trained = [each for part in ("gain", "tuned") for each in grouped(cells, part, "task", "method", "arm")]
    for (name, method, arm), found in trained:

        def of(seed: int, other: str, name: str = name, method: str = method) -> float:
            return next(c["accuracy"] for c in cells if c["part"] in ("gain", "tuned")
                        and (c["task"], c["method"], c["arm"], c["seed"]) == (name, method, other, seed))  # fmt: skip

        mean = statistics.mean(c["accuracy"] for c in found)
        won = [(c["accuracy"] - of(c["seed"], "wrong labels")) for c in found]
        lost = statistics.mean(of(c["seed"], "clean labels") - of(c["seed"], "wrong labels") for c in found)
        half = (
            stats.t.ppf(0.975, len(won) - 1) * statistics.stdev(won) / len(won) ** 0.5
            if len(won) > 1
            else 0.0
        )
        back = f"{100 * statistics.mean(won) / lost:.0f}% ({100 * (statistics.mean(won) - half) / lost:.0f} to " \
               f"{100 * (statistics.mean(won) + half) / lost:.0f}%)" if lost > 0 else ""  # fmt: skip
        print(f"| {arm} | {name}, {method} | {len(found)} | {mean:.4f} | {back} |")
    for cell in (c for c in cells if c["part"] == "cost"):
        print("\ncost:", json.dumps(cell))


def over(values: list[float], digits: int) -> str:
    """The mean of several draws, and their range."""
    if not values:
        return ""
    mean, low, high = statistics.mean(values), min(values), max(values)
    told = f"{mean:.{digits}f}"
    return told if low == high else f"{told} ({low:.{digits}f} to {high:.{digits}f})"


def grouped(cells: list[Cell], part: str, *keys: str) -> list[tuple[tuple[Any, ...], list[Cell]]]:
    """Cells of a part by what these keys say, in the order in which they came."""
    found: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        if cell["part"] == part:
            found.setdefault(tuple(cell[key] for key in keys), []).append(cell)
    return list(found.items())


def main() -> None:
    """Run the cells that are missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, "gain", "tuned", "cost"], default=list(PARTS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["digits", "textures", "mnist5k"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--images", type=int, default=20_000, help="of the synthetic folder")
    parser.add_argument("--photos", type=Path, help="a folder that holds signs, tiles or clothing")
    parser.add_argument("--cells", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    if not options.table:
        run(options)
    table(read(options.cells))


if __name__ == "__main__":
    sys.exit(main())
