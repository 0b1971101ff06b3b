//! The books: merged at start, and what becomes of them when one is lost, old, or damaged.
