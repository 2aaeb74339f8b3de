//! The parser and printer against random queries and against another implementation.

#[path = "parser/crosscheck.rs"]
mod crosscheck;
#[path = "parser/generate.rs"]
mod generate;
#[path = "parser/oracle.rs"]
mod oracle;
#[path = "parser/properties.rs"]
mod properties;
#[path = "parser/scripts.rs"]
mod scripts;
