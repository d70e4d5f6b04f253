"""The words of a privacy statement, English and Italian side by side, for lay readers.

A sentence claims what the accounts bear out and no more. Who changes one changes its twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from privacy.entries import Unit

MEASURES = 2
"""Which of the limits is about measures of quality."""


@dataclass(frozen=True)
class Words:
    """Sentences in one language; their fields are those of ``privacy.claim``.

    Attributes:
        units: one and many of each kind.
        number: writes a number.
        continued: earlier names of a data set.
        whom: whom a claim protects.
        nothing: where nothing was trained.
        how: what is done for it.
        odds: what epsilon and delta mean, in times as likely.
        guess: the same for somebody who guesses.
        weak: where that is little.
        over: what is counted together, runs and releases.
        over_runs: the same where nothing was released.
        alone: that one run is counted, and others are not.
        more: names that are not listed.
        this: a release that speaks of itself.
        limits: what is not protected, whoever the unit is.
        by_unit: what is not protected of a kind of unit.
        own: in place of ``limits[MEASURES]`` where a release's measures are of the city's own data.
    """

    units: Mapping[Unit, tuple[str, str]]
    number: Callable[[float], str]
    continued: str
    whom: str
    nothing: str
    how: str
    odds: str
    guess: str
    weak: str
    over: str
    over_runs: str
    alone: str
    more: str
    this: str
    limits: tuple[str, ...]
    by_unit: Mapping[Unit, str]
    own: str

    def not_protected(self, kinds: Sequence[Unit], own: str = "") -> list[str]:
        """What is not protected, one thing a line.

        Args:
            kinds: of units.
            own: the city's own data set, on which a federation's release is calibrated and tested.
        """
        many = ", ".join(self.units[kind][1] for kind in kinds)
        lines = list(self.limits)
        if own:
            lines[MEASURES] = self.own
        told = [line.format(many=many, own=own) for line in lines]
        return told + [self.by_unit[kind] for kind in kinds]


def english_number(value: float) -> str:
    """Thousands with a comma, decimals with a point, none that are 0."""
    whole = float(value).is_integer()
    return f"{int(value):,}" if whole else f"{value:,.2f}".rstrip("0").rstrip(".")


def italian_number(value: float) -> str:
    """Thousands with a point, decimals with a comma."""
    return english_number(value).translate(str.maketrans(",.", ".,"))


ENGLISH = Words(
    units={
        "household": ("household", "households"),
        "meter": ("meter", "meters"),
        "vehicle": ("vehicle", "vehicles"),
        "day": ("day", "days"),
    },
    number=english_number,
    continued=" (and what it continues: {names})",
    whom="This protects every single {one} in the data set {dataset} of partner {partner}, about "
    "{count} {many}.",
    nothing="Nothing has been trained on these data so far, so no model can tell anything of them.",
    how="In each step of training, chance alone decides which {many} take part, the influence of "
    "each {one} is capped, and random noise is added to the sum.",
    odds="The effect: whatever happens because of the models, good or bad, is at most {times} "
    "times as likely as it would be if the data of one {one} had never been used, plus at most 1 "
    "chance in {in_so_many} (experts say: epsilon {epsilon}, delta 1 in {in_so_many}).",
    guess="For example, somebody who has to guess whether the data of a certain {one} were used, "
    "when both are equally likely, is right at most {right} times in 100, whatever else they "
    "know; blind guessing is right 50 times in 100.",
    weak="That is a weak promise: such a guess can be right nearly always.",
    over="This counts everything together, also for somebody who has all of it: every training run "
    "on these data that the ledger has listed so far ({runs}) and every model released from them "
    "({releases}).",
    over_runs="This counts everything together, also for somebody who sees all of it: every "
    "training run on these data that the ledger has listed so far ({runs}). The ledger lists no "
    "release from them.",
    alone="This counts one training run alone ({runs}). Whatever else was trained on the same data "
    "comes on top: the statement in the release's manifest counts everything together.",
    more="{count} earlier ones",
    this="this one",
    limits=(
        "Company secrets: how a partner's business behaves as a whole, such as its total sales, "
        "can show in a model.",
        "What many {many} have in common: learning it is what a model is for. What follows from it "
        "also holds for those whose data were never used.",
        "Measures of quality (errors and hit rates, in the report of a release): they are computed "
        "from the partner's data exactly, without noise, and are shown by agreement with the "
        "partner. The same goes for the digital fingerprints of the data files in the ledger, "
        "which can confirm to somebody who already has a copy of a file that it was used.",
        "Training replies that were dropped: they are in no model and are not counted here, but "
        "they reached the city.",
        "Other data about the same {many}: data sets that this ledger does not list, and data "
        "sets of other partners. Each has its own promise or none, and what can be learned from "
        "them adds up.",
        "Who is forecast, and from what: a release names those that it forecasts, and a forecast "
        "that is made from somebody's latest readings tells something about them. Protected is "
        "what a model learned, not what it is asked.",
        "Those who hold the data or run the training see the data themselves. And the promise is "
        "as good as the ledger: it shows what was changed afterwards, but not what was never "
        "written down.",
    ),
    by_unit={
        "household": "Persons as such: a household is counted as one, whoever lives in it, and "
        "somebody who moved, and so is in two, is protected in each by itself.",
        "meter": "Households as such: the promise is for one meter; who has several is protected "
        "less.",
        "vehicle": "Persons as such: the promise is for one vehicle; who uses several is protected "
        "less.",
        "day": "Persons as such: the promise is for the data of one day; who is in the data on "
        "many days is protected far less, and their habits can show.",
    },
    own="The city's own data set {own}: bands were calibrated on it and measures of quality "
    "computed from it, exactly, without noise. Of the partners' data it holds nothing, but the "
    "digital fingerprints of their files are in the ledger, and can confirm to somebody who "
    "already has a copy of a file that it was used.",
)

ITALIAN = Words(
    units={
        "household": ("nucleo familiare", "nuclei familiari"),
        "meter": ("contatore", "contatori"),
        "vehicle": ("veicolo", "veicoli"),
        "day": ("giorno", "giorni"),
    },
    number=italian_number,
    continued=" (e ciò di cui è il seguito: {names})",
    whom="Questa garanzia protegge ogni singolo {one} dell'insieme di dati {dataset} del partner "
    "{partner}, circa {count} {many}.",
    nothing="Finora su questi dati non è stato addestrato nulla, quindi nessun modello può "
    "rivelarne qualcosa.",
    how="A ogni passo dell'addestramento è solo il caso a decidere quali {many} partecipano, "
    "l'influenza di ogni {one} è limitata e alla somma si aggiunge un rumore casuale.",
    odds="L'effetto: qualunque cosa accada a causa dei modelli, nel bene o nel male, ha una "
    "probabilità che è al massimo {times} volte quella che avrebbe se i dati di un {one} non "
    "fossero mai stati usati, più al massimo 1 caso su {in_so_many} (gli esperti dicono: epsilon "
    "{epsilon}, delta 1 su {in_so_many}).",
    guess="Per esempio, chi deve indovinare se i dati di un certo {one} sono stati usati, quando "
    "le due possibilità sono ugualmente probabili, indovina al massimo {right} volte su 100, "
    "qualunque altra cosa sappia; tirando a caso si indovina 50 volte su 100.",
    weak="È una garanzia debole: chi prova a indovinare può avere ragione quasi sempre.",
    over="Il conto comprende tutto insieme, anche per chi dispone di tutto: ogni addestramento su "
    "questi dati che il registro elenca finora ({runs}) e ogni modello rilasciato che ne deriva "
    "({releases}).",
    over_runs="Il conto comprende tutto insieme, anche per chi vede tutto: ogni addestramento su "
    "questi dati che il registro elenca finora ({runs}). Il registro non elenca alcun modello "
    "rilasciato che ne derivi.",
    alone="Il conto riguarda un solo addestramento ({runs}). Quanto altro è stato addestrato sugli "
    "stessi dati si aggiunge: la dichiarazione nel manifesto del rilascio conta tutto insieme.",
    more="{count} precedenti",
    this="questo",
    limits=(
        "I segreti aziendali: l'andamento complessivo dell'attività di un partner, per esempio le "
        "vendite totali, può trasparire da un modello.",
        "Ciò che molti {many} hanno in comune: un modello serve proprio a impararlo. Ciò che ne "
        "segue vale anche per coloro i cui dati non sono mai stati usati.",
        "Le misure di qualità (errori e percentuali di successo, nel rapporto di un rilascio): "
        "sono calcolate esattamente sui dati del partner, senza rumore, e sono mostrate d'accordo "
        "con il partner. Lo stesso vale per le impronte digitali dei file di dati nel registro, "
        "che a chi possiede già una copia di un file possono confermare che è stato usato.",
        "Le risposte di addestramento scartate: non sono in alcun modello e qui non sono contate, "
        "ma sono arrivate alla città.",
        "Altri dati sugli stessi {many}: insiemi di dati che questo registro non elenca e insiemi "
        "di dati di altri partner. Ciascuno ha una propria garanzia o nessuna, e ciò che se ne può "
        "ricavare si somma.",
        "Di chi si fanno previsioni, e a partire da che cosa: un rilascio nomina coloro di cui "
        "prevede i valori, e una previsione fatta con le ultime letture di qualcuno dice qualcosa "
        "di lui. È protetto ciò che un modello ha imparato, non ciò che gli viene chiesto.",
        "Chi custodisce i dati o esegue l'addestramento vede i dati stessi. Inoltre la garanzia "
        "vale quanto il registro: questo mostra ciò che è stato cambiato in seguito, non ciò che "
        "non è mai stato scritto.",
    ),
    by_unit={
        "household": "Le persone in quanto tali: un nucleo familiare conta come uno, chiunque vi "
        "abiti, e chi ha traslocato, e quindi compare in due, è protetto in ciascuno "
        "separatamente.",
        "meter": "I nuclei familiari in quanto tali: la garanzia vale per un contatore; chi ne ha "
        "più di uno è meno protetto.",
        "vehicle": "Le persone in quanto tali: la garanzia vale per un veicolo; chi ne usa più di "
        "uno è meno protetto.",
        "day": "Le persone in quanto tali: la garanzia vale per i dati di un giorno; chi compare "
        "nei dati in molti giorni è molto meno protetto, e le sue abitudini possono trasparire.",
    },
    own="L'insieme di dati {own} della città stessa: su di esso si sono calibrate le fasce e "
    "calcolate le misure di qualità, esattamente, senza rumore. Dei dati dei partner non contiene "
    "nulla, ma le impronte digitali dei loro file sono nel registro e possono confermare, a chi ha "
    "già una copia di un file, che esso è stato usato.",
)
