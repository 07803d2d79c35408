//! A filter that runs one statement of the resource that its configuration names, in blocking style, as the path's
//! segments behind the first say:
//!
//! | path | runs |
//! |---|---|
//! | `/PLUGIN/echo/N` | the statement `echo` with this integer |
//! | `/PLUGIN/sleep/MS` | the statement `sleep` with these milliseconds, in seconds |
//! | `/PLUGIN/text/NAME` | the statement `NAME` with the text that the header `x-value` has in hexadecimal digits |
//! | `/PLUGIN/ad-hoc/NAME` | the same, with the words that the header `x-statement` has |
//!
//! The header `x-deadline` is the call's deadline in milliseconds. The answer is a 200 whose body is the first value of
//! the first row, or a 503 whose header `x-sql-code` is the error's code. In both `x-call-us` is how long the call took.
//! A path that makes no sense is a 400.

mod ask;
mod filter;
