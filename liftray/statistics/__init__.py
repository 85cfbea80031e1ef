"""Statistics of scores over chains: resampling, paired differences, correction for several comparisons.

This is the only package that draws at random to judge a score. Reports, searches, studies and promotion gates
all use it, so one pair of models on the same chains has one interval everywhere. It depends on NumPy alone.

Tensor suffixes: N chains, K statistics columns, S bootstrap resamples or permutations, J runs of one arm (one a seed).
"""
