"""Every phrase of the neighbourhood pages, English and Italian side by side; ``{name}`` is filled.

Written for people who know nothing of models: no percentile, no skill, no conformal anything.
"""

from __future__ import annotations

LANGUAGES = ("en", "it")

WORDS: dict[str, tuple[str, str]] = {
    "title": ("How well does it forecast where you live?", "Quanto prevede bene dove abiti?"),
    "city": ("Bologna Digital Twin", "Gemello Digitale di Bologna"),
    "other_language": ("Italiano", "English"),
    "skip": ("Skip to the neighbourhoods", "Vai ai quartieri"),
    "intro": (
        "Felsina forecasts what happens in the city some hours ahead. Every forecast can be wrong,"
        " and it is not equally wrong everywhere. Choose where you live and read what we know"
        " about it, and what we do not know.",
        "Felsina prevede con qualche ora di anticipo che cosa succede in città. Ogni previsione può"
        " sbagliare, e non sbaglia allo stesso modo dappertutto. Scegli dove abiti e leggi che cosa"
        " ne sappiamo, e che cosa non sappiamo.",
    ),
    "invented": (
        "This is a demonstration: city, data and people are invented.",
        "Questa è una dimostrazione: la città, i dati e gli abitanti sono inventati.",
    ),
    "nothing": (
        "No forecasts are served yet, so there is nothing to say here.",
        "Non ci sono ancora previsioni, quindi qui non c’è nulla da dire.",
    ),
    "no_places": (
        "The forecasts that are served say of no place in which neighbourhood it lies.",
        "Le previsioni disponibili non dicono in quale quartiere si trovano i luoghi.",
    ),
    "choose": ("Choose your neighbourhood", "Scegli il tuo quartiere"),
    "map_measured": ("sensors for all forecasts", "sensori per tutte le previsioni"),
    "map_partly": ("sensors for some", "sensori solo per alcune"),
    "map_never": ("never measured", "mai misurato"),
    "map_worse": ("surely worse than elsewhere", "di sicuro peggio che altrove"),
    "back": ("All neighbourhoods", "Tutti i quartieri"),
    "this_in_other": ("Questa pagina in italiano", "This page in English"),
    # what is forecast
    "flow": ("Vehicles passing", "Veicoli in transito"),
    "speed": ("Speed of vehicles", "Velocità dei veicoli"),
    "load": ("Energy demand", "Domanda di energia"),
    "stage": ("River level", "Livello dei fiumi"),
    "discharge": ("River flow", "Portata dei fiumi"),
    "every_ahead": (
        "A value every {step}, up to {span} ahead.",
        "Un valore ogni {step}, con un anticipo fino a {span}.",
    ),
    # how well
    "sensors_one": ("There is 1 sensor here.", "Qui c’è 1 sensore."),
    "sensors_many": ("There are {n} sensors here.", "Qui ci sono {n} sensori."),
    "per_people": (
        "That is {here} for every 10,000 people; in the whole city {all}.",
        "Sono {here} ogni 10.000 abitanti; in tutta la città {all}.",
    ),
    "silent": (
        "Of {all} sensors {n} gave no value while the forecasts were tested.",
        "Di {all} sensori {n} non hanno dato alcun valore durante la prova.",
    ),
    "no_sensor": (
        "No sensor here: we do not know how good the forecast is. It was never measured in this"
        " neighbourhood, and what was measured elsewhere may not hold here.",
        "Qui non c’è nessun sensore: non sappiamo quanto sia buona la previsione. In questo"
        " quartiere non è mai stata misurata, e ciò che è stato misurato altrove può non valere"
        " qui.",
    ),
    "together": (
        "There are too few sensors or people here to judge this neighbourhood alone. What follows"
        " is true of {names} together.",
        "Qui ci sono troppo pochi sensori o abitanti per giudicare il quartiere da solo. Quanto"
        " segue vale per {names} insieme.",
    ),
    "district": (
        "There are too few sensors here to judge this neighbourhood alone. What follows is true of"
        " {name}.",
        "Qui ci sono troppo pochi sensori per giudicare il quartiere da solo. Quanto segue vale"
        " per {name}.",
    ),
    "off_by": (
        "On average it is off by {error}",
        "In media sbaglia di {error}",
    ),
    "off_share": (
        ", {share} of what is usual there.",
        ", il {share} di quanto è abituale.",
    ),
    "easier": (
        "That is {share} less than by assuming that last week repeats itself.",
        "È il {share} in meno che supporre che si ripeta la settimana prima.",
    ),
    "no_easier": (
        "That is no better than assuming that last week repeats itself.",
        "Non è meglio che supporre che si ripeta la settimana prima.",
    ),
    "range_as": (
        "With each forecast comes a range that should hold 90 times out of 100. Here it held {n}"
        " times: as promised.",
        "Con ogni previsione c’è un intervallo che dovrebbe essere giusto 90 volte su 100. Qui lo è"
        " stato {n} volte: come promesso.",
    ),
    "range_less": (
        "With each forecast comes a range that should hold 90 times out of 100. Here it held only"
        " {n} times: it promises more than it keeps.",
        "Con ogni previsione c’è un intervallo che dovrebbe essere giusto 90 volte su 100. Qui lo è"
        " stato solo {n} volte: promette più di quanto mantiene.",
    ),
    "range_more": (
        "With each forecast comes a range that should hold 90 times out of 100. Here it held {n}"
        " times: it is more cautious than it need be.",
        "Con ogni previsione c’è un intervallo che dovrebbe essere giusto 90 volte su 100. Qui lo è"
        " stato {n} volte: è più prudente del necessario.",
    ),
    "beside_worse": (
        "Worse here than elsewhere, surely: it errs {by} more (between {low} and {high}). The board"
        " tolerates {limit}.",
        "Qui è peggio che altrove, di sicuro: sbaglia il {by} in più (tra il {low} e il {high}). Il"
        " comitato tollera il {limit}.",
    ),
    "beside_somewhat": (
        "Somewhat worse here than elsewhere: it errs {by} more (between {low} and {high}). The"
        " board tolerates {limit}.",
        "Qui è un po’ peggio che altrove: sbaglia il {by} in più (tra il {low} e il {high}). Il"
        " comitato tollera il {limit}.",
    ),
    "beside_better": (
        "Better here than elsewhere, surely: it errs {by} less.",
        "Qui è meglio che altrove, di sicuro: sbaglia il {by} in meno.",
    ),
    "beside_same": (
        "About as good as elsewhere: surely not worse by more than {high}.",
        "Più o meno come altrove: di sicuro non peggio di oltre il {high}.",
    ),
    "beside_unsure": (
        "Better or worse than elsewhere? We cannot tell: {better} to {worse}. More measurements are"
        " needed.",
        "Meglio o peggio che altrove? Non possiamo dirlo: da {better} a {worse}. Servono più"
        " misure.",
    ),
    "beside_days": (
        "Better or worse than elsewhere? We cannot tell: it was tested on {days} days only.",
        "Meglio o peggio che altrove? Non possiamo dirlo: è stato provato solo per {days} giorni.",
    ),
    "more_by": ("{by} worse", "peggio del {by}"),
    "less_by": ("{by} better", "meglio del {by}"),
    "share_fail": (
        "Beside how much there is to forecast here, it errs surely more than elsewhere, and by more"
        " than the board tolerates; poor sensors may be why.",
        "Rispetto a quanto c’è da prevedere qui, sbaglia di sicuro più che altrove, e più di quanto"
        " il comitato tolleri; la causa può essere in sensori scadenti.",
    ),
    "range_fail": (
        "Its ranges hold less often here than elsewhere, surely, and by more than the board"
        " tolerates.",
        "I suoi intervalli sono giusti meno spesso qui che altrove, di sicuro, e più di quanto il"
        " comitato tolleri.",
    ),
    "peak_fail": (
        "The highest hours are forecast too low here, surely, and more so than elsewhere.",
        "Le ore più intense sono previste troppo basse qui, di sicuro, e più che altrove.",
    ),
    "warned": (
        "In the whole city alarm level {k} was passed {n} times during the test; {hits} times"
        " people would have been warned before.",
        "In tutta la città la soglia di allarme {k} è stata superata {n} volte durante la prova;"
        " {hits} volte le persone sarebbero state avvisate prima.",
    ),
    "too_few": (
        "That is too few to say how good it is in this neighbourhood.",
        "Sono troppo pochi per dire quanto sia buona la previsione in questo quartiere.",
    ),
    "whole_city": (
        "In all places together it is off by {error} on average.",
        "In tutti i luoghi insieme sbaglia in media di {error}.",
    ),
    "no_report": (
        "There is no report on it by neighbourhood yet: how good it is here is not known.",
        "Non c’è ancora una relazione per quartiere: quanto sia buona qui non si sa.",
    ),
    "tested": ("Tested from {begin} to {end}.", "Provato dal {begin} al {end}."),
    # the board
    "board": ("What the ethics board decided", "Che cosa ha deciso il comitato etico"),
    "board_none": (
        "The ethics board has not decided on it yet.",
        "Il comitato etico non si è ancora espresso.",
    ),
    "board_demo": (
        "Signed for demonstration only, not by the ethics board.",
        "Firma soltanto dimostrativa, non del comitato etico.",
    ),
    "board_approved": ("Approved by the ethics board.", "Approvato dal comitato etico."),
    "board_until": (
        "Approved by the ethics board until {day}.",
        "Approvato dal comitato etico fino al {day}.",
    ),
    "board_on": ("Conditions: {conditions}.", "Condizioni: {conditions}."),
    "board_report": ("Read the board’s report", "Leggi la relazione del comitato"),
    "forecast": ("Forecast", "Previsione"),
    "decision": ("Decision", "Decisione"),
    # how to read
    "reading": ("How to read this", "Come leggere"),
    "reading_error": (
        "How far off it usually is was measured on days that the model had not seen.",
        "Quanto sbaglia di solito è stato misurato in giorni che il modello non aveva visto.",
    ),
    "reading_beside": (
        "Better or worse than elsewhere compares how much it improves on assuming that last week"
        " repeats itself, since some places are harder to forecast than others. “Surely” means that"
        " chance alone would say so at most 5 times out of 100, in all neighbourhoods together.",
        "Meglio o peggio che altrove confronta quanto migliora rispetto a supporre che si ripeta la"
        " settimana prima, perché alcuni luoghi sono più difficili di altri. «Di sicuro» significa"
        " che il caso da solo lo direbbe al massimo 5 volte su 100, in tutti i quartieri insieme.",
    ),
    "reading_people": (
        "These are averages of neighbourhoods. They say nothing of any person or household.",
        "Sono medie di quartiere. Non dicono nulla di una persona o di una famiglia.",
    ),
    # cases
    "contest": ("Is it wrong? Tell us", "È sbagliato? Scrivici"),
    "contest_about": (
        "You need no name and no account. You get a number and a code; the answer is published,"
        " your words are not.",
        "Non servono né nome né registrazione. Ricevi un numero e un codice; la risposta viene"
        " pubblicata, le tue parole no.",
    ),
    "contest_here": ("Tell us about {place}", "Scrivici di {place}"),
    "follow_link": ("Follow a case that you opened", "Segui una segnalazione che hai aperto"),
    "cases": ("What people told us", "Che cosa ci hanno segnalato"),
    "cases_none": ("Nobody has written yet.", "Nessuno ha ancora scritto."),
    "cases_about": (
        "Each case is numbered and stands in the board’s next report. What people wrote is read by"
        " those who run the service alone.",
        "Ogni segnalazione è numerata e compare nella prossima relazione del comitato. Ciò che le"
        " persone hanno scritto lo legge solo chi gestisce il servizio.",
    ),
    "cases_latest": (
        "These are the latest {n} of {all}.",
        "Queste sono le ultime {n} di {all}.",
    ),
    "number": ("Number", "Numero"),
    "about": ("About", "Riguarda"),
    "subject": ("What is it about?", "Di che cosa si tratta?"),
    "state": ("State", "Stato"),
    "answer": ("Answer", "Risposta"),
    "open": ("open", "aperta"),
    "answered": ("answered", "con risposta"),
    "closed": ("closed", "chiusa"),
    "wrong_here": ("A forecast was wrong here", "Qui una previsione era sbagliata"),
    "missed_warning": ("A warning did not come", "Un’allerta non è arrivata"),
    "served_worse": (
        "My neighbourhood is served worse",
        "Il mio quartiere è servito peggio",
    ),
    "other": ("Something else", "Altro"),
    "write_title": ("Tell us what is wrong", "Dicci che cosa non va"),
    "which_forecast": ("Which forecast?", "Quale previsione?"),
    "which_place": ("Which neighbourhood?", "Quale quartiere?"),
    "whole": ("The whole city, or I am not sure", "Tutta la città, o non so"),
    "whole_short": ("whole city", "tutta la città"),
    "your_words": ("What happened, and when?", "Che cosa è successo, e quando?"),
    "warning": (
        "Please write no names, addresses or anything about anyone’s health. At most 2,000"
        " characters.",
        "Per favore non scrivere nomi, indirizzi o notizie sulla salute di qualcuno. Al massimo"
        " 2.000 caratteri.",
    ),
    "kept": (
        "Only those who run the service read it. It is deleted {days} days after we have answered;"
        " with your code you can delete it at any time.",
        "Lo legge solo chi gestisce il servizio. Viene cancellato {days} giorni dopo la nostra"
        " risposta; con il tuo codice puoi cancellarlo in qualsiasi momento.",
    ),
    "send": ("Send", "Invia"),
    "sent_title": ("We have it", "Ricevuto"),
    "sent_number": ("Your case has the number", "La tua segnalazione ha il numero"),
    "sent_code": ("and the secret code", "e il codice segreto"),
    "sent_keep": (
        "Write both down now: the code is shown this once and is kept nowhere. With it you, and"
        " nobody else, can read the answer here, add something or delete your words.",
        "Annotali subito: il codice si vede solo adesso e non è conservato da nessuna parte. Con"
        " questo tu, e nessun altro, puoi leggere qui la risposta, aggiungere qualcosa o"
        " cancellare le tue parole.",
    ),
    "follow_title": ("Your case", "La tua segnalazione"),
    "follow_about": (
        "Give the number and the code that you wrote down.",
        "Inserisci il numero e il codice che hai annotato.",
    ),
    "code": ("Secret code", "Codice segreto"),
    "show": ("Show my case", "Mostra la segnalazione"),
    "opened": ("opened on {day}", "aperta il {day}"),
    "you_wrote": ("What you wrote", "Che cosa hai scritto"),
    "deleted": ("Your words were deleted.", "Le tue parole sono state cancellate."),
    "no_answer": ("Not answered yet.", "Non c’è ancora una risposta."),
    "add_title": ("Add something", "Aggiungi qualcosa"),
    "add": ("Add", "Aggiungi"),
    "erase": ("Delete what I wrote", "Cancella ciò che ho scritto"),
    "not_found": (
        "No case has this number and this code. Look for a letter that was copied wrong.",
        "Nessuna segnalazione ha questo numero e questo codice. Controlla se una lettera è stata"
        " copiata male.",
    ),
    "error_subject": ("Choose what it is about.", "Scegli di che cosa si tratta."),
    "error_dataset": ("Choose a forecast.", "Scegli una previsione."),
    "error_place": (
        "This neighbourhood is not known here.",
        "Questo quartiere non è conosciuto qui.",
    ),
    "error_text": (
        "Write between 1 and 2,000 characters; these are {n}.",
        "Scrivi da 1 a 2.000 caratteri; questi sono {n}.",
    ),
    "error_large": ("This is too much at once.", "È troppo in una volta."),
    "error_many": (
        "Too many cases are being opened just now. Please come back in an hour; nothing of what you"
        " wrote was kept.",
        "In questo momento vengono aperte troppe segnalazioni. Torna tra un’ora; nulla di ciò che"
        " hai scritto è stato conservato.",
    ),
    "error_closed": (
        "This case is closed, or full; open a new one.",
        "Questa segnalazione è chiusa, o piena; aprine una nuova.",
    ),
    "error_elsewhere": (
        "This came from another site. Please write it here.",
        "Questo arriva da un altro sito. Scrivilo qui, per favore.",
    ),
    # foot
    "privacy": (
        "No script, no cookie, no counting of visitors. All neighbourhoods come in one page, so"
        " that nobody, not even this server, learns which one you read.",
        "Nessuno script, nessun cookie, nessun conteggio delle visite. Tutti i quartieri sono in"
        " una sola pagina: nessuno, nemmeno questo server, sa quale leggi.",
    ),
    "outlines": (
        "Outlines: Comune di Bologna, CC BY 4.0.",
        "Confini: Comune di Bologna, CC BY 4.0.",
    ),
    "forecasts": ("The forecasts themselves", "Le previsioni"),
}

UNITS = {
    "veh/h": ("vehicles an hour", "veicoli all’ora"),
    "km/h": ("km/h", "km/h"),
    "m": ("metres", "metri"),
    "cm": ("centimetres", "centimetri"),
    "m3/s": ("m³/s", "m³/s"),
}
SPANS = (
    (86400, ("day", "days"), ("giorno", "giorni")),
    (3600, ("hour", "hours"), ("ora", "ore")),
    (60, ("minute", "minutes"), ("minuto", "minuti")),
)
PATHS = {
    "page": ("/neighbourhoods", "/quartieri"),
    "write": ("/neighbourhoods/write", "/quartieri/scrivi"),
    "follow": ("/neighbourhoods/follow", "/quartieri/segui"),
}
"""Where each page lies, in both languages."""
