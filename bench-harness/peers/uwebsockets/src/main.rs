//! An echo server on uWebSockets, to be measured.
//!
//! Owns nothing: `main` is C++ (`echo.cpp` beside this file), and this crate only makes cargo link it.

#![no_main]
