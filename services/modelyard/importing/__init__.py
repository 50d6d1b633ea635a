"""What `modelyard import` does in a child process: read a file that may be hostile, describe it, run it once.

bounded   a child with an end in time, memory and output      kinds     what a file is, told by its content
read      bytes -> a checked ModelProto                       describe  ModelProto -> inputs and outputs
rows      made-up rows, or rows that were given               trial     do they run, together and alone?
child     the main of the child: all of these in turn
"""
