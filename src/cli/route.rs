//! `pinion route`: where a request would go, and what every rule says to it.
//!
//! **Never here:** keys, cards, a connection: the table of the configuration is asked, nothing else. The number is
//! shown masked, whatever goes wrong with it.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cli::{Failure, demo};
use crate::domain::pan::Pan;
use crate::domain::request::{LinkId, Tag};
use crate::ops::config::{ActiveWish, Config, HsmKind};
use crate::route::{Condition, Considered, Explanation, Question, Route, Rule, Table, Verdict};

/// Ask the routing table.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: pinion route explain --config pinion.toml --pan - --wish false < pan.txt"
)]
pub(super) struct RouteArgs {
    #[command(subcommand)]
    command: RouteCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RouteCommand {
    /// Print every rule, whether it matches or why not, what the policy does, and the decision. Without --config the
    /// demo's rules.
    #[command(
        after_help = "Example: pinion route explain --config pinion.toml --pan - --wish false < pan.txt"
    )]
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// Configuration with the rules.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// Directory of a demo (`pinion demo --data DIR`): the demo's rules.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The card's number; `-` reads it from stdin, so that it stays out of the shell's history.
    #[arg(long)]
    pan: String,
    /// The caller's wish: true for active-active (Postilion), false for the CMS. Left out, that of the link, if any.
    #[arg(long, value_name = "true|false")]
    wish: Option<bool>,
    /// Receiving institution (DE 100, rid): up to 11 digits.
    #[arg(long, value_name = "RID")]
    institution: Option<String>,
    /// Name of the link it comes by.
    #[arg(long, value_name = "NAME")]
    link: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl RouteArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let RouteCommand::Explain(explain) = self.command;
        explain.run()
    }
}

impl Explain {
    fn run(self) -> Result<(), Failure> {
        let config = match &self.config {
            Some(file) => Config::load(file)?,
            // The demo's rules are the same in every directory.
            None => demo::world::configuration(
                0,
                self.data.as_deref().unwrap_or_else(|| Path::new("")),
                HsmKind::Soft,
            )?,
        };
        let asked = self.asked(&config)?;
        let table = config.route_table();
        let explanation = table.explain(asked.question());
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", asked.json(&explanation, &table))?;
        } else {
            for line in asked.lines(&explanation, &table) {
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }

    /// The request the command line describes.
    fn asked(&self, config: &Config) -> Result<Asked, Failure> {
        let usage = |text: String| Failure::Usage(text);
        let institution = match &self.institution {
            Some(digits) if digits.len() > 11 || !digits.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(usage(format!("--institution {digits:?}: up to 11 digits")));
            }
            Some(digits) => Some(Tag::new(digits.as_bytes())),
            None => None,
        };
        let door = self.link.as_deref().and_then(LinkId::of_door);
        let link = match &self.link {
            Some(name) if door.is_none() => {
                let found = config.links.iter().zip(0..).find(|(link, _)| link.name == *name);
                let Some((link, number)) = found else {
                    let names: Vec<_> = config.links.iter().map(|l| l.name.as_str()).collect();
                    let names = names.join(", ");
                    return Err(usage(format!(
                        "--link {name:?}: there is none; there are: {names}"
                    )));
                };
                Some((link, LinkId(number)))
            }
            Some(_) | None => None,
        };
        let of_link = link.and_then(|(link, _)| match link.active {
            ActiveWish::Fixed(wish) => Some(wish),
            ActiveWish::Message | ActiveWish::Product => None,
        });
        Ok(Asked {
            pan: self.pan()?,
            wish: self.wish.or(of_link),
            institution,
            link: link.map(|(_, id)| id).or(door),
        })
    }

    /// The number. An error never repeats it.
    fn pan(&self) -> Result<Pan, Failure> {
        let mut text = zeroize::Zeroizing::new(self.pan.clone());
        if *text == "-" {
            text.clear();
            std::io::stdin().lock().read_line(&mut text).context("--pan -")?;
        }
        Pan::parse(text.trim().as_bytes())
            .map_err(|error| Failure::Usage(format!("--pan: {error}")))
    }
}

/// The request to explain.
struct Asked {
    pan: Pan,
    wish: Option<bool>,
    institution: Option<Tag>,
    link: Option<LinkId>,
}

impl Asked {
    fn question(&self) -> Question<'_> {
        let Self { pan, wish, institution, link } = self;
        Question { pan, wish: *wish, institution: *institution, link: *link }
    }

    fn link<'t>(&self, table: &'t Table) -> Option<&'t str> {
        self.link.and_then(|link| table.link_name(link))
    }

    fn lines(&self, explanation: &Explanation<'_>, table: &Table) -> Vec<String> {
        let product = explanation.product.map_or_else(
            || "none: no product has its BIN".to_owned(),
            |p| format!("{} (BIN {}, route {})", p.name, p.bin, p.route.label()),
        );
        let said = |text: Option<&str>| text.unwrap_or("not given").to_owned();
        let mut lines = vec![
            format!("card         {}", self.pan.masked()),
            format!("product      {product}"),
            format!("institution  {}", said(self.institution.as_ref().map(Tag::as_str))),
            format!("link         {}", said(self.link(table))),
            format!("wish         {}", wish(explanation.asked)),
            format!("policy       {}", policy(explanation)),
        ];
        let wide = explanation.rules.iter().map(|c| c.rule.name.len()).max().unwrap_or(0);
        for (index, Considered { rule, verdict }) in explanation.rules.iter().enumerate() {
            let mut line = format!("rule {:<7} {:<wide$}  {verdict}", index + 1, rule.name);
            if let Verdict::Fails(condition) = verdict {
                line.push_str(": wants ");
                line.push_str(&wants(rule, *condition, table).join(" or "));
            }
            lines.push(line);
        }
        let default = explanation.fallback.label();
        lines.push(format!("default      {default}, where no rule decides"));
        let decision = explanation.decision;
        lines.push(format!("route        {}, by {}", route(decision.route), decision.rule));
        lines
    }

    fn json(&self, explanation: &Explanation<'_>, table: &Table) -> Value {
        let rules = explanation.rules.iter().map(|Considered { rule, verdict }| {
            let (failed, wants) = match verdict {
                Verdict::Fails(condition) => {
                    (Some(condition.label()), Some(wants(rule, *condition, table)))
                }
                Verdict::Decides(_) | Verdict::NotReached | Verdict::Passes => (None, None),
            };
            let word = match verdict {
                Verdict::Decides(_) => "decides",
                Verdict::Fails(_) => "fails",
                Verdict::NotReached => "not_reached",
                Verdict::Passes => "passes",
            };
            let to = rule.to.label();
            json!({ "name": rule.name, "to": to, "verdict": word, "failed": failed, "wants": wants })
        });
        let decision = explanation.decision;
        json!({
            "pan": self.pan.masked().to_string(),
            "product": explanation.product.map(|product| &*product.name),
            "institution": self.institution.as_ref().map(Tag::as_str),
            "link": self.link(table),
            "wish": explanation.asked,
            "policy": explanation.policy.label(),
            "wish_after_policy": explanation.wish,
            "wish_overridden": decision.wish_overridden,
            "rules": rules.collect::<Vec<_>>(),
            "default": explanation.fallback.label(),
            "route": decision.route.map(Route::label),
            "rule": decision.rule,
        })
    }
}

fn wish(wish: Option<bool>) -> &'static str {
    match wish {
        None => "none",
        Some(false) => "false: the CMS",
        Some(true) => "true: active-active, Postilion",
    }
}

fn policy(explanation: &Explanation<'_>) -> String {
    let policy = explanation.policy.label();
    if explanation.decision.wish_overridden {
        format!("{policy}: overrides the wish, now {}", wish(explanation.wish))
    } else {
        format!("{policy}: leaves the wish as it is")
    }
}

fn route(route: Option<Route>) -> &'static str {
    route.map_or("none: answered as no route (15)", Route::label)
}

/// What a condition asks for, in the words of the configuration.
fn wants(rule: &Rule, condition: Condition, table: &Table) -> Vec<String> {
    let texts = |texts: &[Box<str>]| texts.iter().map(ToString::to_string).collect();
    match condition {
        Condition::Bins => texts(&rule.bins),
        Condition::Institutions => texts(&rule.institutions),
        Condition::Links => {
            let names = rule.links.iter().filter_map(|link| table.link_name(*link));
            names.map(Into::into).collect()
        }
        Condition::Products => {
            let products = rule.products.iter().filter_map(|place| table.product_at(*place));
            products.map(|product| product.name.to_string()).collect()
        }
        Condition::Wish => rule.wish.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        route: RouteArgs,
    }

    #[test]
    fn the_command_lines_of_the_help_parse() {
        Line::command().debug_assert();
        for line in [
            "route explain --config pinion.toml --pan - --wish false",
            "route explain --pan 4761739001010010",
            "route explain --data ./demo --pan - --institution 627629 --link atm-1 --json",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "route",
            "route explain",
            "route explain --pan - --wish maybe",
            "route explain --pan - --config c --data d",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
