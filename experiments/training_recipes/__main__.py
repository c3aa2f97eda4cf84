"""``python -m experiments.training_recipes``, in the root of the repository."""

from lineament.cli.main import run_module

if __name__ == "__main__":
    here = "experiments.training_recipes"
    raise SystemExit(run_module(f"{here}.run", "CompareRecipesConfig", f"python -m {here}"))
