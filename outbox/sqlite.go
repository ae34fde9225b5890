package outbox

// sqliteNow is the database's clock in unix microseconds; SQLite gives it to the millisecond.
const sqliteNow = `CAST(unixepoch('subsec') * 1000000 AS INTEGER)`
