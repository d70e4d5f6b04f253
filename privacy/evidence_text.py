"""The evidence of a private release as one page, in English and Italian."""

from __future__ import annotations

from typing import Any

_CLAIM = (
    "epsilon {pld:.4g} at delta {delta:g} (privacy loss distribution, which counts; numerical "
    "composition {prv:.4g}, Renyi at most {rdp:.4g}), for one {one}: {steps} steps, noise "
    "{noise_multiplier:g} x the clip norm {clip:g}, sampling rate {sampling_rate:g}",
    "epsilon {pld:.4g} con delta {delta:g} (distribuzione della perdita di privacy, che fa fede; "
    "composizione numerica {prv:.4g}, Rényi al più {rdp:.4g}), per una singola unità ({one}): "
    "{steps} passi, rumore {noise_multiplier:g} x la norma di taglio {clip:g}, tasso di "
    "campionamento {sampling_rate:g}",
)
_AUDIT = (
    "{canaries} canaries, of which fair coins chose half, were trained on beside stand-ins "
    "({stand_in}), by the same code and settings; who saw every noisy sum guessed {right} of "
    "{guesses} coins. That refutes every epsilon below {epsilon:.4g}, at {confidence:.0%} "
    "confidence; all guesses right would have refuted {ceiling:.4g}. {verdict}. No private row was "
    "read: the audit vouches for code and settings, not for what was done with the rows.",
    "{canaries} canarini, scelti per metà con una moneta equa, sono stati usati nell'addestramento "
    "accanto a unità fittizie ({stand_in}), con lo stesso codice e le stesse impostazioni; chi ha "
    "visto ogni somma rumorosa ha indovinato {right} monete su {guesses}. Ciò confuta ogni epsilon "
    "sotto {epsilon:.4g}, con confidenza {confidence:.0%}; se tutte fossero state indovinate si "
    "sarebbe confutato {ceiling:.4g}. {verdict}. Nessuna riga privata è stata letta: la verifica "
    "riguarda codice e impostazioni, non ciò che è stato fatto con le righe.",
)
_VERDICTS = {
    "refuted": ("The claim is CONTRADICTED", "La promessa è SMENTITA"),
    "weak": (
        "The claim could not have been contradicted by this audit",
        "Questa verifica non avrebbe potuto smentire la promessa",
    ),
    "kept": ("The claim is not contradicted", "La promessa non è smentita"),
}
_MEMBERSHIP = (
    "Area under the curve of a test of who was in (0.5: none is told apart): {white_box:.3f} by "
    "all noisy sums, {black_box:.3f} by the loss of the finished model.",
    "Area sotto la curva di un test di appartenenza (0,5: nessuno è riconosciuto): "
    "{white_box:.3f} con tutte le somme rumorose, {black_box:.3f} con la sola perdita del modello "
    "finito.",
)
_ERRORS = (
    "Mean absolute error of the median, {unit}, over {origins} origins of the test span, with the "
    "noise and without it (a model that stays in the house). **These are figures of private rows: "
    "no epsilon covers them, and they are shown by the partner's agreement alone.** Groups under "
    "{least_group} units are left out, of the overall figure too: {suppressed}.",
    "Errore assoluto medio della mediana, {unit}, su {origins} origini del periodo di prova, con "
    "il rumore e senza (un modello che resta in casa). **Sono cifre di righe private: nessun "
    "epsilon le copre, e sono mostrate solo per accordo del partner.** I gruppi sotto "
    "{least_group} unità sono esclusi, anche dal totale: {suppressed}.",
)
_NO_ERRORS = (
    "Not shown: they would be figures of private rows, which no epsilon covers.",
    "Non mostrati: sarebbero cifre di righe private, che nessun epsilon copre.",
)


def rendered(evidence: dict[str, Any]) -> str:
    """Markdown of what ``evidence`` returns."""
    settings, audit = evidence["settings"], evidence["audit"]
    claim = {**evidence["epsilon"], **evidence["mechanism"]}
    claim |= {"one": settings["unit"], "clip": settings["clip_norm"]}
    weak = not audit["could_contradict"]
    verdict = "refuted" if audit["contradicts"] else "weak" if weak else "kept"
    lines = ["# Evidence of privacy / Prove di riservatezza"]
    lines += _section("The claim / La promessa", _CLAIM, claim)
    told = [
        text.format(**audit["white_box"], stand_in=audit["stand_in"], verdict=word)
        for text, word in zip(_AUDIT, _VERDICTS[verdict], strict=True)
    ]
    lines += _section("The audit / La verifica", told, None)
    lines += _section("Membership / Appartenenza", _MEMBERSHIP, evidence["membership_auc"])
    errors = evidence["errors"]
    title = "What the noise costs / Quanto costa il rumore"
    if errors is None:
        return "\n".join([*lines, *_section(title, _NO_ERRORS, None)]) + "\n"
    lines += _section(title, _ERRORS, errors)
    lines += [
        f"| {errors['attribute']} | units, at least / unità, almeno | with noise / con rumore | "
        "without / senza |",
        "| --- | ---: | ---: | ---: |",
    ]
    rows = errors["groups"]
    if errors["overall"]:
        rows = [*rows, {**errors["overall"], "group": "together / insieme"}]
    lines += [
        f"| {_cell(row['group'])} | {row['units']} | {row['with_noise']:g} | "
        f"{row['without_noise']:g} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, texts: tuple[str, ...] | list[str], values: Any) -> list[str]:
    """Heading, then the same in both languages."""
    english, italian = texts if values is None else [t.format(**values) for t in texts]
    return ["", f"## {title}", "", english, "", italian, ""]


def _cell(text: str) -> str:
    """A group's name, which must not end the cell."""
    return "".join(c if c.isprintable() else " " for c in text).replace("|", "/") or "-"
