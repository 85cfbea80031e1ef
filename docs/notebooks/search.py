# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Read a search
#
# For the analyst: how few blocks and how narrow an adapter suffice? The table is that of a committed search of 24
# trials (6 cuts, 4 widths, one seed, ASHA). `liftray tune` writes the same `trials.csv` into its run directory.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

TRIALS = Path("reports/search/2026-11-23-lift-24/trials.csv")
trials = pd.read_csv(TRIALS)
trials["blocks"] = 6 - trials["adapter.skip_layers"]
trials["width"] = 320 // trials["adapter.reduction_factor"]
trials[["trial", "blocks", "width", "state", "q3", "parameters", "seconds_per_epoch"]].head()

# %% [markdown]
# ## Finished and stopped trials are not comparable
#
# ASHA stopped most trials after one epoch. Their score is that of one epoch; only finished trials may be ranked.

# %%
finished = trials[trials["state"] == "finished"].sort_values("q3", ascending=False)
stopped = trials[trials["state"] == "stopped"]
print(f"{len(finished)} finished, {len(stopped)} stopped after {sorted(set(stopped['epochs']))} epochs")

# %% [markdown]
# ## Differences to the best
#
# Each finished trial against the best, on the same resampled validation chains. A trial suffices if the interval
# excludes a loss of more than the margin, here half a point of Q3.

# %%
MARGIN = 0.005
table = finished[
    ["trial", "blocks", "width", "q3", "difference", "difference_ci95_low", "difference_ci95_high"]
].copy()
table["suffices"] = table["difference_ci95_low"] > -MARGIN
table

# %%
fewest = table[table["suffices"]].sort_values("blocks").iloc[0]
print(f"fewest blocks shown to lose at most {100 * MARGIN:.1f} points: {fewest['blocks']:.0f} of 6")

# %% [markdown]
# ## Score against size
#
# After one epoch, all trials at once. The lines join trials with the same number of adapted blocks.

# %%
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for blocks, group in stopped.groupby("blocks"):
    ordered = group.sort_values("parameters")
    axes.plot(ordered["parameters"], 100 * ordered["q3"], marker="o", label=f"{blocks} blocks")
axes.set(xscale="log", xlabel="trained parameters", ylabel="validation Q3 after one epoch (%)")
axes.legend()
plt.show()

# %% [markdown]
# ## What this table does not say
#
# - One seed a trial: differences of a few tenths of a point are within the spread of seeds.
# - The best was chosen on these chains, so its score and its lead are a little too good.
# - What the narrow adapters would have reached after their first epoch, nobody measured.
