//! A filter on the stock SDK alone calls `agw_redis` and `agw_sql` with bytes made by hand
//! (`tests/guests/foreign-raw`) and gets the right answers, in both call styles and both kinds of VM.

mod answers;
mod ends;
mod mysql;
mod refusals;
mod sql;
mod world;
