"""What CAP messages say to people, in Italian and English."""

from __future__ import annotations

from typing import Any

TEXTS: dict[str, dict[str, Any]] = {
    "it-IT": {
        "sender": "Felsina, previsioni del gemello digitale di Bologna",
        "event": "Superamento di soglia: {target}, soglia {threshold}",
        "headline": "{place}: {chance} di probabilità che {target} raggiunga la soglia "
        "{threshold} ({level:.10g} {unit}) entro {within_text}",
        "ended": "{place}: cessata la previsione di superamento della soglia {threshold} "
        "({level:.10g} {unit})",
        "withdrawn": "{place}: ritirato l'avviso per la soglia {threshold} ({level:.10g} {unit}), "
        "perché il modello non è più approvato; non è un cessato allarme",
        "void": "Il modello che ha dato questo avviso non ha più l'approvazione del comitato "
        "etico: quanto era stato detto non vale più. Felsina non dice se il pericolo ci sia "
        "ancora: seguire le altre fonti ufficiali.",
        "expected": "Il superamento di {level:.10g} {unit} entro {within_text} ha una probabilità "
        "prevista del {chance}; può iniziare dalle {onset} e l'avviso vale fino alle {valid_to} "
        "(ora locale).",
        "reached": "L'ultima osservazione ha già raggiunto {level:.10g} {unit}; la probabilità che "
        "vi resti o vi torni entro {within_text} è del {chance}.",
        "as_of": "Previsione automatica dai dati fino alle {last_seen}.",
        "stale": "Da allora non sono arrivati dati: l'avviso resta aperto ma non è aggiornato.",
        "Test": "Prova su dati sintetici: da ignorare",
        "Exercise": "Esercitazione: modello non approvato dal comitato etico",
        "prefix": {"Test": "PROVA - ", "Exercise": "ESERCITAZIONE - "},
        "response": {1: "Monitor", 2: "Prepare", 3: "Prepare"},
        "targets": {
            "stage": "il livello idrometrico",
            "discharge": "la portata",
            "flow": "il flusso",
            "speed": "la velocità",
            "load": "il carico",
            "cooling": "il fabbisogno di raffrescamento",
        },
    },
    "en-GB": {
        "sender": "Felsina, forecasts of the Bologna Digital Twin",
        "event": "Threshold crossing: {target}, threshold {threshold}",
        "headline": "{place}: {chance} chance that {target} reaches threshold {threshold} "
        "({level:.10g} {unit}) within {within_text}",
        "ended": "{place}: threshold {threshold} ({level:.10g} {unit}) is no longer forecast to be "
        "reached",
        "withdrawn": "{place}: alert for threshold {threshold} ({level:.10g} {unit}) withdrawn, "
        "since its model is no longer approved; this is not an all-clear",
        "void": "The model that gave this alert is no longer approved by the ethics board: what "
        "was said does not stand any more. Felsina does not say whether the danger is still "
        "there: follow the other official sources.",
        "expected": "Forecast chance of reaching {level:.10g} {unit} within {within_text}: "
        "{chance}; it may begin from {onset}, and this alert is for the time until "
        "{valid_to} (local time).",
        "reached": "The latest observation has reached {level:.10g} {unit}; the chance that it "
        "stays there, or comes back, within {within_text} is {chance}.",
        "as_of": "An automatic forecast from data up to {last_seen}.",
        "stale": "No data have come since: the alert stays open, but it is not up to date.",
        "Test": "Test on synthetic data: disregard",
        "Exercise": "Exercise: the model is not approved by the ethics board",
        "prefix": {"Test": "TEST - ", "Exercise": "EXERCISE - "},
        "response": {1: "Monitor", 2: "Prepare", 3: "Prepare"},
        "targets": {
            "stage": "the river stage",
            "discharge": "the discharge",
            "flow": "the flow",
            "speed": "the speed",
            "load": "the load",
            "cooling": "the cooling demand",
        },
    },
}
"""By language, the first one first in a message."""
