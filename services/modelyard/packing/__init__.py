"""One version of a model as a single file, and back.

archive   the file: a plain tar of one narrow kind, written and read as a stream
pack      a version -> the file
unpack    the file -> a version (modelyard/receiving.py checks and publishes it)
command   from options to exit codes
"""
