"""`python -m automl_transfer` is the command line."""

from automl_transfer.cli.main import main

if __name__ == "__main__":
    main()
