// Package outbox is a transactional outbox and the relay that empties it. It knows nothing of chat and nothing of brokers.
//
// A row is written in the transaction that makes its fact true ([QueueAppend], [AppendSQLite]). The [Relay] hands windows of
// rows to whoever publishes them: what this process has just committed out of memory ([Relay.Offer]), everything else out of
// the database. What the broker confirmed is marked, unless it is removed before. A row is removed only when its consumer has
// announced it stored ([Relay.Stored]), so the broker may lose everything and nothing is lost.
//
// # Promises
//
//   - Rows of one key are handed out in the order of seq, whatever the windows and failures.
//   - A row stays until it is announced stored. It may be published more than once, and is never skipped.
//   - Of several relays on one database, each shard has one owner. An owner that was paused, and comes back while another has
//     its shards, makes duplicates at worst.
//
// For the order of a key the caller must append its rows in the order of seq, one transaction after the other: under a lock
// of the key that is held until the commit. Rows of different keys may become visible in any order.
//
// # Tables
//
// PostgreSQL has them in the schema chatroom, SQLite without a schema. Times in SQLite are unix microseconds (INTEGER).
//
//	outbox(shard, id identity, key, seq, payload, created_at, published_at null, attempts, unique (key, seq)),
//	    with a partial index (shard, id) where published_at is null
//	outbox_leases(shard primary key, owner, expires_at)
//
// In outbox_leases a shard from 16384 upward is no shard: the row says that its owner is present, also before it holds anything.
//
// # Goroutines and limits
//
// [Relay.Run] owns three goroutines (leases, sweep, removal) and returns when all have ended, and with them the one that reads
// ahead. One window is out at a time, with at most Options.Window rows and [WindowBytes] of payload, however many rows wait;
// four more windows, and no more bytes, are read ahead. Of the rows offered, at most 8,192 and
// four times WindowBytes wait in memory; it knows the last seq of 65,536 keys, and 16,384 rows that are published and not marked.
package outbox
