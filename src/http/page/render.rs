//! The template with a state in it, every text escaped.

use super::assets::ASSETS;
use super::spark::Spark;
use super::state::{Fact, Figure, PageState, Watch};
use super::words::{clock, escape, number, span, unit, with_unit, words};
use crate::actors::alert::Told;
use crate::core::alert::{Alert, RuleName, Severity};

pub(super) const TEMPLATE: &str = include_str!("../../../page/index.html");

/// The page with `state` in it, every text escaped.
pub fn render(state: &PageState) -> String {
    let mut page = String::with_capacity(TEMPLATE.len() + 4096);
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (key, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(&slot(state, key).unwrap_or_default());
        rest = after;
    }
    page.push_str(rest);
    page
}

/// What stands in one place of the template, as HTML.
fn slot(state: &PageState, key: &str) -> Option<String> {
    let hidden = |hide: bool| if hide { " hidden" } else { "" }.to_owned();
    Some(match key {
        "assets" => format!("/assets/{}", ASSETS.hash),
        "host" => escape(&state.host),
        "tone" => tone(state).to_owned(),
        "word" => if state.readiness.is_ok() { "Serving" } else { "Not ready" }.to_owned(),
        "reason" => state.readiness.as_ref().err().map(|reason| escape(reason)).unwrap_or_default(),
        "reason_hidden" => hidden(state.readiness.is_ok()),
        "box" => escape(&health(state)),
        "contact" | "at" => format!("{} UTC", clock(state.at)),
        "facts" => state.facts.iter().map(fact).collect(),
        "firing" => state.firing.iter().map(firing).collect(),
        "changes" => state.resolved.iter().map(resolved).collect(),
        "changes_hidden" => hidden(state.resolved.is_empty()),
        "quiet" if !state.firing.is_empty() => String::new(),
        "quiet" => match state.resolved.first() {
            Some(last) => format!("Nothing firing, last alert {} UTC.", clock(last.at)),
            None => "Nothing firing, and nothing has.".to_owned(),
        },
        "build" => escape(&state.build),
        "rate_limit" => state.errors_percent.map(|errors| format!("errors {} %", number(errors))).unwrap_or_default(),
        "queue_places" => state.queue_places.to_string(),
        _ => {
            let (name, part) = key.split_once('_')?;
            let (figure, unit, top) = match name {
                "rate" => (&state.rate, "/s", None),
                "p95" => (&state.p95, "ms", None),
                "queue" => (&state.queue, "", None),
                "cpu" => (&state.cpu, "%", Some(100.0)),
                "memory" => (&state.memory, "%", Some(100.0)),
                _ => return None,
            };
            figure.slot(part, unit, top)?
        }
    })
}

pub(super) fn tone(state: &PageState) -> &'static str {
    let critical = state.firing.iter().any(|alert| alert.severity == Severity::Critical);
    let trouble = state.firing.iter().any(|alert| alert.severity != Severity::Info);
    let ready = state.readiness.is_ok();
    if critical || (!ready && !state.starting) {
        "bad"
    } else if !ready || trouble || matches!(state.watch, Watch::Stale { .. }) {
        "warn"
    } else {
        "well"
    }
}

fn health(state: &PageState) -> String {
    match state.watch {
        Watch::Off => return "The box has not been measured yet.".to_owned(),
        Watch::Stale { age } => return format!("The box was last measured {} ago.", span(age)),
        Watch::Fresh => {}
    }
    match state.firing.len() {
        0 => "The box is well, nothing is firing.".to_owned(),
        1 => "1 alert firing.".to_owned(),
        count => format!("{count} alerts firing."),
    }
}

fn fact(fact: &Fact) -> String {
    let more = if fact.more.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(&fact.more)) };
    format!("<div><dt>{}</dt><dd>{}{more}</dd></div>", escape(fact.name), escape(&fact.value))
}

fn firing(alert: &Alert) -> String {
    let mark = match alert.severity {
        Severity::Critical => "bad",
        Severity::Warning => "warn",
        Severity::Info => "info",
    };
    let severity = alert.severity.name();
    let unit = unit(alert.key.rule.unit());
    let measure = match alert.value {
        // Ready or not has no measure.
        _ if matches!(alert.key.rule, RuleName::NotReady | RuleName::QuantizedUnqualified) => String::new(),
        Some(value) => format!("{}, limit {}, ", with_unit(value, unit), with_unit(alert.threshold, unit)),
        None => "no value, ".to_owned(),
    };
    let plural = if alert.consecutive == 1 { "" } else { "s" };
    let much = format!("{measure}{} sample{plural}, {severity}", alert.consecutive);
    row(severity, "firing", mark, alert, &format!("since {} UTC", clock(alert.since)), &much)
}

fn resolved(told: &Told) -> String {
    let much = match told.at.duration_since(told.alert.since) {
        Ok(length) => format!("resolved after {}", span(length)),
        Err(_) => "resolved".to_owned(),
    };
    row("info", "resolved", "well", &told.alert, &format!("{} UTC", clock(told.at)), &much)
}

/// A row of a list of alerts.
fn row(severity: &str, state: &str, mark: &str, alert: &Alert, when: &str, much: &str) -> String {
    format!(
        "<li class=\"alert\" data-severity=\"{severity}\" data-state=\"{state}\">\
         <svg class=\"mark\" aria-hidden=\"true\"><use href=\"#mark-{mark}\"></use></svg>\
         <p class=\"what\"><b>{}</b> <span class=\"instance\">{}</span></p>\
         <p class=\"when\">{}</p><p class=\"much\">{}</p></li>",
        escape(&words(alert.key.rule.name())),
        escape(&alert.key.instance),
        escape(when),
        escape(much)
    )
}

impl Figure {
    fn slot(&self, part: &str, unit: &str, top: Option<f64>) -> Option<String> {
        let spark = || Spark::of(self, top);
        let over = self.firing || self.over().is_some();
        Some(match part {
            "value" => escape(&self.value.map_or_else(|| "–".to_owned(), number)),
            "scope" => if self.contained { "container" } else { "" }.to_owned(),
            "over" => if over { "yes" } else { "no" }.to_owned(),
            "limit" => self.limit.map(|limit| format!("limit {}", escape(&with_unit(limit, unit)))).unwrap_or_default(),
            "note" => {
                if over {
                    self.note(unit)
                } else {
                    String::new()
                }
            }
            "line" => spark().line,
            "area" => spark().area,
            "bound" => spark().bound,
            _ => return None,
        })
    }

    fn over(&self) -> Option<f64> {
        let (value, limit) = self.value.zip(self.limit)?;
        (value > limit).then_some(value - limit)
    }

    fn note(&self, unit: &str) -> String {
        let Some(over) = self.over() else { return "not clear yet".to_owned() };
        let samples = self.samples_over.max(1);
        let plural = if samples == 1 { "" } else { "s" };
        format!("{} over, {samples} sample{plural}", escape(&with_unit(over, unit)))
    }
}
