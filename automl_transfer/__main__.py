"""`python -m automl_transfer` is the command line."""

from automl_transfer.cli.main import run_process

if __name__ == "__main__":
    run_process()
