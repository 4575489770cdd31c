//! Routes: told, changed and put back exactly.
