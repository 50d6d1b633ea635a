"""The life of a version: exported, checked, promoted, rolled back, compared.

versions   which version a command means, beside which one it is judged, and how it is opened
interface  what callers rely on, and what breaks it
compare    two versions in one process: latency, and how far their answers agree
check      the checks of a version, each a name, a state and a sentence
promote    checks, then the alias; and the way back
scripts    a model's own train.py and export.py as child processes
difference, past   what `diff` and `history` tell
show       all of it as tables; command: from options to exit codes
"""
