"""The command line: one file a command. Heavy packages are imported only where a command needs them."""
