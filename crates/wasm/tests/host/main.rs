//! The host as a gateway uses it, with small guests in text form.

mod every_import;
mod load;
mod support;
