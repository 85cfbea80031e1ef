"""Protein language models: found, checked, loaded, and run in parts over packed batches.

Tensors are named with a suffix of one letter for each dimension, outermost first: `hidden_TD`. A digit is a dimension
of that size. Each letter has one meaning in all of LiftRay:

    T  tokens of a packed batch          N  chains
    B  windows of a batch                M  residues of several chains, end to end
    L  places of one window or chain     S  bootstrap resamples
    D  width of the hidden states        K  columns of statistics
    C  classes: states of the alphabet   J  runs of one arm, one a seed
    Y  states of a coarser alphabet      Z  dimensions of a head's embedding
    H  attention heads                   P  keys and values of prefix tuning
    E  dimensions of one head            G  gates of an adapter
    Q  rotary frequencies                U  units of a bottleneck or LSTM
    I  inputs of a linear layer          R  rank of a LoRA
    V  outputs of a linear layer         F  width of the feed-forward part
    X  any number                        W  offsets of a sliding window
"""
