"""The words of the page of evidence, English and Italian side by side, for lay readers.

A sentence claims what the figures bear out and no more. Who changes one changes its twin.
"""

from __future__ import annotations

from dataclasses import dataclass

from privacy.wording import ENGLISH, ITALIAN, Words


@dataclass(frozen=True)
class PageWords:
    """Sentences in one language; their fields are those of ``privacy.evidence_text``.

    Attributes:
        said: names of units.
        decimal: comma or point.
        title: of the page, and the heading that the other language links to.
        about: which model this is of, and what the page tells.
        federated: where partners trained it: whom the page is about, and what was tested.
        verdicts: the whole in one sentence: kept, weak or refuted.
        promise: heading; the claim's statement follows.
        limits: heading; what is not protected follows.
        test: heading.
        how: what was done to test the promise.
        partly: where the model holds fewer steps than were tested.
        by_day: where canaries are of another unit than the promise.
        outcomes: what came of the test: kept, weak or refuted.
        means: what that means and does not mean.
        cost: heading.
        errors: what the table tells, and that no epsilon covers it.
        suppressed: how many groups are left out.
        columns: of the table, after the group: units, both errors, and their difference.
        area: name of the usual column of groups.
        together: last row of the table.
        places: in the table, where units are no nodes.
        no_errors: instead of the table.
        experts: heading.
        figures: name and text of each figure.
    """

    said: Words
    decimal: str
    title: str
    about: str
    federated: str
    verdicts: dict[str, str]
    promise: str
    limits: str
    test: str
    how: str
    partly: str
    by_day: str
    outcomes: dict[str, str]
    means: str
    cost: str
    errors: str
    suppressed: str
    columns: tuple[str, str, str, str]
    area: str
    together: str
    places: str
    no_errors: str
    experts: str
    figures: dict[str, str]


PAGE_EN = PageWords(
    said=ENGLISH,
    decimal=".",
    title="Evidence of privacy",
    about="This page goes with one forecasting model, which was trained on the data set {dataset} "
    "(training run {run}). It tells what is promised to each {one} in these data, how the promise "
    "was put to the test, and what keeping it costs in accuracy.",
    federated="Several partners trained the model together, each on its own data and with noise of "
    "its own. This page is about {partner}, whom this training protects least; the release says "
    "what is promised of each. Tested were its settings in one place, without the other partners.",
    verdicts={
        "kept": "**In short: the promise was tested and was not contradicted.**",
        "weak": "**In short: the promise was tested, but the test was too weak to contradict it, "
        "and so says nothing.**",
        "refuted": "**In short: the test CONTRADICTED the promise. The model must not be "
        "released.**",
    },
    promise="What is promised",
    limits="What is not protected",
    test="How the promise was tested",
    how="The test trained a second model with the same program and the same settings, among them "
    "the amount of noise, but without any real data. {canaries} {many} were invented to be easy to "
    "recognise; they are called canaries. For each of them a coin was tossed: heads, it took part "
    "in the training; tails, it did not. Together with ordinary invented ones, {units} took part. "
    "Then a guesser tried to tell how the coins had fallen, knowing more than any outsider will: "
    "the data of every canary and everything that the training computed after the noise was added. "
    "Guessed were the {guesses} coins that looked surest.",
    partly="The budget ended the model's own training after {steps} of {planned} steps; tested "
    "were all {planned}.",
    by_day="Canaries are single {many} here also where the promise is for a day: how chance, cap "
    "and noise work does not depend on it.",
    outcomes={
        "kept": "{right} of {guesses} guesses were right. Blind guessing gets about {half}; from "
        "{refuting} on, the promise would have been contradicted.",
        "weak": "{right} of {guesses} guesses were right; blind guessing gets about {half}. Even "
        "if all had been right, that would not have contradicted the promise: a test that can say "
        "something needs more canaries, or a promise with a smaller delta.",
        "refuted": "{right} of {guesses} guesses were right, and from {refuting} on the promise "
        "does not hold. Something takes the protection off: noise that is missing, or settings "
        "other than those that were counted.",
    },
    means="What this means: the test looks for faults in the program and its settings. That it "
    "finds none does not prove the promise, since a better guesser may do better; the promise "
    "itself rests on a mathematical proof, provided the program does what it says. No real data "
    "were read, so the test does not tell how the real data were handled.",
    cost="What privacy costs in accuracy",
    errors="How far the model's middle forecast is off on average, in {unit}, at {origins} times "
    "of the test period: with the noise, as released, and in a twin that was trained in the same "
    "way without noise and then thrown away. **These figures were computed from the real data, "
    "exactly: the promise does not cover them. They are shown because the partner agreed.**",
    suppressed="Groups of fewer than {least} are left out, also of the last row; that leaves out "
    "{suppressed}.",
    columns=("{many}, at least", "with noise", "without noise", "difference"),
    area="area",
    together="together",
    places="places",
    no_errors="Not shown here. Such figures are computed from the real data, exactly, and the "
    "promise does not cover them: they are shown only where the partner agrees.",
    experts="Figures for experts",
    figures={
        "claim": "claim: epsilon {pld} at delta {delta} by the privacy loss distribution, which "
        "counts (numerical composition {prv}, Renyi at most {rdp}); unit {unit}, {steps} steps, "
        "noise {noise} times the clip norm {clip}, sampling rate {rate}",
        "bound": "audit in one run (Steinke et al. 2023): epsilon is at least {epsilon} at "
        "{confidence} confidence, {right} of {guesses} guesses right, {canaries} canaries of "
        "pattern {pattern}, seed {seed}; all guesses right would have given {ceiling}, to be "
        "compared with {claimed}",
        "auc": "membership test, area under the curve (0.5: nobody is told apart; 1: everybody "
        "is): {white} by all noisy sums, {black} by the loss of the finished model alone",
        "model": "model.onnx has sha256 {sha256}",
    },
)

PAGE_IT = PageWords(
    said=ITALIAN,
    decimal=",",
    title="Prove di riservatezza",
    about="Questa pagina accompagna un modello di previsione, addestrato sull'insieme di dati "
    "{dataset} (addestramento {run}). Dice quale garanzia vale per ogni {one} presente in questi "
    "dati, come la garanzia è stata messa alla prova e quanto costa in precisione.",
    federated="Più partner hanno addestrato insieme il modello, ciascuno sui propri dati e con un "
    "proprio rumore. Questa pagina riguarda {partner}, che questo addestramento protegge meno di "
    "tutti; il rilascio dice che cosa si garantisce a ciascuno. Sono state messe alla prova le sue "
    "impostazioni in un solo luogo, senza gli altri partner.",
    verdicts={
        "kept": "**In breve: la garanzia è stata messa alla prova e non è stata smentita.**",
        "weak": "**In breve: la garanzia è stata messa alla prova, ma la prova era troppo debole "
        "per poterla smentire, e quindi non dice nulla.**",
        "refuted": "**In breve: la prova ha SMENTITO la garanzia. Il modello non deve essere "
        "rilasciato.**",
    },
    promise="Che cosa si garantisce",
    limits="Che cosa non è protetto",
    test="Come la garanzia è stata messa alla prova",
    how="La prova ha addestrato un secondo modello con lo stesso programma e le stesse "
    "impostazioni, compresa la quantità di rumore, ma senza alcun dato reale. Sono stati inventati "
    "{canaries} {many} fatti per essere facilmente riconoscibili, detti canarini. Per ciascuno si "
    "è lanciata una moneta: testa, partecipava all'addestramento; croce, no. Insieme ad altri "
    "inventati, ma comuni, hanno partecipato in {units}. Poi si è cercato di indovinare l'esito "
    "delle monete sapendo più di quanto saprà mai un estraneo: i dati di ogni canarino e tutto ciò "
    "che l'addestramento ha calcolato dopo l'aggiunta del rumore. Si sono scelte le {guesses} "
    "monete che parevano più sicure.",
    partly="Il limite concordato ha fermato l'addestramento del modello dopo {steps} passi su "
    "{planned}; sono stati messi alla prova tutti i {planned}.",
    by_day="I canarini sono singoli {many} anche qui, dove la garanzia vale per un giorno: il modo "
    "in cui agiscono caso, limite e rumore non ne dipende.",
    outcomes={
        "kept": "Monete indovinate: {right} su {guesses}. Tirando a caso se ne indovinano circa "
        "{half}; da {refuting} in su la garanzia sarebbe stata smentita.",
        "weak": "Monete indovinate: {right} su {guesses}; tirando a caso se ne indovinano circa "
        "{half}. Anche indovinandole tutte non si sarebbe smentita la garanzia: per una prova che "
        "dica qualcosa servono più canarini, o una garanzia con un delta più piccolo.",
        "refuted": "Monete indovinate: {right} su {guesses}, e da {refuting} in su la garanzia "
        "non regge. Qualcosa toglie la protezione: rumore mancante, o impostazioni diverse da "
        "quelle conteggiate.",
    },
    means="Che cosa significa: la prova cerca errori nel programma e nelle sue impostazioni. Che "
    "non ne trovi non dimostra la garanzia, perché chi indovina meglio potrebbe riuscire di più; "
    "la garanzia poggia su una dimostrazione matematica, purché il programma faccia ciò che "
    "dichiara. Nessun dato reale è stato letto, quindi la prova non dice come siano stati "
    "trattati i dati reali.",
    cost="Quanto costa la riservatezza in precisione",
    errors="Di quanto sbaglia in media la previsione centrale del modello, in {unit}, in {origins} "
    "momenti del periodo di prova: con il rumore, come viene rilasciato, e in un gemello "
    "addestrato allo stesso modo senza rumore e poi eliminato. **Queste cifre sono calcolate "
    "esattamente sui dati reali: la garanzia non le copre. Sono mostrate perché il partner ha "
    "acconsentito.**",
    suppressed="I gruppi con meno di {least} sono esclusi, anche dall'ultima riga; gruppi esclusi: "
    "{suppressed}.",
    columns=("{many}, almeno", "con rumore", "senza rumore", "differenza"),
    area="zona",
    together="insieme",
    places="luoghi",
    no_errors="Non indicato qui. Tali cifre sono calcolate esattamente sui dati reali e la "
    "garanzia non le copre: si mostrano solo se il partner acconsente.",
    experts="Cifre per esperti",
    figures={
        "claim": "garanzia: epsilon {pld} con delta {delta} secondo la distribuzione della perdita "
        "di privacy, che fa fede (composizione numerica {prv}, Rényi al più {rdp}); unità: {unit}, "
        "{steps} passi, rumore {noise} volte la norma di taglio {clip}, tasso di campionamento "
        "{rate}",
        "bound": "verifica in un solo addestramento (Steinke et al. 2023): epsilon è almeno "
        "{epsilon} con confidenza {confidence}, {right} tentativi giusti su {guesses}, {canaries} "
        "canarini di tipo {pattern}, seme {seed}; se tutti fossero stati giusti si sarebbe "
        "ottenuto {ceiling}, da confrontare con {claimed}",
        "auc": "test di appartenenza, area sotto la curva (0,5: nessuno è riconosciuto; 1: lo sono "
        "tutti): {white} con tutte le somme rumorose, {black} con la sola perdita del modello "
        "finito",
        "model": "model.onnx ha sha256 {sha256}",
    },
)
