package outbox

import (
	"context"
	"hash/fnv"
	"time"
)

// WindowBytes bounds the payload of one Fetch. A single row may be larger; it is then fetched alone.
const WindowBytes = 4 << 20

// Row is a fact that waits to be published. Shard is 0 to shards-1 and always the same for a key; Seq counts up in a key.
type Row struct {
	Shard   int
	Key     string
	Seq     int64
	Payload []byte
}

// Stats tells how full an outbox is. Counts up to [StatsExact] are exact, larger ones may be estimates.
type Stats struct {
	Unpublished int64         // rows that wait to be published
	Unstored    int64         // all rows: not published, or not announced stored
	Oldest      time.Duration // age of the oldest unpublished row; 0 without one
}

// StatsExact is how far [Stats] are counted exactly.
const StatsExact = 100_000

// Store is the database side of an outbox: [Postgres], [SQLite]. All methods may be called at once from many goroutines and
// processes. Errors are those of the database; all of them may be retried. The suite is outboxtest.Run.
type Store interface {
	// Lease renews the shards of owner, gives up those above its fair share, takes free and expired ones up to it, and
	// returns what owner holds now, ascending. The fair share is shards divided by the live owners, rounded up; an owner
	// is live for ttl after its last Lease, also when it got nothing. The database's clock decides.
	Lease(ctx context.Context, owner string, shards int, ttl time.Duration) ([]int, error)
	// Release gives up all shards of owner, and its presence.
	Release(ctx context.Context, owner string) error
	// Fetch returns up to limit unpublished rows of the shards, oldest first and each key in the order of seq. It stops
	// after WindowBytes of payload.
	Fetch(ctx context.Context, shards []int, limit int) ([]Row, error)
	// Oldest returns how old the oldest unpublished row of the shards is; 0 without one. A row from the future, since the
	// database's clock was put back, counts by its distance.
	Oldest(ctx context.Context, shards []int) (time.Duration, error)
	// MarkPublished notes that the rows were published. Rows that are gone, or marked already, are left alone.
	MarkPublished(ctx context.Context, rows []Row) error
	// Remove deletes, for each key, the rows with seq up to the mark, published or not, and returns how many.
	Remove(ctx context.Context, stored map[string]int64) (int64, error)
	// Unstored returns up to limit keys above afterKey, in key order, whose lowest row was published longer than
	// olderThan ago, with the seq of that row. A key whose lowest row waits to be published is left out.
	Unstored(ctx context.Context, shards []int, afterKey string, olderThan time.Duration, limit int) ([]Lowest, error)
	// Republish makes the lowest published rows of key with seq > after wait again, up to limit, and returns how many.
	Republish(ctx context.Context, key string, after int64, limit int) (int64, error)
	// Vacuum lets new rows have the space of removed ones, where the database does not do that by itself at once. It holds up
	// no reader and no writer, and does nothing where somebody else is about it. ErrMayNotVacuum: it never will.
	Vacuum(ctx context.Context) error
	// Stats counts.
	Stats(ctx context.Context) (Stats, error)
}

// Lowest is the lowest row of a key that is still in the outbox.
type Lowest struct {
	Key string
	Seq int64
}

// ShardOf is the default of Options.ShardOf: FNV-1a of the key modulo shards.
func ShardOf(key string, shards int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // an fnv hash never fails
	return int(h.Sum32() % uint32(shards))
}
