"""The score that compares two versions, by task. Used by mlflow (tags of a version) and promotion (gates)."""

PRIMARY = {"ss3": "q3", "ss8": "q8", "ss9": "q9"}
