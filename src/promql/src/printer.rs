//! Writes expressions as text, in Prometheus's own form: what is printed parses to the same tree.

mod pretty;

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use trireme_model::{METRIC_NAME, MatchOp, Matcher, is_plain_label_name, quote};

use crate::ast::{
    Aggregate, At, Binary, BinaryOp, Call, DurationArg, DurationExpr, Expr, MatchCardinality,
    MatrixSelector, NumberLiteral, Subquery, UnaryOp, VectorMatching, VectorSelector,
};
use crate::durations::format_duration;
use crate::lexer::is_unquoted_name;

pub use pretty::prettify;

/// How names are printed that only quotes, or the switch for names of any script, make possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// In quotes, which every parser reads.
    #[default]
    Quoted,
    /// Without, where the switch allows.
    Unquoted,
}

/// An expression with a way to print it.
pub struct Printed<'a> {
    expr: &'a Expr,
    names: Names,
}

impl Expr {
    /// The expression as text, with names as told.
    pub fn printed(&self, names: Names) -> Printed<'_> {
        Printed { expr: self, names }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.printed(Names::Quoted).fmt(f)
    }
}

impl Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names;

        match self.expr {
            Expr::Number(n) => f.write_str(&number(n)),
            Expr::String(s) => f.write_str(&s.quoted()),
            Expr::Vector(v) => f.write_str(&names.vector(v)),
            Expr::Matrix(m) => f.write_str(&names.matrix(m)),
            Expr::Subquery(s) => write!(f, "{}{}", self.inner(&s.expr), subquery_suffix(s)),
            Expr::Paren(p) => write!(f, "({})", self.inner(&p.expr)),
            Expr::Unary(u) => write!(f, "{}{}", sign(u.op), self.inner(&u.expr)),
            Expr::Binary(b) if is_power_of_infinity(b) => {
                write!(f, "Inf {} {}", names.operator(b), self.inner(&b.rhs))
            }
            Expr::Binary(b) => write!(
                f,
                "{} {} {}",
                self.inner(&b.lhs),
                names.operator(b),
                self.inner(&b.rhs)
            ),
            Expr::Aggregate(a) => self.aggregate(a, f),
            Expr::Call(c) => self.call(c, f),
        }
    }
}

impl<'a> Printed<'a> {
    fn inner(&self, expr: &'a Expr) -> Self {
        let names = self.names;
        Printed { expr, names }
    }

    fn aggregate(&self, a: &'a Aggregate, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.names.aggregate_head(a))?;
        if let Some(param) = &a.param {
            write!(f, "{}, ", self.inner(param))?;
        }
        write!(f, "{})", self.inner(&a.expr))
    }

    fn call(&self, c: &'a Call, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", c.func.name)?;
        for (i, arg) in c.args.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}", self.inner(arg))?;
        }
        f.write_char(')')
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal {
                seconds,
                duration,
                pos,
            } => f.write_str(&number(&NumberLiteral {
                value: *seconds,
                duration: *duration,
                pos: *pos,
            })),
            Self::Step(_) => f.write_str("step()"),
            Self::Range(_) => f.write_str("range()"),
            Self::Neg { expr, .. } => write!(f, "-{expr}"),
            Self::Binary { op, lhs, rhs, .. } => write!(f, "{lhs} {} {rhs}", op.as_str()),
            Self::Pick { max, lhs, rhs, .. } => {
                write!(
                    f,
                    "{}({lhs}, {rhs})",
                    if *max { "max_of" } else { "min_of" }
                )
            }
            Self::Paren { expr, .. } => write!(f, "({expr})"),
        }
    }
}

impl Display for DurationArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expr {
            Some(expr) => write!(f, "{expr}"),
            None => f.write_str(&format_duration(self.ms)),
        }
    }
}

/// A float with all its digits and no exponent, as Go's `'f'` with the least digits writes it.
pub(crate) fn format_number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

/// A float with `digits` decimals.
pub(crate) fn format_fixed(value: f64, digits: usize) -> String {
    if value.is_finite() {
        format!("{value:.digits$}")
    } else {
        format_number(value)
    }
}

fn number(n: &NumberLiteral) -> String {
    if n.duration {
        format_duration((n.value * 1000.0).round() as i64)
    } else {
        format_number(n.value)
    }
}

fn sign(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Plus => "+",
        UnaryOp::Minus => "-",
    }
}

/// ` @ 10.000`
fn at_suffix(at: Option<At>) -> String {
    match at {
        None => String::new(),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        Some(At::Timestamp(ms)) => format!(" @ {}", format_fixed(ms as f64 / 1000.0, 3)),
    }
}

/// ` offset 5m`
fn offset_suffix(offset: &DurationArg) -> String {
    if offset.is_unset() {
        String::new()
    } else {
        format!(" offset {offset}")
    }
}

fn extended_suffix(v: &VectorSelector) -> &'static str {
    match (v.anchored, v.smoothed) {
        (true, _) => " anchored",
        (_, true) => " smoothed",
        _ => "",
    }
}

impl Names {
    fn vector(self, v: &VectorSelector) -> String {
        let selector = self.selector(v);
        format!(
            "{selector}{}{}{}",
            at_suffix(v.at),
            extended_suffix(v),
            offset_suffix(&v.offset)
        )
    }

    fn matrix(self, m: &MatrixSelector) -> String {
        let v = &m.selector;
        let at = at_suffix(v.at);
        let offset = offset_suffix(&v.offset);

        format!(
            "{}[{}]{}{at}{offset}",
            self.selector(v),
            m.range,
            extended_suffix(v)
        )
    }

    /// Name and matchers, the latter sorted.
    fn selector(self, v: &VectorSelector) -> String {
        // Written where names of any script need no quotes, to be read where they do: as a matcher then.
        let name = v
            .name
            .as_deref()
            .filter(|name: &&str| {
                self == Self::Unquoted || is_plain_label_name(&name.replace(':', "_"))
            })
            .unwrap_or("");

        let others = v.matchers.iter().filter(|m| {
            let is_name = &*m.name == METRIC_NAME && m.op == MatchOp::Equal && &*m.value == name;
            name.is_empty() || !is_name
        });
        let mut matchers: Vec<String> = others.map(|m| self.matcher(m)).collect();

        matchers.sort_unstable();
        match (matchers.is_empty(), name.is_empty()) {
            (true, false) => name.to_owned(),
            _ => format!("{name}{{{}}}", matchers.join(",")),
        }
    }

    fn matcher(self, m: &Matcher) -> String {
        format!(
            "{}{}{}",
            self.label(&m.name),
            m.op.as_str(),
            quote(&m.value)
        )
    }

    fn label(self, name: &str) -> String {
        let bare = match self {
            Self::Quoted => is_plain_label_name(name),
            Self::Unquoted => is_unquoted_name(name),
        };
        if bare { name.to_owned() } else { quote(name) }
    }

    fn labels(self, names: &[Arc<str>]) -> String {
        let written: Vec<String> = names.iter().map(|name| self.label(name)).collect();
        written.join(", ")
    }
}

/// `[5m:1m] @ 10.000 offset 1m`
fn subquery_suffix(s: &Subquery) -> String {
    let step = s.step.as_ref().map(ToString::to_string).unwrap_or_default();
    format!(
        "[{}:{step}]{}{}",
        s.range,
        at_suffix(s.at),
        offset_suffix(&s.offset)
    )
}

/// True for `Inf ^ x`. A number prints as `+Inf`, but here a sign would take the whole power as its operand.
fn is_power_of_infinity(b: &Binary) -> bool {
    b.op == BinaryOp::Pow && matches!(&*b.lhs, Expr::Number(n) if n.value == f64::INFINITY)
}

impl Names {
    /// The operator with its modifiers.
    fn operator(self, b: &Binary) -> String {
        let mut out = b.op.as_str().to_owned();
        if b.return_bool {
            out.push_str(" bool");
        }

        if let Some(matching) = &b.matching {
            out.push_str(&matching_suffix(matching, self));
        }

        out
    }

    /// `sum by (a, b) `, or `sum` without grouping.
    fn aggregate_head(self, a: &Aggregate) -> String {
        let op = a.op.as_str();
        let grouping = self.labels(&a.grouping);
        match (a.without, a.grouping.is_empty()) {
            (true, _) => format!("{op} without ({grouping}) "),
            (false, false) => format!("{op} by ({grouping}) "),
            (false, true) => op.to_owned(),
        }
    }
}

fn matching_suffix(m: &VectorMatching, names: Names) -> String {
    let mut out = String::new();
    let grouped = match m.card {
        MatchCardinality::ManyToOne => Some("group_left"),
        MatchCardinality::OneToMany => Some("group_right"),
        MatchCardinality::OneToOne | MatchCardinality::ManyToMany => None,
    };

    if !m.labels.is_empty() || m.on || grouped.is_some() {
        let word = if m.on { "on" } else { "ignoring" };
        out.push_str(&format!(" {word} ({})", names.labels(&m.labels)));
    }

    if let Some(word) = grouped {
        out.push_str(&format!(" {word} ({})", names.labels(&m.include)));
    }

    out.push_str(&fill_suffix(m));
    out
}

fn fill_suffix(m: &VectorMatching) -> String {
    match (m.fill_left, m.fill_right) {
        (Some(l), Some(r)) if l.to_bits() == r.to_bits() => {
            format!(" fill ({})", format_number(l))
        }
        (left, right) => [("fill_left", left), ("fill_right", right)]
            .into_iter()
            .filter_map(|(word, value)| Some(format!(" {word} ({})", format_number(value?))))
            .collect(),
    }
}
