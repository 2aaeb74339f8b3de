//! How densely the product's functions are written, beside the bounds of the house.

use std::fmt::{Display, Formatter};
use std::path::Path;

use anyhow::Context;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{
    Attribute, Block, Expr, ImplItemFn, ItemFn, ItemMod, Local, Pat, Signature, TraitItemFn,
};

/// A function from this length on is expected to have paragraphs.
const LONG_LINES: usize = 20;

/// What the functions of some files look like.
#[derive(Debug, Default)]
pub struct Density {
    /// Lines of all files.
    pub lines: usize,
    functions: Vec<Function>,
    named_closures: usize,
    tuple_lets: usize,
}

#[derive(Debug, Clone, Copy)]
struct Function {
    lines: usize,
    blank_lines: usize,
    tokens: usize,
}

impl Density {
    /// Takes note of a source file; what is there for tests only is left out.
    pub fn add(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path)?;
        let file = syn::parse_file(&text).with_context(|| path.display().to_string())?;
        let lines: Vec<&str> = text.lines().collect();
        self.lines += lines.len();

        Reader {
            lines: &lines,
            density: self,
        }
        .visit_file(&file);
        Ok(())
    }

    /// Tokens of all functions by their lines.
    pub fn tokens_per_line(&self) -> f64 {
        let tokens: usize = self.functions.iter().map(|f| f.tokens).sum();
        let lines: usize = self.functions.iter().map(|f| f.lines).sum();
        tokens as f64 / lines as f64
    }

    /// Tokens of a function that so large a part of all functions does not exceed.
    pub fn tokens_quantile(&self, part: f64) -> usize {
        let mut tokens: Vec<usize> = self.functions.iter().map(|f| f.tokens).collect();
        tokens.sort_unstable();
        let at = (part * tokens.len() as f64) as usize;
        tokens.get(at).copied().unwrap_or(0)
    }

    /// Closures that are bound to a name, in 1,000 lines.
    pub fn named_closures(&self) -> f64 {
        self.per_thousand(self.named_closures)
    }

    /// `let (a, b) = (x, y)` in 1,000 lines.
    pub fn tuple_lets(&self) -> f64 {
        self.per_thousand(self.tuple_lets)
    }

    /// The part of the long functions that have no blank line.
    pub fn without_paragraphs(&self) -> f64 {
        let long = self.functions.iter().filter(|f| f.lines >= LONG_LINES);
        let unbroken = long.clone().filter(|f| f.blank_lines == 0).count();
        unbroken as f64 / long.count() as f64
    }

    fn per_thousand(&self, count: usize) -> f64 {
        count as f64 * 1_000.0 / self.lines as f64
    }
}

impl Display for Density {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "lines                            {:8}", self.lines)?;
        writeln!(
            f,
            "functions                        {:8}",
            self.functions.len()
        )?;
        writeln!(
            f,
            "tokens in a line of a function   {:8.2}",
            self.tokens_per_line()
        )?;
        for (name, part) in [("median", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            let tokens = self.tokens_quantile(part);
            writeln!(f, "tokens of a function, {name:6}     {tokens:8}")?;
        }
        writeln!(
            f,
            "named closures in 1,000 lines    {:8.2}",
            self.named_closures()
        )?;
        writeln!(
            f,
            "tuple lets in 1,000 lines        {:8.2}",
            self.tuple_lets()
        )?;
        let unbroken = 100.0 * self.without_paragraphs();
        write!(f, "long functions without a blank   {unbroken:7.1}%")
    }
}

struct Reader<'a> {
    lines: &'a [&'a str],
    density: &'a mut Density,
}

impl Reader<'_> {
    /// Takes note of a function, without what stands above it.
    fn function(
        &mut self,
        item: &impl ToTokens,
        attributes: &[Attribute],
        signature: &Signature,
        body: &Block,
    ) {
        let above: usize = attributes
            .iter()
            .map(|one| count(one.to_token_stream()))
            .sum();
        let first = signature.span().start().line;
        let last = body.span().end().line;
        let own = &self.lines[first - 1..last];

        self.density.functions.push(Function {
            lines: own.len(),
            blank_lines: own.iter().filter(|line| line.trim().is_empty()).count(),
            tokens: count(item.to_token_stream()) - above,
        });
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_for_tests(&item.attrs) {
            self.function(item, &item.attrs, &item.sig, &item.block);
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(item, &item.attrs, &item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(item, &item.attrs, &item.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_local(&mut self, local: &'ast Local) {
        if let Some(init) = &local.init {
            match (&local.pat, &*init.expr) {
                (Pat::Tuple(_), Expr::Tuple(_)) => self.density.tuple_lets += 1,
                (Pat::Ident(_), Expr::Closure(_)) => self.density.named_closures += 1,
                _ => {}
            }
        }
        syn::visit::visit_local(self, local);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .any(|one| one.to_token_stream().to_string().contains("test"))
}

/// Words, numbers, texts, brackets and signs; a sign of several characters counts once.
fn count(tokens: TokenStream) -> usize {
    let mut joined = false;
    let mut sum = 0;
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                sum += 2 + count(group.stream());
                joined = false;
            }
            TokenTree::Punct(sign) => {
                sum += usize::from(!joined);
                joined = sign.spacing() == proc_macro2::Spacing::Joint;
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                sum += 1;
                joined = false;
            }
        }
    }
    sum
}
