"""How often is the verdict on a claim right, where the truth is known?

    python benchmarks/claims.py --out benchmarks/results/claims.md

For each form of claims: made data where it is true, where it is false, and where the truth lies on the limit, so that
neither verdict is right. `wrong` is the share of draws with a false verdict; it must stay at 5 % or below.
"""

import numpy as np
from made_claims import CASES, shares, values_of_a_field
from reports import add_numbers, add_out, arguments, command, flags, head, publish, row

from raypeft.analysis.claims.verdicts import judged, read_claim


def family(options):
    """The share of draws in which one of several claims about equal methods is decided."""
    generator = np.random.default_rng(options.seed)
    values = {2**place: 0.5 for place in range(6)}
    claims = [read_claim({"better": {"lora_r": a}, "than": {"lora_r": b}, "on": "codebleu"})
              for a in values for b in values if a < b]  # fmt: skip
    made = (judged(claims, values_of_a_field(generator, "lora_r", values)) for _ in range(options.cases))
    wrong = sum(any(each.verdict != "undecided" for each in found) for found in made)
    return wrong / options.cases, len(claims)


def main():
    parser = arguments(__doc__)
    add_numbers(parser, cases=1000, seed=1)
    add_out(parser)
    options = parser.parse_args()
    lines = [
        f"Verdicts on made data: the share of {options.cases} draws that end in each verdict. wrong: the share of verdicts "
        "that are false. Where the truth is on the limit, or both are equal, the only right verdict is undecided.",
        command("claims", flags(options, "cases", "seed")),
        "",
        *head("claim", "truth", "right verdict", "> supported", "> refuted", "> undecided", "> wrong"),
    ]
    for form, truth, right, claim, make in CASES:
        found = shares(claim, make, options.cases, options.seed)
        wrong = sum(share for verdict, share in found.items() if verdict not in (right, "undecided"))
        lines.append(row(form, truth, right, *(f"{100 * share:.1f} %" for share in found.values()),
                         f"{100 * wrong:.1f} %"))  # fmt: skip
    wrong, count = family(options)
    lines.append(row(f"better by > 0, {count} claims in one sweep", "all equal", "undecided", "", "",
                     f"{100 * (1 - wrong):.1f} %", f"{100 * wrong:.1f} %"))  # fmt: skip
    publish(lines, options.out)


if __name__ == "__main__":
    main()
