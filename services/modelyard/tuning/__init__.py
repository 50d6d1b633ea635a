"""`modelyard tune`: measure a model under many settings, show what was found, choose, write.

grid     which settings are worth a measurement
inputs   requests that differ from each other, from the golden inputs or made up
sweep    every setting under every number of connections, in interleaved rounds
choose   the rule that picks one
report   the table, the JSON document; plot: the curves
model_yaml  the chosen settings in place of the old ones, everything else untouched
command  joins them
"""
