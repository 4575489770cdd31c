//! The table: one row for each thing measured, as it is shown and written.

use crate::measure::{Series, digits};
use std::fmt::Write;

/// One line of the table, as texts; empty ones are shown as a dash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) ours: String,
    pub(crate) stock: String,
    pub(crate) floor: String,
    pub(crate) ratio: String,
    pub(crate) target: String,
    pub(crate) reached: Option<bool>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Row { what: what.into(), ..Row::default() }
    }

    pub(crate) fn ours(mut self, series: &Series) -> Self {
        self.ours = series.text();
        self
    }

    pub(crate) fn stock(mut self, series: &Series) -> Self {
        self.stock = series.text();
        self
    }

    pub(crate) fn floor(mut self, series: &Series) -> Self {
        self.floor = series.text();
        self
    }

    /// A ratio that is to be at most this.
    pub(crate) fn at_most(mut self, ratio: f64, target: f64, of: &str) -> Self {
        self.ratio = format!("{} × {of}", digits(ratio));
        self.target = format!("≤ {target} × {of}");
        self.reached = Some(ratio <= target);
        self
    }

    /// What is to be reached otherwise.
    pub(crate) fn target(mut self, target: &str, reached: bool) -> Self {
        self.target = target.into();
        self.reached = Some(reached);
        self
    }
}

/// The rows in Markdown, with the names of the two that are compared.
pub(crate) fn markdown(rows: &[Row], ours: &str, stock: &str) -> String {
    let mut text = format!(
        "| what | {ours} | {stock} | floor | ratio | target | reached |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let shown = |cell: &str| if cell.is_empty() { "–".to_owned() } else { cell.to_owned() };
    for row in rows {
        let reached = row.reached.map_or("", |reached| if reached { "yes" } else { "**no**" });
        let cells =
            [&row.what, &row.ours, &row.stock, &row.floor, &row.ratio, &row.target].map(|cell| shown(cell));
        let _infallible = writeln!(text, "| {} | {} |", cells.join(" | "), shown(reached));
    }
    text
}
