"""Notes on effects that a design cannot estimate, printed before training starts."""

from harness.plans.contrasts import contrasts
from harness.plans.differences import differences, within
from harness.plans.plan import Plan


def notes(plan: Plan) -> list[str]:
    """One line for each kind of effect that this plan's runs cannot estimate."""
    return [*_cells_that_are_missing(plan), *_factors_at_once(plan)]


def _cells_that_are_missing(plan: Plan) -> list[str]:
    design, asked = plan.design, plan.recipes
    if not design.cells:
        return []
    effects = contrasts(design.cells, design.baseline)
    lost = [each for each in effects if each.missing or not each.weights.keys() <= asked.keys()]
    if not lost:
        return []
    left_out = [name for name in design.cells if name not in asked]
    cells = [*dict.fromkeys(cell for each in lost for cell in each.missing), *left_out]
    names = ", ".join(each.name for each in lost)
    return [f"note: without the cells {'; '.join(cells)} these effects cannot be estimated: {names}"]


def _factors_at_once(plan: Plan) -> list[str]:
    """Variants that change several declared fields at once, so that their effects cannot be separated."""
    design, recipes = plan.design, plan.recipes
    if design.cells or design.baseline not in recipes:
        return []
    said = []
    for variant, recipe in recipes.items():
        differing = differences({design.baseline: recipes[design.baseline], variant: recipe})
        changed = [field for field in design.factor if any(within(each, [field]) for each in differing)]
        if len(changed) > 1:
            said.append(
                f"note: {variant} differs from {design.baseline} in {' and '.join(changed)} at once; these runs cannot "
                "separate their effects: `factors` would cross them"
            )
    return said
