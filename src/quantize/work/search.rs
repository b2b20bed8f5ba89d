//! Which nodes stay in float, so that the model's answers agree as far as asked: the fewest that are found.
//!
//! First it is measured what harm parts of the graph do when they alone are quantised: the worst part is halved again and
//! again, until the worst are single nodes. Nodes in the order of that harm are then left in float, as few as reach the target, and of
//! those each is tried in 8 bits again. All numbers are measured; nothing is guessed from the kind of a node.

use std::collections::BTreeSet;

/// What a trial of one form of the model gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The agreement with the float model, 0 to 1.
    pub agreement: f64,
    /// The distance from it, finer.
    pub distance: f64,
}

/// Makes and measures forms of the model.
pub trait Trial {
    /// With these nodes in float.
    ///
    /// # Errors
    /// One line: the form could not be made or run.
    fn with_float(&mut self, keep: &BTreeSet<String>) -> Result<Measured, String>;

    /// With these nodes alone in 8 bits; fewer samples will do.
    ///
    /// # Errors
    /// As above.
    fn alone(&mut self, nodes: &BTreeSet<String>) -> Result<Measured, String>;

    /// The share of the time that is spent, from 0 to 1.
    fn spent(&self) -> f64;
}

/// What the search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The nodes that stay in float.
    pub keep: BTreeSet<String>,
    /// What that gave.
    pub measured: Measured,
    /// The harm that was measured of each node that stays in float, alone in 8 bits or with its neighbours.
    pub harm: Vec<(String, f64)>,
    /// How many forms were tried.
    pub trials: usize,
}

/// The share of the time for measuring harm, and that for reaching the target; the rest is for taking nodes back.
const FOR_HARM: f64 = 0.4;
const FOR_REACHING: f64 = 0.85;
/// A part that does less harm than this share of the whole's is not looked into further.
const HARMLESS: f64 = 0.02;

struct Part {
    from: usize,
    to: usize,
    harm: f64,
}

/// Searches among `nodes`, the quantised ones in the graph's order, of which all in 8 bits gave `base`.
///
/// # Errors
/// One line, when no trial succeeded.
pub fn search(nodes: &[String], target: f64, base: Measured, trial: &mut dyn Trial) -> Result<Found, String> {
    let mut trials = 0;
    // Shares are taken of it: answers that are no numbers any more are as far away as a number says.
    let base = Measured { distance: base.distance.min(f64::MAX), ..base };
    let parts = parts(nodes, base, trial, &mut trials)?;
    let mut ranked: Vec<(usize, f64)> = parts
        .iter()
        .flat_map(|part| (part.from..part.to).map(|node| (node, part.harm / (part.to - part.from) as f64)))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let first = |count: usize| -> BTreeSet<String> {
        ranked.iter().take(count).filter_map(|(node, _)| nodes.get(*node).cloned()).collect()
    };

    // The fewest of the ranking that reach the target: doubling, then halving the gap.
    let mut best = (BTreeSet::new(), base);
    let (mut fails, mut reaches, mut count) = (0usize, None, 1);
    while reaches.is_none() && count < nodes.len() && trial.spent() < FOR_REACHING {
        let keep = first(count);
        // A form that cannot be made, with hardly a node left in 8 bits, ends the way up.
        let Ok(measured) = trial.with_float(&keep) else { break };
        trials += 1;
        if measured.agreement >= target {
            reaches = Some(count);
        } else {
            fails = count;
            count *= 2;
        }
        if measured.agreement >= target || measured.agreement > best.1.agreement {
            best = (keep, measured);
        }
    }
    // With every node in float it would be the float model, which reaches any target.
    let mut high = reaches.unwrap_or(nodes.len());
    while high - fails > 1 && trial.spent() < FOR_REACHING {
        let middle = fails + (high - fails) / 2;
        let keep = first(middle);
        trials += 1;
        match trial.with_float(&keep) {
            Ok(measured) if measured.agreement >= target => {
                high = middle;
                reaches = Some(middle);
                best = (keep, measured);
            }
            Ok(measured) => {
                fails = middle;
                if reaches.is_none() && measured.agreement > best.1.agreement {
                    best = (keep, measured);
                }
            }
            // Hardly a node would be left in 8 bits.
            Err(_) => high = middle,
        }
    }
    if reaches.is_some() {
        best = take_back(&ranked, nodes, target, best, trial, &mut trials);
    }
    let (keep, measured) = best;
    let harm = ranked.iter().filter_map(|(node, harm)| Some((nodes.get(*node)?.clone(), *harm)));
    let harm = harm.filter(|(node, _)| keep.contains(node)).collect();
    Ok(Found { keep, measured, harm, trials })
}

/// Halves the worst part while there is time, until what is left to halve does no harm worth the name.
fn parts(nodes: &[String], base: Measured, trial: &mut dyn Trial, trials: &mut usize) -> Result<Vec<Part>, String> {
    let mut parts = vec![Part { from: 0, to: nodes.len(), harm: base.distance }];
    while trial.spent() < FOR_HARM {
        let worth = |part: &&mut Part| part.to - part.from > 1 && part.harm > HARMLESS * base.distance;
        let worst = parts.iter_mut().filter(|part| worth(part)).max_by(|a, b| a.harm.total_cmp(&b.harm));
        let Some(worst) = worst else { break };
        let (from, to) = (worst.from, worst.to);
        let middle = from + (to - from) / 2;
        let mut measure = |from: usize, to: usize| -> Part {
            let alone = nodes.get(from..to).unwrap_or_default().iter().cloned().collect();
            *trials += 1;
            // Nodes that only pass numbers on cannot stand alone in 8 bits: by themselves they do no harm.
            let harm = trial.alone(&alone).map_or(0.0, |measured| measured.distance);
            Part { from, to, harm: if harm.is_finite() { harm } else { f64::MAX } }
        };
        let (left, right) = (measure(from, middle), measure(middle, to));
        if let Some(place) = parts.iter_mut().find(|part| part.from == from && part.to == to) {
            *place = left;
        }
        parts.push(right);
    }
    Ok(parts)
}

/// Tries to do without nodes again, the least harmful first: halves of them at once, while they are many.
fn take_back(
    ranked: &[(usize, f64)],
    nodes: &[String],
    target: f64,
    mut best: (BTreeSet<String>, Measured),
    trial: &mut dyn Trial,
    trials: &mut usize,
) -> (BTreeSet<String>, Measured) {
    let mut untried: Vec<&String> =
        ranked.iter().rev().filter_map(|(node, _)| nodes.get(*node)).filter(|node| best.0.contains(*node)).collect();
    let mut step = untried.len() / 2;
    while !untried.is_empty() && trial.spent() < 1.0 && best.0.len() > 1 {
        step = step.clamp(1, untried.len());
        let without: BTreeSet<&String> = untried.iter().take(step).copied().collect();
        let keep: BTreeSet<String> = best.0.iter().filter(|node| !without.contains(node)).cloned().collect();
        *trials += 1;
        match trial.with_float(&keep) {
            Ok(measured) if measured.agreement >= target => {
                best = (keep, measured);
                untried.drain(..step);
            }
            // Too far away, or a form that cannot be made: what was found stands.
            _ if step > 1 => step /= 2,
            _ => drop(untried.drain(..1)),
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model in which some nodes each cost agreement, and some only together with another.
    struct Pretend {
        bad: Vec<(&'static str, f64)>,
        chain: Vec<&'static str>,
        all: Vec<String>,
        trials: usize,
        limit: usize,
    }

    impl Pretend {
        fn new(bad: &[(&'static str, f64)], chain: &[&'static str]) -> Pretend {
            let all = (0..40).map(|node| format!("n{node}")).collect();
            Pretend { bad: bad.to_vec(), chain: chain.to_vec(), all, trials: 0, limit: 200 }
        }

        fn measure(&self, is_float: impl Fn(&str) -> bool) -> Measured {
            let harm: f64 = self.bad.iter().filter(|(node, _)| !is_float(node)).map(|(_, harm)| harm).sum();
            // Any one of a chain in 8 bits spoils what passes through it.
            let chain = if self.chain.iter().any(|node| !is_float(node)) { 0.5 } else { 0.0 };
            Measured { agreement: 1.0 - harm - chain, distance: harm + chain + 0.001 }
        }

        fn base(&self) -> Measured {
            self.measure(|_| false)
        }
    }

    impl Trial for Pretend {
        fn with_float(&mut self, keep: &BTreeSet<String>) -> Result<Measured, String> {
            self.trials += 1;
            Ok(self.measure(|node| keep.contains(node)))
        }

        fn alone(&mut self, nodes: &BTreeSet<String>) -> Result<Measured, String> {
            self.trials += 1;
            Ok(self.measure(|node| !nodes.contains(node)))
        }

        fn spent(&self) -> f64 {
            self.trials as f64 / self.limit as f64
        }
    }

    fn found(mut pretend: Pretend, target: f64) -> (Found, usize) {
        let (base, all) = (pretend.base(), pretend.all.clone());
        let found = search(&all, target, base, &mut pretend).unwrap();
        (found, pretend.trials)
    }

    #[test]
    fn the_two_nodes_that_do_the_harm_stay_in_float_and_no_other() {
        let (found, trials) = found(Pretend::new(&[("n3", 0.2), ("n31", 0.1)], &[]), 0.98);
        assert_eq!(found.keep.iter().collect::<Vec<_>>(), ["n3", "n31"]);
        assert_eq!((found.measured.agreement, found.trials), (1.0, trials));
        assert!(found.harm[0].0 == "n3" && found.harm[0].1 > found.harm[1].1, "{:?}", found.harm);
        assert!(trials < 40, "{trials} trials where 40 would measure every node");
    }

    #[test]
    fn a_node_whose_harm_is_within_the_target_is_quantised() {
        let (found, _) = found(Pretend::new(&[("n3", 0.2), ("n31", 0.01)], &[]), 0.98);
        assert_eq!(found.keep.iter().collect::<Vec<_>>(), ["n3"]);
    }

    #[test]
    fn a_chain_of_which_every_node_spoils_all_stays_in_float_whole() {
        let (found, _) = found(Pretend::new(&[], &["n37", "n38", "n39"]), 0.98);
        assert_eq!(found.keep.iter().collect::<Vec<_>>(), ["n37", "n38", "n39"]);
        assert!(found.measured.agreement >= 0.98);
    }

    #[test]
    fn a_harm_that_is_spread_over_most_nodes_is_searched_beyond_the_last_doubling() {
        let spread: Vec<(&'static str, f64)> = (0..38).map(|node| (&*format!("n{node}").leak(), 0.005)).collect();
        let mut pretend = Pretend::new(&spread, &[]);
        pretend.limit = 2000;
        let (found, _) = found(pretend, 0.98);
        assert!(found.measured.agreement >= 0.98 && found.keep.len() == 34, "{}", found.keep.len());
    }

    #[test]
    fn answers_that_are_no_numbers_are_traced_to_their_node_too() {
        struct Broken(Pretend);
        impl Trial for Broken {
            fn with_float(&mut self, keep: &BTreeSet<String>) -> Result<Measured, String> {
                self.0.with_float(keep).map(broken)
            }
            fn alone(&mut self, nodes: &BTreeSet<String>) -> Result<Measured, String> {
                self.0.alone(nodes).map(broken)
            }
            fn spent(&self) -> f64 {
                self.0.spent()
            }
        }
        fn broken(measured: Measured) -> Measured {
            Measured { distance: if measured.agreement < 0.5 { f64::INFINITY } else { measured.distance }, ..measured }
        }
        let pretend = Pretend::new(&[("n37", 0.9)], &[]);
        let (base, all) = (broken(pretend.base()), pretend.all.clone());
        let found = search(&all, 0.98, base, &mut Broken(pretend)).unwrap();
        assert_eq!(found.keep.iter().collect::<Vec<_>>(), ["n37"]);
        assert!(found.harm[0].1.is_finite() && found.trials < 40, "{found:?}");
    }

    #[test]
    fn what_was_found_stands_where_doing_without_a_node_cannot_be_tried() {
        struct Once(Pretend);
        impl Trial for Once {
            fn with_float(&mut self, keep: &BTreeSet<String>) -> Result<Measured, String> {
                if keep.len() == 1 && !keep.contains("n3") {
                    Err("no form".to_owned())
                } else {
                    self.0.with_float(keep)
                }
            }
            fn alone(&mut self, nodes: &BTreeSet<String>) -> Result<Measured, String> {
                self.0.alone(nodes)
            }
            fn spent(&self) -> f64 {
                self.0.spent()
            }
        }
        let pretend = Pretend::new(&[("n3", 0.2), ("n31", 0.1)], &[]);
        let (base, all) = (pretend.base(), pretend.all.clone());
        let found = search(&all, 0.98, base, &mut Once(pretend)).unwrap();
        assert_eq!(found.keep.iter().collect::<Vec<_>>(), ["n3", "n31"]);
    }

    #[test]
    fn with_too_little_time_the_best_so_far_is_given() {
        let mut pretend = Pretend::new(&[("n3", 0.2), ("n31", 0.1)], &[]);
        pretend.limit = 1;
        let (found, trials) = found(pretend, 0.98);
        assert!(found.measured.agreement < 0.98 && trials <= 4, "{trials}");
    }
}
