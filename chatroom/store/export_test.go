package store

// FreshSQL is the statement that accepts what is taken for new, and FreshTypes its parameters, for the test of its plan.
const FreshTypes = "bytea[], bytea[], bytea[], text[], bytea[], text[], bigint[], text[], text[], bigint[], bigint[], timestamptz[], smallint[], text[], bigint[], bigint[]"

var FreshSQL = freshSQL
