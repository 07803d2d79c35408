//! Issue 2, item 5: a filter on the stock SDK alone calls `agw_redis` with bytes made by hand
//! (`tests/guests/foreign-raw`) and gets the right answers, in both call styles and both kinds of VM.

mod answers;
mod ends;
mod refusals;
mod world;
