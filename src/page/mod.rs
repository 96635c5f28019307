//! A lake as one page for a browser: nothing is loaded, nothing runs, and every number of a chart stands in a table as well. Pure.

mod chart;
mod heat;
mod lake;

pub use lake::lake_page;
