"""The command line: files in, propagated masks and reports out (layer: cli); heavy readers are imported late."""
