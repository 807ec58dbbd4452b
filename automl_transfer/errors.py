"""The exceptions of automl-transfer, in one tree; some stand where they are raised.

AutomlTransferError
├── UserError                  wrong input: one clear message, exit code 2, nothing written
│   ├── ConfigurationError     study files, strategies, options; carries every mistake at once
│   ├── DataError              datasets, images, labels, splits
│   │   └── data.base.NoTaskError      it can be described, and not be learnt
│   ├── SourceError            pretrained weights that are missing, foreign or do not fit
│   ├── StudyError             a study that is missing, exists already or differs
│   ├── StoreURLError          a storage URL that cannot be used as given
│   │   └── OlderStoreError    a store of an earlier version, opened to be read only
│   └── OutputError            a folder or file that cannot be written
├── TrialError                 one trial failed; the search goes on
│   ├── NotANumberError        loss or logits became NaN or infinite
│   ├── OutOfMemoryError       no batch size was small enough
│   └── TrialDataError         the data could not be read while training
├── UnreadableRowError         a row of the store that this program cannot read: skipped and named
├── StoreUnavailableError      the store did not answer for longer than it is waited for
├── WorkersError               no worker process could go on
├── recipes.package.ParityError    a packaged model answers otherwise than the trained one
└── TrialLostError             the trial belongs to another attempt now (fenced)

`aborting.Aborted` is none of them: a request to give work up, which was granted.
"""

from __future__ import annotations

from collections.abc import Sequence


class AutomlTransferError(Exception):
    """Base of all errors that this package raises on purpose."""


class UserError(AutomlTransferError):
    """Wrong input. The message states the rule, the value received and what to do."""


class ConfigurationError(UserError):
    """One or more mistakes in a configuration, reported together.

    Args:
        mistakes: One text per mistake, each naming its key.
        where: The file or option that holds them.
    """

    def __init__(self, mistakes: Sequence[str] | str, where: str | None = None) -> None:
        self.mistakes: tuple[str, ...] = (mistakes,) if isinstance(mistakes, str) else tuple(mistakes)
        self.where = where
        head = f"{where}: " if where else ""
        if len(self.mistakes) == 1:
            super().__init__(head + self.mistakes[0])
        else:
            lines = "\n".join(f"  - {mistake}" for mistake in self.mistakes)
            super().__init__(f"{head}{len(self.mistakes)} mistakes\n{lines}")


class DataError(UserError):
    """A dataset, an image, a label or a split that cannot be used."""


class SourceError(UserError):
    """A source whose weights are missing, foreign or do not fit its architecture."""


class StudyError(UserError):
    """A study that does not exist, exists already or differs from what was asked."""


class StoreURLError(UserError):
    """A storage URL that cannot be used as given."""


class OlderStoreError(StoreURLError):
    """A store of an earlier version, opened to be read only: somebody who may write brings it up to date."""


class OutputError(UserError):
    """An output folder or file that cannot be written."""


class TrialError(AutomlTransferError):
    """One trial failed; the search goes on."""


class NotANumberError(TrialError):
    """Loss, logits or weights became NaN or infinite."""


class OutOfMemoryError(TrialError):
    """Training ran out of memory at every batch size that was tried."""


class TrialDataError(TrialError):
    """The data could not be read while a trial was training."""


class UnreadableRowError(AutomlTransferError):
    """A row of the store that this program cannot read. It is skipped and named, and blocks nobody.

    Args:
        reason: What is wrong with it, for people.
        newer: A later version of this program can read it.
    """

    def __init__(self, reason: str, *, newer: bool = False) -> None:
        super().__init__(reason)
        self.newer = newer


class StoreUnavailableError(AutomlTransferError):
    """The store did not answer for longer than it is waited for."""


class WorkersError(AutomlTransferError):
    """Worker processes ended in failures for good; what they had stored is kept."""


class TrialLostError(AutomlTransferError):
    """The trial belongs to another attempt now: this one must stop and write nothing."""
