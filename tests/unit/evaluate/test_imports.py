import subprocess
import sys
from pathlib import Path

from liftray import evaluate

MODULES = sorted(path.stem for path in Path(evaluate.__file__).parent.glob("[a-z]*.py"))
HEAVY = {"torch", "ray", "deepspeed", "mlflow", "adapters", "transformers"}


def test_scoring_imports_nothing_heavy():
    assert "metrics" in MODULES
    imports = "; ".join(f"import liftray.evaluate.{name}" for name in MODULES)
    program = f"{imports}; import sys; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
