"""The frozen prefix's hidden states on disk: the key that names a store, the store, and the job that fills it.

A cache entry holds the hidden states of one window at one block. The block of a key is the block whose input is stored:
`Cut.entry` of the runs that read it.
"""
