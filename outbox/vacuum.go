package outbox

import (
	"context"
	"errors"
	"slices"
	"time"
)

// ErrMayNotVacuum is Store.Vacuum's answer to a database role that may not.
var ErrMayNotVacuum = errors.New("the database role neither owns the outbox nor may maintain it")

const (
	// vacuumRows is how many rows are removed before the table is vacuumed: some 10 MB, which caches hold.
	vacuumRows = 20_000
	// vacuumShare is how long to wait after a vacuum, in times of what it took. Where it can give nothing back, since an old
	// snapshot still sees all rows, it takes longer and longer, and this bounds it to a fifth of a processor. With much longer
	// waits it would not keep up: a vacuum takes some 8 µs for each row that was removed meanwhile.
	vacuumShare = 4
	vacuumLook  = time.Second
	// vacuumTimeout bounds one vacuum, vacuumRetry the wait after one that failed from below.
	vacuumTimeout = time.Minute
	vacuumRetry   = time.Minute
	// vacuumShard is the shard whose owner vacuums, so that there is one of them.
	vacuumShard = 0
)

// keepVacuuming lets new rows have the space of those that were removed, while the table is small. The server's own vacuum
// looks each minute, and a busy outbox is hundreds of megabytes of removed rows by then, and of index entries that lead to
// them: inserts extend the files instead of finding space, nothing fits into caches, and the vacuum takes half a minute in
// which everybody is slow.
func (r *Relay) keepVacuuming(ctx context.Context) {
	for wait := vacuumLook; sleep(ctx, wait); {
		wait = vacuumLook
		n := r.removed.Load()
		if n < vacuumRows || !slices.Contains(r.shards(), vacuumShard) {
			continue
		}
		began := time.Now()
		err := r.vacuum(ctx)
		took := time.Since(began)
		wait = max(vacuumLook, vacuumShare*took)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrMayNotVacuum):
			r.o.Logger.Warn("the outbox is not vacuumed each few seconds, but each minute by the server", "error", err)
			return
		case err != nil:
			wait = max(vacuumRetry, wait)
			r.o.Logger.Warn("outbox not vacuumed, retrying", "error", err, "pause", wait)
		default:
			r.removed.Add(-n)
			r.o.Logger.Debug("outbox vacuumed", "removed", n, "took", took)
		}
	}
}

func (r *Relay) vacuum(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, vacuumTimeout)
	defer cancel()
	return r.o.Store.Vacuum(ctx)
}
