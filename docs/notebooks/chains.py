# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Look at chains
#
# For the structural biologist: predict a FASTA file, see where the model is sure, and take the result elsewhere.
# The model is the quickstart's; put any model address and any FASTA file in the first cell. Open this page's
# source (`docs/notebooks/chains.py`) as a notebook with Jupyter and jupytext.

# %%
import matplotlib.pyplot as plt

import liftray

MODEL = "models:/liftray-quickstart@champion"
FASTA = "liftray/data/sample/example.fasta"

# %%
model = liftray.load(MODEL)
predictions = liftray.predict(model, FASTA)
table = predictions.to_pandas()
table[["id", "length", "mean_confidence"]]

# %% [markdown]
# ## Composition
#
# The share of residues in each state. A chain without any strand is all-alpha as far as this model sees.

# %%
for prediction in predictions:
    shares = {state: prediction.states.count(state) / len(prediction.states) for state in model.classes}
    print(f"{prediction.id:10}", {state: f"{share:.0%}" for state, share in shares.items()})

# %% [markdown]
# ## One chain
#
# The probability of each state along the chain. Where two curves cross, the state is a close call.

# %%
chain = predictions[0]
figure, axes = plt.subplots(figsize=(10, 2.5), layout="constrained")
for column, state in enumerate(model.classes):
    axes.plot(range(1, len(chain.states) + 1), chain.probabilities[:, column], label=state)
axes.set(xlabel="residue", ylabel="probability", ylim=(0, 1), title=chain.id)
axes.legend(ncols=3)
plt.show()

# %% [markdown]
# ## Segments worth trusting
#
# Segments of helix or strand of at least four residues whose every residue has a probability above 0.7.

# %%
best = chain.probabilities.max(axis=1)
start = 0
for end in range(1, len(chain.states) + 1):
    if end == len(chain.states) or chain.states[end] != chain.states[start]:
        sure = best[start:end].min() > 0.7
        if chain.states[start] != "C" and end - start >= 4 and sure:
            print(f"{chain.states[start]} {start + 1}-{end}: {chain.sequence[start:end]}")
        start = end

# %% [markdown]
# ## Take it elsewhere

# %%
files = liftray.predict(model, FASTA, "predictions/notebook", formats=["ss2", "csv"])
files.files
