import subprocess
import sys

MODULES = ("chains", "metrics", "sov", "bootstrap", "baselines", "leakage", "report", "plots")
HEAVY = {"torch", "ray", "deepspeed", "mlflow", "adapters", "transformers"}


def test_scoring_imports_nothing_heavy():
    imports = "; ".join(f"import liftray.evaluate.{name}" for name in MODULES)
    program = f"{imports}; import sys; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
