//! Tests of the whole house: `tidy` holds the code to docs/STYLE.md and docs/ARCHITECTURE.md, `whole` runs the binary.
